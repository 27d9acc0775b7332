"""The HTTP API over a real socket: what every route answers."""

from __future__ import annotations

import json

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.daemon_world import CHAT, World

ROUTES = {
    "/v1/quotas", "/v1/services", "/v1/services/{service}", "/v1/services/{service}/forecast",
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


def test_nothing_can_be_changed_from_outside(api: httpx.Client) -> None:
    for verb in ("POST", "PUT", "DELETE", "PATCH"):
        assert api.request(verb, f"/v1/services/{CHAT}").status_code == 405
