"""Pushed counters: repeated, late, out of order, over restarts and silence, the same minutes come out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecaster.api.access import Access, Role
from forecaster.api.app import make_app
from forecaster.config import Settings
from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.domain.errors import DataError, StoreUnavailableError
from forecaster.domain.samples import Point, Stream
from forecaster.ingest.presets import PRESETS, Counters
from forecaster.ingest.pushed import PushedMeter
from forecaster.ingest.selectors import selector
from forecaster.store import Store
from forecaster.store.pushed import KEPT_S
from forecaster.wiring.checks import Health
from forecaster.wiring.meters import reading
from forecaster.wiring.pushes import Intake, examine_pushes
from tests.integration.remote_sender import wire
from tests.integration.tier_helpers import until

T0_S = 1_700_000_040 // 60 * 60
STALE = math.nan
CHAT = Counters(PRESETS["kserve"], 'model_name="chat"')
LABELS = {"model_name": "chat", "job": "kserve", "instance": "a:1"}
NAME = "request_predict_seconds_count"


def of(service: dict[str, Any]) -> Settings:
    return Settings(service=({"name": "chat", "unit": "tiny-llama", "metrics": service},))


PUSHED = of({"preset": "kserve", "source": "push"})


def counter(values: list[float], every_s: float = 15.0, **labels: str) -> Stream:
    points = [Point(T0_S + every_s * (i + 1), value) for i, value in enumerate(values)]
    return Stream(NAME, LABELS | labels, tuple(points))


def meter(store: Store) -> PushedMeter:
    return PushedMeter("chat", CHAT, store.pushed, store.meters)


def minutes(store: Store) -> dict[int, int]:
    slots = store.slots("chat") if store.services() else None
    if slots is None:
        return {}
    return dict(zip(((slots.start_s - T0_S) // 60).tolist(), slots.arrivals.tolist(), strict=True))


@pytest.fixture
def intake(store: Store) -> Intake:
    return Intake(PUSHED, store, lambda: T0_S + 7200.0)


@pytest.fixture
def http(intake: Intake) -> Iterator[httpx.Client]:
    yield from serving(intake)


def serving(intake: Any) -> Iterator[httpx.Client]:
    from starlette.testclient import TestClient

    board: Any = SimpleNamespace(desk=None)
    access = Access((("all", Role.ADMIN), ("push", Role.PUSHER)), per_minute=0)
    with TestClient(make_app(board, access, None, intake)) as client:
        client.headers["Authorization"] = "Bearer push"
        yield client  # type: ignore[misc]


def test_minutes_are_those_of_the_counter(store: Store) -> None:
    store.pushed.put("chat", [counter([10, 12, 15, 19, 24, 30, 37, 45, 54, 64, 75, 87])])
    assert meter(store).read(T0_S + 600.0) == 87 - 19
    assert minutes(store) == {1: 45 - 19, 2: 87 - 45}, "the first minute's past is not known"
    assert meter(store).read(T0_S + 600.0) == 0
    (summary,) = store.services()
    assert summary.requests == 87 - 19


def test_a_minute_waits_for_its_end_and_for_a_sample(store: Store) -> None:
    store.pushed.put("chat", [counter([1, 2, 3, 4, 5, 6, 7, 8])])
    assert meter(store).read(T0_S + 140.0) == 0, "the last scrape may still be under way"
    assert meter(store).read(T0_S + 155.0) == 4
    assert meter(store).read(T0_S + 4000.0) == 0, "silence is not zero: nothing is known of it"
    store.pushed.put("chat", [Stream(NAME, LABELS, (Point(T0_S + 4000.0, 500.0),))])
    assert meter(store).read(T0_S + 4100.0) == 0, "what came in an hour's hole is not known"
    assert store.meters.begin("chat", T0_S) == (T0_S + 60, T0_S + 4020)


def test_a_short_hole_is_shared_out_and_filled_when_its_samples_come(store: Store) -> None:
    whole = counter([float(10 * i) for i in range(1, 25)])
    holed = Stream(whole.name, whole.labels, whole.points[:8] + whole.points[20:])
    store.pushed.put("chat", [holed])
    meter(store).read(T0_S + 900.0)
    found = minutes(store)
    assert found == {1: 40, 2: 40, 3: 40, 4: 40, 5: 40}
    late = Stream(whole.name, whole.labels, (Point(T0_S + 175.0, 150.0),))
    store.pushed.put("chat", [late])
    assert meter(store).read(T0_S + 900.0) == 0, "the same growth, elsewhere"
    assert minutes(store)[2] == 70
    assert sum(minutes(store).values()) == sum(found.values())


def test_a_reset_counts_from_zero_and_a_stale_marker_ends_a_series(store: Store) -> None:
    store.pushed.put("chat", [counter([100, 104, 108, 112, 3, 6, 9, 12, 15, STALE, 40, 80])])
    meter(store).read(T0_S + 600.0)
    assert minutes(store) == {1: 12, 2: 68}
    other = counter([5.0] * 8, instance="b:1")
    ended = Stream(NAME, other.labels, (*other.points, Point(T0_S + 121.0, STALE)))
    store.pushed.put("chat", [ended, Stream(NAME, other.labels, (Point(T0_S + 239.0, 900.0),))])
    meter(store).read(T0_S + 600.0)
    assert sum(minutes(store).values()) == 80, "a process that comes back has a past of its own"


def test_a_label_is_born_in_a_process_that_was_known_and_not_at_first_contact(store: Store) -> None:
    store.pushed.put("chat", [counter([float(i) for i in range(60)], code="200")])
    late = counter([1e6] * 60, code="500").points[8:]
    store.pushed.put("chat", [Stream(NAME, LABELS | {"code": "500"}, late)])
    born = tuple(Point(T0_S + 15.0 * (i + 1), 7.0) for i in range(40, 60))
    store.pushed.put("chat", [Stream(NAME, LABELS | {"code": "429"}, born)])
    meter(store).read(T0_S + 2000.0)
    assert sum(minutes(store).values()) == 56 + 7
    assert max(minutes(store).values()) == 4 + 7


EVENTS = [float(n) for n in np.cumsum(np.random.default_rng(3).poisson(4, 160))]


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_order_any_repetition_any_kill_gives_the_same_minutes(
    dsn: str, data: st.DataObject
) -> None:
    with Store.open(dsn) as store:
        reset(store)
        reset_at = data.draw(st.integers(20, 140))
        values = EVENTS[:reset_at] + [each - EVENTS[reset_at] for each in EVENTS[reset_at:]]
        streams = [counter(values), counter([2 * v for v in values], instance="b:1")]
        store.pushed.put("chat", streams)
        meter(store).read(T0_S + 7200.0)
        wanted = minutes(store)
        reset(store)
        pieces = [
            Stream(each.name, each.labels, each.points[at : at + 7])
            for each in streams
            for at in range(0, len(each.points), 7)
        ]
        order = data.draw(st.permutations(range(len(pieces))))
        again = data.draw(st.lists(st.sampled_from(order), max_size=5))
        for number, index in enumerate([*order, *again]):
            store.pushed.put("chat", [pieces[index]])
            if number % 9 == 4:
                meter(store).read(T0_S + 7200.0)
            elif number % 9 == 7:
                store.pushed.take("chat")  # killed before anything was stored
        meter(store).read(T0_S + 7200.0)
        assert minutes(store) == wanted
        assert store.services()[0].requests == sum(wanted.values())


def reset(store: Store) -> None:
    with store._pool.transaction() as connection:
        for table in ("pushed_sample", "pushed_series", "pushed", "demand_slot"):
            connection.execute(f"delete from {table}".encode())
        connection.execute(
            b"update service set meter = null, meter_since = null, meter_until = null, requests = 0"
        )


def test_what_a_query_read_before_stays(store: Store) -> None:
    from forecaster.demand.counted import Counted, counted_sums

    pulled = Counted(np.array([T0_S, T0_S + 60]), *(np.array([50.0, 60.0]) for _ in range(3)))
    store.meters.put("chat", "p", (T0_S, T0_S + 120), counted_sums(pulled))
    store.pushed.put("chat", [counter([float(i) for i in range(16)])])
    meter(store).read(T0_S + 600.0)
    assert minutes(store) == {0: 50, 1: 60, 2: 4, 3: 4}
    store.meters.forget("chat")
    assert minutes(store) == {}
    meter(store).read(T0_S + 600.0)
    assert minutes(store) == {1: 4, 2: 4, 3: 4}, "what is kept is counted anew"


def test_counters_begin_where_a_log_ends_and_a_log_is_not_counted_again(store: Store) -> None:
    def log(at_s: float, name: str) -> None:
        batch = RequestBatch("chat", np.array([at_s]), np.array([1]), np.array([1]))
        source = LogSource(0, 1, name, "chat", name)
        store.append_requests(source, replace(source, offset=1), [batch])

    log(T0_S + 70.0, "old")
    store.pushed.put("chat", [counter([float(i) for i in range(16)])])
    meter(store).read(T0_S + 600.0)
    assert minutes(store) == {1: 1, 2: 4, 3: 4}
    with pytest.raises(DataError, match="are counted from metrics"):
        log(T0_S + 200.0, "new")
    log(T0_S - 600.0, "older")
    store.meters.forget("chat")
    log(T0_S + 200.0, "new")
    store.pushed.put("chat", [counter([float(i) for i in range(16, 20)], every_s=90)])
    meter(store).read(T0_S + 900.0)
    assert minutes(store)[3] == 1, "the log's minute stays the log's"


def test_nonsense_of_a_sender_is_no_harm(store: Store) -> None:
    points = (Point(T0_S + 15.0, 5.0, 1e-9), Point(T0_S + 75.0, 6.0, T0_S + 900.0))
    for delta in (False, True):
        labels = LABELS | {"x": "a\0b", "delta": str(delta)}
        store.pushed.put("chat", [Stream(NAME, labels, points, delta)])
    due = store.pushed.take("chat")
    assert due is not None
    assert (due.from_s, due.since_s) == (T0_S + 60, T0_S + 60), "no past that nobody knows of"
    assert {each.labels["x"] for each in store.pushed.kept("chat", NAME, 0, 4e9)} == {"ab"}


def test_the_daemon_counts_what_comes_while_it_leads(store: Store) -> None:
    end_s = time.time() // 60 * 60
    points = tuple(Point(end_s - 240 + 15 * i, float(i)) for i in range(13))
    store.pushed.put("chat", [Stream(NAME, LABELS, points)])
    standby: Any = SimpleNamespace(leads=False, failures={})
    with reading(PUSHED, store, standby):
        pass
    assert store.services() == []
    service = PUSHED.service[0].service()
    pilots = {"chat": SimpleNamespace(service=service)}
    leader: Any = SimpleNamespace(leads=True, failures={}, pilots=pilots)
    with reading(PUSHED, store, leader):
        until(store.services, "the minutes")
    assert store.services()[0].requests == 12
    assert leader.failures == {}


def test_what_is_past_its_day_is_forgotten(store: Store) -> None:
    store.pushed.put("chat", [counter([1, 2, 3, 4, 5, 6, 7, 8])])
    store.pushed.forget(T0_S + 2 * KEPT_S)
    assert store.pushed.kept("chat", NAME, 0, 4e9) == []
    store.pushed.put("chat", [counter([1, 2, 3, 4, 5, 6, 7, 8])])
    assert len(store.pushed.kept("chat", NAME, 0, 4e9)) == 1
    assert store.pushed.newest() == {"chat": T0_S + 120}


def test_the_self_check_says_whether_anything_comes(store: Store, dsn: str) -> None:
    asked = PUSHED.model_copy(update={"dsn": dsn})
    (nothing,) = examine_pushes(asked)
    assert (nothing.health, "no sample" in nothing.says) == (Health.WARN, True)
    store.pushed.put("chat", [counter([1, 2])])
    (old,) = examine_pushes(asked)
    assert (old.health, "s old" in old.says) == (Health.WARN, True)
    fresh = Stream(NAME, LABELS, (Point(time.time(), 3.0),))
    store.pushed.put("chat", [fresh])
    assert [each.health for each in examine_pushes(asked)] == [Health.OK]
    assert list(examine_pushes(of({"source": "spans"}))) == []


@pytest.mark.parametrize("version", [1, 2])
def test_remote_write_is_taken_over_http(store: Store, http: httpx.Client, version: int) -> None:
    kind = {"Content-Type": "application/x-protobuf"}
    if version == 2:
        kind["Content-Type"] += ";proto=io.prometheus.write.v2.Request"
    other = Stream("go_goroutines", {}, (Point(T0_S + 5.0, 9.0),))
    began = tuple(p._replace(began_s=T0_S) for p in counter([1, 2, 3, 4, 5, 6, 7, 8]).points)
    body = wire(Stream(NAME, LABELS, began), other, version=version)
    for _ in range(2):
        done = http.post("/api/v1/write", content=body, headers=kind)
        assert (done.status_code, done.content) == (204, b"")
        assert done.headers["X-Prometheus-Remote-Write-Samples-Written"] == "9"
    meter(store).read(T0_S + 600.0)
    # 2.0 says when a counter began: its first minute is known as well
    assert minutes(store) == ({1: 4} if version == 1 else {0: 4, 1: 4})
    assert store.pushed.kept("chat", "go_goroutines", 0, 4e9) == []


def test_every_refusal_says_whether_to_send_again(
    http: httpx.Client, store: Store, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(body: bytes, **headers: str) -> int:
        return http.post("/api/v1/write", content=body, headers=headers).status_code

    good = wire(counter([1, 2]))
    bomb = pa.compress(bytes(40 << 20), "snappy", asbytes=True)
    assert len(bomb) < 4 << 20
    lying = b"\x05" + bytes(pa.compress(b"x" * 4000, "snappy", asbytes=True))[2:]
    garbage = bytes(pa.compress(b"\xff" * 50, "snappy", asbytes=True))
    for body in (b"", b"hello", b"\xff" * 9, bomb, lying, garbage):
        assert status(body) == 400, body[:9]
    assert status(bytes((8 << 20) + 1)) == 413
    assert status(iter([bytes(5 << 20)] * 2)) == 413  # type: ignore[arg-type]
    assert status(good, Authorization="Bearer wrong") == 401
    old = Stream(NAME, LABELS, (Point(T0_S - 2 * KEPT_S, 1.0), Point(T0_S + 15.0, 2.0)))
    refused = http.post("/api/v1/write", content=wire(old))
    assert refused.status_code == 400
    assert refused.json()["detail"] == "1 samples are older than a day or ahead of this clock"
    assert len(store.pushed.kept("chat", NAME, 0, 4e9)) == 1, "the others are kept"

    def away(*_: object) -> None:
        raise StoreUnavailableError("the database is away", "wait")

    monkeypatch.setattr(store.pushed, "put", away)
    waiting = http.post("/api/v1/write", content=good)
    assert (waiting.status_code, waiting.headers["Retry-After"]) == (503, "5")


def test_selectors_are_read_as_promql_reads_them() -> None:
    asked = selector(r"""vllm:n{a="x\"y", b!='z', c=~"p|q", d!~"no.*",}""")
    assert asked.name == "vllm:n"
    good = {"a": 'x"y', "c": "q"}
    assert asked.takes(good)
    for worse in ({"a": "x"}, {"b": "z"}, {"c": "pq"}, {"d": "nono"}):
        assert not asked.takes(good | worse)
    for bad in ('up{a="}', "up{a=b}", 'up{a=~"("}', 'sum(up{a="b"})', 'up{a="b" b="c"}'):
        with pytest.raises(Exception, match="label matchers"):
            selector(bad)


def test_what_cannot_be_pushed_is_refused_in_the_settings() -> None:
    for metrics, said in (
        ({"source": "push"}, "wants a preset"),
        ({"source": "push", "arrivals": "sum(up)"}, "wants a preset"),
        ({"source": "spans", "preset": "vllm"}, "a span says it all"),
        ({"preset": "vllm"}, "wants prometheus.url"),
    ):
        with pytest.raises(ValueError, match=said):
            of(metrics)
