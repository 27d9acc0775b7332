"""The HTTP API over a real socket: every route, every refusal, the bearer token, the files."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import make_conninfo

from forecaster.config.settings import ApiSettings
from forecaster.domain.alert import Kind, Symptom
from forecaster.domain.errors import SettingError
from forecaster.domain.units import RequestRecord
from forecaster.domain.word import Word
from forecaster.store import EmbeddedServer, Store
from forecaster.wiring.running import serve_api
from tests.integration.daemon_world import CHAT, World, learn, world

TOKEN = "ebb-and-flow"
ROUTES = {
    "/v1/services", "/v1/services/{service}", "/v1/services/{service}/forecast",
    "/v1/services/{service}/accuracy", "/v1/services/{service}/anomalies",
    "/v1/services/{service}/plan", "/v1/services/{service}/units",
    "/v1/services/{service}/champions",
    "/v1/services/{service}/explain", "/v1/services/{service}/decisions",
    "/v1/services/{service}/ledger", "/v1/services/{service}/statement", "/v1/money", "/v1/alerts",
    "/v1/services/{service}/lives", "/v1/services/{service}/report",
    "/v1/services/{service}/tide", "/v1/events",
    "/v1/services/{service}/pin", "/v1/services/{service}/mode",
    "/v1/services/{service}/answer", "/v1/freeze", "/v1/audit", "/v1/activity", "/healthz", "/readyz", "/metrics",
}  # fmt: skip


@pytest.fixture(scope="module")
def noon(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world at noon with a plan, units and some requests of every kind."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("create database api template tidegate_template")
        with Store.open(make_conninfo(postgres.dsn, dbname="api")) as store:
            learn(store)
            found = world(store, tmp_path_factory.mktemp("home"), at_h=11.5)
            found.overload = False
            for _ in found.steps(5):
                pass
            found.clock.now -= 60.0  # the next tick is not yet
            for status, ttft_s in ((429, math.nan), (503, math.nan), (404, math.nan), (200, 7.0)):
                found.tier.push_request(
                    RequestRecord(
                        "", 0, CHAT, found.clock.now, 9, 5, ttft_s, 0.01, 7.1, "u", status
                    )
                )
            found.daemon.tick()
            yield found
        connection.execute("drop database api with (force)")


@pytest.fixture(scope="module")
def url(noon: World) -> Iterator[str]:
    with serve(noon) as found:
        yield found


def serve(found: World, token: str = "") -> Any:
    settings = found.settings.model_copy(update={"api": ApiSettings(port=0, token=token)})
    return serve_api(settings, found.board)


@pytest.fixture(scope="module")
def api(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=20.0) as client:
        yield client


def test_the_overview_has_a_line_for_every_service(api: httpx.Client, noon: World) -> None:
    seen = api.get("/v1/services").json()
    assert seen["version"] == "test"
    assert seen["now_s"] == noon.clock.now
    (chat,) = seen["services"]
    assert chat == api.get(f"/v1/services/{CHAT}").json()
    assert (chat["name"], chat["unit"], chat["mode"]) == (CHAT, "tiny-llama", "act")
    assert (chat["timezone"], chat["elasticity"]) == ("UTC", 1.0)
    assert chat["slo"]["ttft_p99_s"] == 1.0
    assert chat["champion"] in {"profile", "ridge", "naive-day", "naive-week"}
    assert chat["lead_time_s"] > 0
    assert 0 < chat["forecast_rps"] <= chat["planned_rps"]
    assert 1 <= chat["need_units"] <= chat["hold_units"]
    assert chat["units"]["ready"] == noon.fleet().ready
    served = chat["served"]
    assert served["refused"] == 2
    assert served["requests"] == served["inside"] + 3  # two refused, one late, the 404 not counted
    assert 0 < served["attainment"] < 1
    assert served["ttft_p99_s"] >= served["ttft_p50_s"] > 0
    assert chat["decision"]["verb"] in {"hold", "prewarm", "drain"}
    assert chat["note"] == ""


def test_the_forecast_at_any_level(api: httpx.Client) -> None:
    asked = {"horizon_s": 7200, "quantile": [0.9, 0.5, 0.5]}
    seen = api.get(f"/v1/services/{CHAT}/forecast", params=asked).json()
    assert (seen["service"], seen["slot_s"], len(seen["points"])) == (CHAT, 600.0, 12)
    for point in seen["points"]:
        rates, loads = point["arrival_rate_rps"], point["offered_load_erl"]
        assert set(rates) == set(loads) == {"0.5", "0.9"}
        assert 0 < rates["0.5"] <= rates["0.9"]
        assert loads["0.5"] / rates["0.5"] == pytest.approx(loads["0.9"] / rates["0.9"])
    starts = [point["start_s"] for point in seen["points"]]
    assert starts == [starts[0] + 600.0 * i for i in range(12)]
    default = api.get(f"/v1/services/{CHAT}/forecast").json()
    assert len(default["points"]) == 144
    assert set(default["points"][0]["arrival_rate_rps"]) == {"0.5", "0.9", "0.99"}


def test_the_plan_is_in_columns_with_reasons(api: httpx.Client) -> None:
    plan = api.get(f"/v1/services/{CHAT}/plan").json()
    columns = ("start_s", "arrival_rate_rps", "offered_load_erl", "need_units", "hold_units",
               "reason", "binding")  # fmt: skip
    assert {len(plan[name]) for name in columns} == {1440}
    assert plan["peak_units"] >= max(plan["need_units"][:60])
    assert {"load", "min_units", "coming_load", "brief", "lead"} >= set(plan["reason"])


def test_units_ledger_and_decisions(api: httpx.Client, noon: World) -> None:
    units = api.get(f"/v1/services/{CHAT}/units").json()
    assert [unit["state"] for unit in units["units"]] == ["ready"] * noon.fleet().ready
    assert {"unit_id", "ordered_s", "since_s", "lead_time_s", "provider", "reason"} <= units[
        "units"
    ][0].keys()
    paid = api.get(f"/v1/services/{CHAT}").json()["ledger"]
    parts = ("ordered_s", "warming_s", "ready_s", "draining_s", "unused_s")
    assert paid["paid_s"] == pytest.approx(sum(paid[part] for part in parts))
    assert paid["static_peak_s"] > paid["paid_s"] > 0
    assert paid["saved_share"] == pytest.approx(1 - paid["paid_s"] / paid["static_peak_s"])


def pages(api: httpx.Client, path: str, rows: str, cursor: str, **asked: Any) -> list[Any]:
    """Every row of a list, page by page."""
    found, following = [], {}
    while True:
        page = api.get(path, params={**asked, **following}).json()
        assert len(page[rows]) <= asked["limit"]
        found += page[rows]
        if page[cursor] is None:
            return found
        following = {cursor: page[cursor]}


def test_decisions_are_read_page_by_page(api: httpx.Client, noon: World) -> None:
    path = f"/v1/services/{CHAT}/decisions"
    (whole,) = [api.get(path, params={"limit": 200}).json()]
    assert whole["before_id"] is None
    assert [each["at_s"] for each in whole["decisions"]] == [
        each.at_s for each in reversed(noon.pilot.state.recent)
    ]
    assert {each["ordered"] for each in whole["decisions"]} == {True, False}
    for limit in (1, 2, len(whole["decisions"])):
        assert pages(api, path, "decisions", "before_id", limit=limit) == whole["decisions"]


def test_activity_is_one_list_of_alerts_changes_and_orders(api: httpx.Client, noon: World) -> None:
    noon.board.freeze(True, Word("incident"))
    noon.board.freeze(False, Word("over"))
    noon.board.unpin(CHAT)
    symptom = Symptom(Kind.STALE_DATA, CHAT, "the log is silent")
    noon.store.alerts.see([symptom], noon.clock.now, [], lambda urgent: 0.0, 60.0)
    noon.store.alerts.see([], noon.clock.now + 90.0, [], lambda urgent: 0.0, 60.0)
    whole = api.get("/v1/activity", params={"limit": 200}).json()
    assert whole["before"] is None
    entries = whole["entries"]
    orders = [each for each in entries if each["kind"] == "order"]
    assert len(orders) == sum(
        d["ordered"] for d in noon.board.decisions(CHAT, 200, None)["decisions"]
    )
    assert orders[-1]["what"].startswith("prewarm ")
    assert orders[-1]["why"]
    (alert,) = [each for each in entries if each["kind"] == "alert"]
    assert (alert["what"], alert["why"]) == ("stale_data", "the log is silent")
    assert alert["resolved_s"] == alert["at_s"] + 90.0
    changes = [each for each in entries if each["kind"] == "change"]
    assert [(c["service"], c["what"], c["why"]) for c in changes[:3]] == [
        (CHAT, "pin off", ""), ("", "freeze off", "over"), ("", "freeze on", "incident"),
    ]  # fmt: skip
    for limit in (1, 2, 3):
        assert pages(api, "/v1/activity", "entries", "before", limit=limit) == entries
    both = pages(api, "/v1/activity", "entries", "before", limit=1, kind=["order", "alert"])
    assert both == [each for each in entries if each["kind"] != "change"]
    # a change of the whole installation is one of each service
    assert pages(api, "/v1/activity", "entries", "before", limit=2, service=CHAT) == entries
    assert api.get("/v1/activity", params={"service": "nobody"}).status_code == 404
    for wrong in ({"before": "1-2"}, {"before": "x-1-1"}, {"kind": "gossip"}, {"limit": 0}):
        refused = api.get("/v1/activity", params=wrong)
        assert refused.status_code == 422, wrong
        assert next(iter(wrong)) in refused.json()["detail"] or "0 = " in refused.json()["detail"]


def test_a_moment_is_explained_by_the_decision_in_force_with_its_inputs(
    api: httpx.Client, noon: World
) -> None:
    path = f"/v1/services/{CHAT}/explain"
    now = api.get(path).json()
    assert now["at_s"] == noon.clock.now
    assert now["why"] == now["entry"]["output"]["explanation"] != ""
    assert now["entry"]["inputs"]["kind"] == "tick"  # not the plan that was journalled after it
    assert {"fleet", "policy", "plan_id", "now_s"} <= now["entry"]["inputs"].keys()
    assert now["slot"]["hold_units"] >= now["slot"]["need_units"]
    assert now["because"].split(" units at ")[0].isdigit()
    assert "lead p90" in now["because"]
    assert "with " in now["because"] or "one unit is the least" in now["because"]
    first = noon.pilot.state.recent[0]
    then = api.get(path, params={"at_s": first.at_s + 1.0}).json()
    assert then["why"] == first.explanation
    before = api.get(path, params={"at_s": 1000.0}).json()
    assert (before["entry"], before["why"], before["because"]) == (None, "", "")


def test_the_picture_has_one_time_axis(api: httpx.Client, noon: World) -> None:
    tide = api.get(f"/v1/services/{CHAT}/tide").json()
    assert tide["now_s"] == noon.clock.now
    observed, units, plan = tide["observed"], tide["units"], tide["plan"]
    assert sum(rate or 0 for rate in observed["rate_rps"]) > 0
    assert observed["start_s"] + 300 * len(observed["rate_rps"]) <= noon.clock.now
    assert len(units["ready"]) == len(units["warming"]) == len(units["draining"])
    assert units["ready"][-1] == noon.fleet().ready
    assert {"q0.05", "q0.5", "q0.95", "q0.99"} <= tide["forecast"].keys()
    assert tide["marks"] == []
    assert plan["runs"][0]["start_s"] <= noon.clock.now < plan["end_s"]
    for run, following in zip(plan["runs"], plan["runs"][1:], strict=False):
        assert run["start_s"] < following["start_s"]
        assert (run["hold"], run["reason"]) != (following["hold"], following["reason"])


@pytest.mark.parametrize("tail", ["", "/forecast", "/plan", "/units", "/explain", "/decisions",
                                  "/ledger", "/statement", "/lives", "/report", "/tide"])  # fmt: skip
def test_an_unknown_service_is_a_problem_with_a_remedy(api: httpx.Client, tail: str) -> None:
    refused = api.get(f"/v1/services/nobody{tail}")
    assert refused.status_code == 404
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json() == {
        "type": "about:blank",
        "title": "Data",
        "status": 404,
        "detail": "there is no service 'nobody'",
        "remedy": f"known services: {CHAT}",
    }


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("forecast?quantile=1.5", "quantile"),
        ("forecast?quantile=0", "quantile"),
        ("forecast?quantile=nan", "quantile"),
        ("forecast?quantile=high", "0"),
        ("forecast?horizon_s=nan", "horizon_s"),
        ("forecast?horizon_s=1e12", "horizon_s"),
        ("decisions?limit=0", "limit"),
        ("decisions?limit=1000", "limit"),
        ("explain?at_s=nan", "at_s"),
        ("explain?at_s=-1", "at_s"),
        ("explain?at_s=1e300", "at_s"),
        ("explain?at_s=inf", "at_s"),
        ("explain?at_s=yesterday", "at_s"),
    ],
)
def test_a_parameter_out_of_range_is_refused_in_the_same_words(
    api: httpx.Client, path: str, key: str
) -> None:
    refused = api.get(f"/v1/services/{CHAT}/{path}")
    assert refused.status_code == 422, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["detail"].startswith(f"{key} = ")
    assert "is refused: " in problem["detail"]
    assert problem["remedy"]


def test_metrics_are_what_prometheus_reads(api: httpx.Client, noon: World) -> None:
    answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    units = {s.labels["state"]: s.value for s in families["tidegate_units"].samples}
    assert units == {"ready": noon.fleet().ready, "warming": 0, "draining": 0}
    requests = {s.labels["outcome"]: s.value for s in families["tidegate_requests"].samples}
    assert (requests["outside_slo"], requests["refused"]) == (1, 2)
    assert requests["inside_slo"] > 100
    for name in ("hold_units", "need_units", "lead_time_seconds", "forecast_arrival_rate_rps",
                 "planned_arrival_rate_rps", "unit_seconds"):  # fmt: skip
        (sample, *_) = families[f"tidegate_{name}"].samples
        assert sample.labels["service"] == CHAT
        assert sample.value > 0


def test_events_send_the_overview(api: httpx.Client) -> None:
    seen: list[str] = []
    with api.stream("GET", "/v1/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            seen.append(line)
            if sum(each.startswith("data:") for each in seen) == 2:
                break
    assert seen.count("event: overview") == 2
    data = next(line for line in seen if line.startswith("data:"))
    assert json.loads(data.removeprefix("data:"))["services"][0]["name"] == CHAT


def test_openapi_lists_every_route(api: httpx.Client) -> None:
    described = api.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    assert set(described["paths"]) == ROUTES
    for path, verbs in described["paths"].items():
        for verb, described_verb in verbs.items():
            assert described_verb["description"], (verb, path)


def test_the_dashboard_and_its_files_come_from_here(api: httpx.Client) -> None:
    page = api.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "http:" not in page.text
    assert "https:" not in page.text
    for name, kind in (("dashboard.js", "text/javascript"), ("dashboard.css", "text/css"),
                       ("tide.svg", "image/svg+xml"), ("plotly.min.js", "text/javascript")):  # fmt: skip
        answer = api.get(f"/static/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert len(answer.content) > 100


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd",
     "/static/..%5capp.py", "/static/index.html", "/static/dashboard.js%00.svg", "/../../etc/passwd",
     "/static/plotly.min.js/../../../../__init__.py"],
)  # fmt: skip
def test_no_path_leads_out_of_the_files(url: str, path: str) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request("GET", path)  # as it stands: no client tidies it up
    answer = connection.getresponse()
    assert answer.status == 404
    assert b"import" not in answer.read()
    connection.close()


def test_nothing_can_be_changed_from_outside(api: httpx.Client) -> None:
    for verb in ("POST", "PUT", "DELETE", "PATCH"):
        assert api.request(verb, f"/v1/services/{CHAT}").status_code == 405


def test_a_token_guards_everything_but_health_and_the_empty_page(noon: World) -> None:
    with serve(noon, TOKEN) as guarded, httpx.Client(base_url=guarded, timeout=20.0) as client:
        guarded_paths = ["/metrics", "/openapi.json", "/v1/events", "/v1/services",
                         f"/v1/services/{CHAT}/plan"]  # fmt: skip
        for path in guarded_paths:
            refused = client.get(path)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert CHAT not in refused.text
        assert client.get("/healthz").text == "ok\n"
        assert client.get("/readyz").status_code == 200
        assert 'id="token"' in client.get("/").text
        assert client.get("/static/dashboard.js").status_code == 200
        cookie = {"Cookie": f"tidegate_token={quote(TOKEN)}"}
        assert client.get("/v1/services", headers=cookie).status_code == 200
        assert client.get("/v1/services", headers={"Cookie": "tidegate_token=x"}).status_code == 401
        wrong = ["", "Bearer", f"bearer {TOKEN}", f"Bearer {TOKEN}x",
                 f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN]  # fmt: skip
        for given in wrong:
            answer = client.get("/v1/services", headers={"Authorization": given})
            assert answer.status_code == 401, given
        answer = client.get("/v1/services", headers={"Authorization": f"Bearer {TOKEN}".encode()})
        assert answer.status_code == 200
        strange = client.get(
            "/v1/services", headers={"Authorization": "Bearer \xff\xfe".encode("latin-1")}
        )
        assert strange.status_code == 401


def test_ready_is_said_when_there_is_a_plan(store: Store, tmp_path: Path) -> None:
    new = world(store, tmp_path)
    with serve(new) as fresh, httpx.Client(base_url=fresh, timeout=20.0) as client:
        assert client.get("/healthz").status_code == 200
        new.step()
        waiting = client.get("/readyz")
        assert (waiting.status_code, waiting.text) == (503, "no plan yet: chat\n")
        assert client.get("/v1/services").json()["services"][0]["hold_units"] is None
        for tail in ("plan", "forecast"):
            refused = client.get(f"/v1/services/chat/{tail}")
            assert refused.status_code == 409
            assert "tidegate retrain" in refused.json()["remedy"]
        assert client.get("/v1/services/chat/tide").json()["observed"]["rate_rps"] == []
        assert client.get("/metrics").status_code == 200
        learn(store)
        new.step()
        assert new.note == ""
        assert client.get("/readyz").text == "ready\n"


def test_a_lost_database_is_a_problem_that_names_its_remedy(
    open_folder: Callable[[], Path], tmp_path: Path
) -> None:
    server = EmbeddedServer(open_folder() / "home")
    with Store.open(server.start()) as store:
        store.migrate()
        found = world(store, tmp_path)
        found.step()
        with serve(found) as url, httpx.Client(base_url=url, timeout=40.0) as client:
            server.stop()
            refused = client.get("/v1/services/chat/ledger")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert "the database is away" in refused.json()["detail"]
            assert client.get("/healthz").status_code == 200
            assert client.get("/v1/services/chat/units").status_code == 200  # needs no database


def test_a_taken_port_is_one_clear_refusal(noon: World, url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    settings = noon.settings.model_copy(update={"api": ApiSettings(port=port)})
    said = rf"api\.port = {port} is refused: cannot listen"
    with pytest.raises(SettingError, match=said), serve_api(settings, noon.board):
        pass


def test_a_pin_holds_until_it_is_taken_away_and_survives_a_restart(
    api: httpx.Client, noon: World
) -> None:
    path = f"/v1/services/{CHAT}/pin"
    set_to = api.put(path, json={"units": 7, "seconds": 7200, "why": "release night"}).json()
    assert set_to["pin"]["units"] == 7
    assert set_to["pin"]["until_s"] == noon.clock.now + 7200
    chat = api.get(f"/v1/services/{CHAT}").json()
    assert chat["pin"]["why"] == "release night"
    plan = api.get(f"/v1/services/{CHAT}/plan").json()
    lead = int(plan["lead_time_s"] // 60) + 1
    assert set(plan["hold_units"][lead:110]) == {7}
    assert set(plan["reason"][lead:110]) == {"pin"}
    noon.step()
    assert noon.supply == 7
    assert "pinned at 7 (release night)" in api.get(f"/v1/services/{CHAT}/explain").json()["why"]
    noon.restart()
    noon.daemon.replan()
    assert noon.pilot.planner.pin is not None
    gone = noon.board.unpin(CHAT)
    assert gone["pin"] is None
    table = noon.pilot.state.table
    assert table is not None
    assert "pin" not in {slot.reason.value for slot in table.slots}


@pytest.mark.parametrize(
    ("wish", "status", "said"),
    [
        ({"units": 9, "seconds": 600}, 422, "1 to 8 units"),
        ({"units": 2, "seconds": 5}, 422, "seconds"),
        ({"units": 2, "seconds": 600, "extra": 1}, 422, "extra"),
        ({"seconds": 600}, 422, "units"),
    ],
)
def test_a_pin_out_of_range_is_refused(
    api: httpx.Client, wish: dict[str, Any], status: int, said: str
) -> None:
    refused = api.put(f"/v1/services/{CHAT}/pin", json=wish)
    assert refused.status_code == status
    assert said in refused.json()["detail"]
    assert api.delete("/v1/services/nobody/pin").status_code == 404
