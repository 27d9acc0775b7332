"""Money end to end: a day in mode observe on a fleet that nobody steers, its books, report, statement."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from psycopg.conninfo import make_conninfo

from forecaster.config.settings import ApiSettings
from forecaster.domain.books import BOOK_S, FLEET, SHADOW
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.money import Tariff
from forecaster.domain.units import UnitEvent
from forecaster.planning.ledger import lives
from forecaster.store import EmbeddedServer, Store
from forecaster.wiring.running import serve_api
from tests.integration.cli_runner import Runner
from tests.integration.daemon_world import CHAT, START_S, World, learned_database, world

DAY_S = 86_400.0
FIXED_UNITS = 6
STEP_S = 900.0


@pytest.fixture(scope="module")
def watched(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Six units all day, Tidegate in the shadow, the books closed every hour."""
    with learned_database(postgres, "money") as store:
        found = world(store, tmp_path_factory.mktemp("home"), mode="observe")
        planner = found.settings.planner.model_copy(update={"tick_s": STEP_S})
        found.settings = found.settings.model_copy(update={"planner": planner})
        found.restart()
        found.tier.prewarm(CHAT, FIXED_UNITS, reason="by hand", order_key="fixed")
        found.daemon.open_books()
        for n in range(round(DAY_S / STEP_S) + 1):
            found.step(STEP_S)
            if n % 4 == 0:
                found.daemon.close_books()
        yield found


@pytest.fixture(scope="module")
def api(watched: World) -> Iterator[httpx.Client]:
    settings = watched.settings.model_copy(update={"api": ApiSettings(port=0)})
    with (
        serve_api(settings, watched.board) as url,
        httpx.Client(base_url=url, timeout=20.0) as http,
    ):
        yield http


def test_the_books_hold_every_quarter_of_the_day_with_every_policy(watched: World) -> None:
    entries = watched.store.books.entries(CHAT, START_S, START_S + DAY_S)
    assert [each.start_s for each in entries] == [START_S + BOOK_S * n for n in range(96)]
    assert all(
        set(each.held) == {FLEET, SHADOW, "static-peak", "hpa", "seasonal-naive"}
        for each in entries
    )
    served = watched.board.service(CHAT)["served"]
    counted = sum(each.requests for each in entries)
    assert counted == pytest.approx(served["requests"], rel=0.02)  # the day's end is not settled
    log_sample = watched.pilot.service.log_sample
    assert sum(e.arrivals for e in entries) == pytest.approx(counted / log_sample, rel=0.02)
    fleet_s = sum(each.held[FLEET].unit_s for each in entries)
    assert fleet_s == pytest.approx(FIXED_UNITS * DAY_S, rel=0.001)
    peak = {each.held["static-peak"].ready_s for each in entries}
    assert len(peak) == 1
    assert 4 <= peak.pop() / BOOK_S <= 8
    for name in ("hpa", "seasonal-naive", SHADOW):
        unit_s = sum(each.held[name].unit_s for each in entries)
        assert 0.3 * fleet_s < unit_s < fleet_s, name


def test_rivals_that_were_matched_keep_about_the_target(watched: World) -> None:
    entries = watched.store.books.entries(CHAT, START_S, START_S + DAY_S)
    arrivals = sum(each.arrivals for each in entries)
    for name in ("static-peak", "hpa", "seasonal-naive", SHADOW):
        outside = sum(each.held[name].outside for each in entries)
        assert 0.95 < 1 - outside / arrivals <= 1.0, name


def test_the_report_says_what_would_have_been_saved(watched: World, api: httpx.Client) -> None:
    found = api.get(f"/v1/services/{CHAT}/report", params={"from_s": START_S}).json()
    would = found["would_have"]
    assert found["mode"] == "observe"
    assert watched.fleet().ready == FIXED_UNITS, "observe touches nothing"
    assert 0.15 < would["saved_share"] < 0.7
    assert would["saved_money"] == pytest.approx(
        would["saved_unit_s"] / 3600 * watched.pilot.unit.price_per_hour
    )
    assert would["attainment"] > 0.97
    assert "would have saved" in found["says"]
    assert found["measured"]["requests"] > 100
    assert {"static-peak", "hpa", "seasonal-naive"} == set(found["rivals"])


