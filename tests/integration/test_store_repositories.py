"""What goes into the store comes out again; numbers are taken once; errors say what to do."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import numpy as np
import psycopg
import pytest

from forecaster.demand import to_series
from forecaster.domain.anomaly import Judgement
from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.domain.errors import DataError, SettingError, StoreError, StoreUnavailableError
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.units import RequestRecord, UnitEvent
from forecaster.seasonal.verify import to_verify
from forecaster.store import ModelRow, Store
from forecaster.store.migrate import shipped
from forecaster.store.rows import Taught

T0_S = 1736121600.0
DAY_S = 86400.0
NAN = math.nan


def log(store: Store, service: str, arrival_s: np.ndarray, tokens: int = 10) -> None:
    """Store requests as if a log had been read."""
    batch = RequestBatch(
        service,
        arrival_s,
        np.full(arrival_s.size, tokens, np.int64),
        np.full(arrival_s.size, tokens, np.int64),
    )
    new = LogSource(0, 1, f"{service}{arrival_s[0]}", "", "log")
    store.append_requests(new, new, [batch])


def record(seq: int, arrival_s: float, **other: object) -> RequestRecord:
    values = {
        "tier": "tier-a",
        "service": "chat",
        "prompt_tokens": 100,
        "output_tokens": 10,
        "ttft_s": 0.25,
        "tpot_s": NAN,
        "latency_s": 0.5,
        "unit_id": "unit-1",
        "status": 200,
    }
    return RequestRecord(seq=seq, arrival_s=arrival_s, **{**values, **other})  # type: ignore[arg-type]


def event(seq: int, at_s: float, tier: str = "tier-a") -> UnitEvent:
    return UnitEvent(
        tier, seq, "unit-1", "chat", at_s, UnitState.WARMING, UnitState.READY, 1.5, "tide"
    )


def test_demand_of_a_stored_log(store: Store) -> None:
    log(store, "chat", T0_S + np.arange(0, 3600, 1.0))
    log(store, "chat", T0_S + np.arange(0.5, 3600, 1.0))
    series = store.demand("chat", slot_s=300)
    assert series.arrivals.tolist() == [600.0] * 12
    assert series.mix.prompt_mean == 10
    assert store.demand("chat", T0_S + 300, T0_S + 900).arrivals.size == 2
    assert store.slots("chat", T0_S + 60, T0_S + 120).start_s.tolist() == [T0_S + 60]
    (summary,) = store.services()
    assert (summary.name, summary.first_s, summary.last_s) == ("chat", T0_S, T0_S + 3599.5)


def test_an_unknown_service_names_those_that_are_known(store: Store) -> None:
    with pytest.raises(DataError, match="no log was ingested yet"):
        store.demand("chta")
    log(store, "chat", np.array([T0_S]))
    with pytest.raises(DataError, match="service 'chta' is unknown; known: chat"):
        store.demand("chta")


def test_tier_requests_are_taken_once_and_become_demand(store: Store) -> None:
    first = [record(seq, T0_S + seq) for seq in range(1, 101)]
    assert store.append_tier_requests(first) == 100
    assert store.append_tier_requests(first[50:]) == 0
    more = [record(seq, T0_S + seq, status=503, ttft_s=NAN) for seq in range(90, 121)]
    assert store.append_tier_requests([*more, *more]) == 20
    assert store.append_tier_requests([record(1, T0_S, tier="tier-b")]) == 1
    assert store.tier_cursor("tier-a") == (120, 0)
    assert store.tier_cursor("never seen") == (0, 0)
    assert store.slots("chat").arrivals.sum() == 121
    served = store.served("chat", T0_S, T0_S + DAY_S)
    assert len(served) == 121
    assert served.answers.status.tolist().count(503) == 20
    assert np.isnan(served.answers.tpot_s).all()
    assert served.answers.ttft_s[1] == 0.25
    assert np.isnan(served.answers.ttft_s).sum() == 20


def test_imported_logs_are_not_served_by_us(store: Store) -> None:
    log(store, "chat", np.array([T0_S]))
    assert len(store.served("chat", T0_S, T0_S + 1)) == 0
    assert len(store.request_rows("chat", T0_S, T0_S + 1)) == 1


def test_unit_events_are_taken_once(store: Store) -> None:
    events = [event(seq, T0_S + seq) for seq in range(1, 6)]
    assert store.append_unit_events(events) == 5
    assert store.append_unit_events([*events, event(1, T0_S + 9, "tier-b")]) == 1
    assert store.tier_cursor("tier-a") == (0, 5)
    assert store.unit_events("chat", T0_S, T0_S + 6) == events
    assert store.unit_events("unknown", T0_S, T0_S + 6) == []


def test_models_are_versions_and_one_is_live(store: Store) -> None:
    assert store.live_model("chat") is None
    row = ModelRow(
        "chat", T0_S, "ridge", 300.0, {"wape": np.float64(0.1)}, {"q": [1, NAN]}, "ok", True
    )
    first = store.save_model(row)
    second = store.save_model(ModelRow("chat", T0_S + 1, "naive", 300.0, live=True))
    third = store.save_model(ModelRow("chat", T0_S + 2, "bad", 300.0))
    live = store.live_model("chat")
    assert live is not None
    assert (live.model_id, live.champion, live.live) == (second, "naive", True)
    assert [model.model_id for model in store.models("chat")] == [third, second, first]
    store.set_live("chat", first)
    live = store.live_model("chat")
    assert live is not None
    assert (live.model_id, live.scores, live.calibration) == (
        first,
        {"wape": 0.1},
        {"q": [1, None]},
    )
    with pytest.raises(
        DataError, match=rf"model_id = 99 is not a version of service 'chat'; known: {third}"
    ):
        store.set_live("chat", 99)
    assert store.live_model("chat") == live


def test_forecasts_are_kept_at_a_few_leads_as_float32(store: Store) -> None:
    rates = np.linspace(0.1, 1e6, 600)[:, None] * [1.0, 1.2]
    made = QuantileForecast("chat", T0_S, 300.0, (0.5, 0.99), rates, rates * NAN, T0_S - 1, "ridge")
    keep = store.learning
    assert keep.foretold("chat", DAY_S) == []
    assert keep.foretell("chat", to_verify(made, 0))
    assert not keep.foretell("chat", to_verify(replace(made, made_s=T0_S + 300), 0))
    assert keep.foretell("chat", to_verify(replace(made, made_s=T0_S + 950), 0))
    first, second = keep.foretold("chat", DAY_S)
    assert (first.levels, first.start_s, first.made_s) == (made.levels, made.start_s, made.made_s)
    assert (first.slots, first.load) == ((0, 1, 5, 11, 35, 71, 287), False)
    assert np.allclose(first.said, rates[list(first.slots)], rtol=1e-7)
    assert [each.made_s for each in keep.foretold("chat", 100.0)] == [second.made_s]
    store.learning.foretell("chat", to_verify(replace(made, made_s=T0_S + 9 * DAY_S), 0))
    store.drop_raw_before(2)
    assert len(keep.foretold("chat", 30 * DAY_S)) == 1


@pytest.mark.parametrize(("first_s", "last_s"), [(10.0, 7200.0), (290.0, 7100.0), (3.0, 700.0)])
def test_demand_summed_by_the_database_is_the_same(
    store: Store, first_s: float, last_s: float
) -> None:
    at = np.sort(np.random.default_rng(3).uniform(first_s, last_s, 4000))
    log(store, "chat", T0_S + at[(at < 3000) | (at > 4000)], tokens=7)
    log(store, "idle", np.array([T0_S]))
    asked = {"idle": "", "chat": "", "unheard": ""}
    for until_s in (math.inf, T0_S + 5000.0):
        whole = to_series("chat", store.slots("chat", None, min(until_s, 4e9)), bursts=False)
        for weighed in (True, False):
            known = store.learning.known(asked, 42.0, until_s, 300.0, weighed)
            slots = {each.service: each.slots for each in known}
            assert set(slots) == {"chat", "idle"}
            assert slots["idle"].arrivals.tolist() == [1]
            binned = to_series("chat", slots["chat"], bursts=False)
            assert binned.start_s == whole.start_s
            np.testing.assert_array_equal(binned.arrivals, whole.arrivals)
            if weighed:
                assert binned.mix == whole.mix
                np.testing.assert_array_equal(binned.prompt_tokens, whole.prompt_tokens)


def test_judgements_are_kept_in_order(store: Store) -> None:
    log(store, "chat", np.array([T0_S]))
    keep, drop = Judgement(T0_S, T0_S + 60, True, "usual"), Judgement(T0_S, T0_S + 90, False)
    store.learning.judge("chat", T0_S, keep)
    store.learning.judge("chat", T0_S, drop)
    assert store.learning.judgements("chat") == (keep, drop)
    with pytest.raises(DataError, match="known: chat"):
        store.learning.judge("chta", T0_S, keep)


def test_a_batch_is_stored_once_and_whole(store: Store) -> None:
    learning = store.learning
    run = learning.open_run("digest", T0_S)
    rows = [
        Taught(ModelRow(name, T0_S, "pool", 300.0, live=True), "digest", {}, True)
        for name in ("a", "b")
    ]
    assert learning.keep(rows, (run.run_id, 0)) is not None
    assert learning.keep(rows, (run.run_id, 0)) is None
    assert len(store.models("a")) == 1
    again = learning.open_run("digest", T0_S + 60)
    assert (again.run_id, again.began_s, again.batches) == (run.run_id, T0_S, (0,))
    assert learning.open_run("other", T0_S).run_id != run.run_id
    assert learning.open_run("digest", T0_S + 2 * DAY_S).run_id != run.run_id
    learning.end_run(run.run_id, T0_S + 70)
    assert learning.open_run("digest", T0_S + 80).run_id != run.run_id


def test_rolling_back_is_one_step(store: Store) -> None:
    log(store, "chat", np.array([T0_S]))
    with pytest.raises(DataError, match="no model"):
        store.learning.roll_back("chat", None)
    first, second, third = (
        store.save_model(ModelRow("chat", T0_S + i, "pool", 300.0, live=True)) for i in range(3)
    )
    assert store.learning.roll_back("chat", None) == (third, second)
    assert store.learning.roll_back("chat", first) == (second, first)
    with pytest.raises(DataError, match="no version before"):
        store.learning.roll_back("chat", None)
    live = store.live_model("chat")
    assert live is not None
    assert live.model_id == first


def test_the_journal_returns_numbers_exactly(store: Store) -> None:
    inputs = {"b": 0.1 + 0.2, "a": [1e-300, -0.0, NAN], "n": np.int64(3)}
    ids = [store.append_decision("chat", T0_S + i, inputs, {"i": i}, i % 2 == 0) for i in range(5)]
    newest = store.decisions("chat", limit=2)
    assert [row.decision_id for row in newest] == ids[:2:-1]
    assert [row.decision_id for row in store.decisions("chat", before_id=ids[2])] == ids[1::-1]
    assert list(newest[0].inputs) == ["b", "a", "n"]
    assert newest[0].inputs["b"] == 0.1 + 0.2
    assert repr(newest[0].inputs["a"]) == "[1e-300, -0.0, None]"
    found = store.decision_at("chat", T0_S + 2.5)
    assert found is not None
    assert (found.at_s, found.output, found.ordered) == (T0_S + 2, {"i": 2}, True)
    assert store.decision_at("chat", T0_S - 1) is None


def test_retention_counts_from_the_newest_day_and_keeps_demand(store: Store) -> None:
    log(store, "chat", T0_S + DAY_S * np.arange(10))
    assert store.drop_raw_before(3) == 7
    assert len(store.request_rows("chat", 0, 4e9)) == 3
    assert store.slots("chat").arrivals.sum() == 10
    assert store.drop_raw_before(3) == 0
    with pytest.raises(SettingError, match="days = 0"):
        store.drop_raw_before(0)


def test_a_range_reads_only_its_own_days(store: Store, dsn: str) -> None:
    log(store, "chat", T0_S + DAY_S * np.arange(20))
    query = (
        "explain select arrival from request where service_id = 1"
        " and arrival >= to_timestamp(1736294400) and arrival < to_timestamp(1736380800)"
    )
    with psycopg.connect(dsn) as connection:
        connection.execute("set enable_seqscan = off")
        plan = "\n".join(row[0] for row in connection.execute(query))
    assert "request_20250108" in plan
    assert "request_20250106" not in plan
    assert "request_20250109" not in plan
    assert "arrival_idx" in plan


def test_a_refused_batch_leaves_nothing(store: Store) -> None:
    log(store, "chat", np.array([T0_S]))
    stale = LogSource(1, 1, "other", "", "log", offset=7)
    batch = RequestBatch("chat", np.array([T0_S]), np.ones(1, np.int64), np.ones(1, np.int64))
    with pytest.raises(
        StoreError, match="another process is ingesting log; nothing was stored twice"
    ):
        store.append_requests(stale, stale, [batch])
    assert len(store.request_rows("chat", 0, 4e9)) == store.slots("chat").arrivals.sum() == 1


def test_migrating_is_idempotent_and_safe_from_two_sides(store: Store, dsn: str) -> None:
    assert store.migrate() == 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
    applied: list[int] = []
    threads = [threading.Thread(target=lambda: applied.append(store.migrate())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(applied) == [0, 0, len(shipped())]


def test_a_changed_or_newer_schema_is_refused(store: Store, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into migration values (99, '0099_later.sql', 'x')")
        with pytest.raises(StoreError, match=r"0099_later.sql, which this release does not know"):
            store.migrate()
        connection.execute("delete from migration where number = 99")
        connection.execute("update migration set sha256 = 'x' where number = 2")
        with pytest.raises(StoreError, match=r"migration 0002_models.sql of the database differs"):
            store.migrate()


def test_no_database_is_one_line_with_a_remedy() -> None:
    with pytest.raises(
        StoreUnavailableError, match=r"the database is away: .*TIDEGATE_DSN"
    ) as caught:
        Store.open("host=/nonexistent dbname=x connect_timeout=1")
    assert "\n" not in str(caught.value)


def test_a_connection_that_died_is_replaced(store: Store, dsn: str) -> None:
    store.ping()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where pid <> pg_backend_pid() and datname = current_database()"
        )
    store.ping()