def test_the_ledger_reconciles_with_the_events_to_the_second(
    watched: World, api: httpx.Client
) -> None:
    now_s = watched.clock.now
    found = api.get(f"/v1/services/{CHAT}/ledger", params={"from_s": START_S - DAY_S}).json()
    units = lives(watched.store.unit_events(CHAT, 0, 4e9))
    assert len(units) == FIXED_UNITS
    lived_s = sum(min(life.ended_s, now_s) - life.born_s for life in units)
    assert found["lived_s"] == pytest.approx(lived_s, abs=1e-3)
    assert sum(day["lived_s"] for day in found["days"]) == pytest.approx(lived_s, abs=1e-3)
    assert sum(day["money"] for day in found["days"]) == pytest.approx(found["money"])
    assert found["slo"]["error_budget"] == pytest.approx(0.01 * found["slo"]["requests"])
    timeline = api.get(f"/v1/services/{CHAT}/lives").json()
    stays = [stay for unit in timeline["units"] for stay in unit["stays"]]
    assert sum(to_s - from_s for _, from_s, to_s in stays) == pytest.approx(
        FIXED_UNITS * (timeline["to_s"] - timeline["from_s"]), rel=0.02
    )
    money = api.get("/v1/money", params={"month": "2026-01"}).json()
    assert money["money"] == pytest.approx(found["money"])
    assert money["saved_money"] == found["rivals"]["static-peak"]["saved_money"]


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.external: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.external += [str(v) for k, v in attrs if k in ("src", "href") and v]


def test_a_statement_in_three_forms_says_the_same(api: httpx.Client) -> None:
    path = f"/v1/services/{CHAT}/statement"
    found = api.get(path, params={"month": "2026-01"}).json()
    lines = api.get(path, params={"month": "2026-01", "format": "csv"})
    assert lines.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(lines.text)))
    days = [row for row in rows if row["unit"] == "all" and row["day"] != "total"]
    assert [row["day"] for row in days] == [day["day"] for day in found["days"]]
    assert sum(float(row["billed_s"]) for row in days) == pytest.approx(found["billed_s"], abs=0.1)
    (whole,) = [row for row in rows if (row["unit"], row["day"]) == ("all", "total")]
    assert float(whole["money"]) == pytest.approx(found["money"], abs=1e-5)
    page = api.get(path, params={"month": "2026-01", "format": "html"}).text
    seen = Links()
    seen.feed(page)
    assert seen.external == []
    assert "script" not in seen.tags
    assert f"{found['money']:,.2f}" in page
    assert "static-peak" in page
    for month, says in (("2026-13", "YYYY-MM"), ("2031-01", "has begun")):
        refused = api.get(path, params={"month": month})
        assert refused.status_code == 422
        assert says in refused.json()["detail"]


def test_the_price_of_a_past_month_stays_when_the_tariff_changes(store: Store) -> None:
    books = store.books
    books.keep_tariffs([(CHAT, Tariff("small", 2.0, since_s=START_S))])
    books.keep_tariffs([(CHAT, Tariff("small", 2.0, since_s=START_S + 5))])  # nothing new
    books.keep_tariffs([(CHAT, Tariff("small", 3.0, 600.0, 60.0, START_S + DAY_S))])
    assert [each.price_per_hour for each in books.tariffs(CHAT)] == [2.0, 3.0]
    assert books.tariffs("nobody") == []


def test_lives_are_found_by_their_range_and_kept_with_their_events(store: Store) -> None:
    edges = [
        ("a", UnitState.COLD, UnitState.STARTING, 10.0, 1.0),
        ("a", UnitState.STARTING, UnitState.FAILED, 20.0, 10.0),
        ("b", UnitState.COLD, UnitState.STARTING, 500.0, 2.5),
    ]
    events = [
        UnitEvent("t", seq, unit, CHAT, START_S + at, before, after, seconds)
        for seq, (unit, before, after, at, seconds) in enumerate(edges, 1)
    ]
    store.append_unit_events(events[:1])
    store.append_unit_events(events[1:])
    store.append_unit_events(events)

    def seen(from_s: float, to_s: float) -> list[int]:
        return [e.seq for e in store.books.life_events(CHAT, START_S + from_s, START_S + to_s)]

    assert seen(0, 9) == []
    assert seen(0, 9.5) == [1, 2]
    assert seen(20, 100) == [1, 2]
    assert seen(20.1, 498) == [3]
    assert seen(0, 4e6) == [1, 2, 3]


@pytest.mark.usefixtures("watched")
def test_the_commands_read_the_store_alone(
    cli: Runner, postgres: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIDEGATE_DSN", make_conninfo(postgres.dsn, dbname="money"))
    file = tmp_path / "tidegate.toml"
    file.write_text('[[service]]\nname = "chat"\nunit = "tiny-llama"\n')
    month = cli("statement", CHAT, "--month", "2026-01", "--config", file, "--format", "json")
    assert month.code == 0, month.err
    assert month.json["lived_s"] > FIXED_UNITS * DAY_S
    page = cli("statement", CHAT, "--month", "2026-01", "--config", file, "--format", "html")
    assert page.out.startswith("<!doctype html>")
    table = cli("statement", CHAT, "--month", "2026-01", "--config", file)
    assert "2026-01-06" in table.out
    assert "total" in table.out
    paid = cli("ledger", CHAT, "--days", "400", "--config", file, "--format", "json")
    assert paid.json["money"] > month.json["money"], "the units live on after January"
    shadow = cli("report", CHAT, "--days", "400", "--config", file)
    assert "would have saved" in shadow.out
    refused = cli("ledger", "nobody", "--config", file)
    assert refused.code == 2
    assert "configured services: chat" in refused.error
