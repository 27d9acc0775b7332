"""A real Prometheus scrapes our /metrics and evaluates the rules that we ship; its promtool lets them fire."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from forecaster.config.settings import ApiSettings
from forecaster.daemon.error_budget import ErrorBudget, Spent
from forecaster.daemon.gauges import kept
from forecaster.domain.service import Slo
from forecaster.store import EmbeddedServer
from forecaster.wiring.running import serve_api
from tests.integration.daemon_world import CHAT, World, learned_database, world
from tests.integration.prometheus_server import running_prometheus, skip_without_prometheus
from tests.integration.tier_helpers import until

RULES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus-rules.yml"
CONFIG = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}}
rule_files: [prometheus-rules.yml]
scrape_configs:
  - job_name: tidegate
    authorization: {{credentials: look}}
    static_configs: [{{targets: ["{target}"]}}]
"""


@pytest.fixture(scope="module")
def scraped(
    postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, str]]:
    skip_without_prometheus()
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copy(RULES, folder)
    with learned_database(postgres, "metrics_out") as store:
        found = world(store, folder / "home", at_h=11.5)
        found.overload = False
        for _ in found.steps(3):
            pass
        api = ApiSettings(port=0, token="all", viewer_token="look")
        chosen = found.settings.model_copy(update={"api": api})
        with serve_api(chosen, found.board) as us:
            config = CONFIG.format(target=us.removeprefix("http://"))
            with running_prometheus(folder, config) as url:
                yield found, url


def asked(url: str, query: str) -> dict[tuple[str, ...], float]:
    """Values by the labels that matter."""
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    kept = ("service", "ahead", "level")
    return {
        tuple(each["metric"][key] for key in kept if key in each["metric"]): float(each["value"][1])
        for each in answer["data"]["result"]
    }


def test_what_a_monitor_needs_is_there(scraped: tuple[World, str]) -> None:
    found, url = scraped
    until(lambda: asked(url, "tidegate_desired_units"), "a scrape")
    state, now_s = found.pilot.state, found.clock.now
    assert state.decision is not None
    assert state.table is not None
    quantiles = asked(url, "tidegate_forecast_rps")
    for ahead in ("now", "lead"):
        rates = [quantiles[CHAT, ahead, level] for level in ("0.1", "0.5", "0.9", "0.99")]
        assert rates == sorted(rates)
        assert rates[0] > 0
    assert asked(url, "tidegate_forecast_load_erlangs").keys() == quantiles.keys()
    median = found.board.overview()["services"][0]["forecast_rps"]
    assert quantiles[CHAT, "now", "0.5"] == pytest.approx(median)
    assert asked(url, "tidegate_desired_units") == {(CHAT,): state.decision.target_units}
    assert asked(url, "tidegate_lead_time_seconds") == {(CHAT,): state.lead_time_s}
    assert asked(url, "tidegate_slo_target_ratio") == {(CHAT,): 0.99}
    assert asked(url, "tidegate_attainment_ratio") == {(CHAT,): 1.0}
    assert asked(url, "tidegate_error_budget_remaining_ratio") == {(CHAT,): 1.0}
    assert asked(url, "tidegate_plan_age_seconds") == {(CHAT,): now_s - state.table.made_s}
    assert asked(url, "tidegate_failing_jobs") == {(CHAT,): 0.0}
    assert asked(url, "tidegate_leader") == {(): 1.0}
    slot = state.table.at(now_s)
    info = f'tidegate_decision_info{{reason="{state.decision.reason}",binding="{slot.binding}",mode="act"}}'
    assert asked(url, info) == {(CHAT,): 1.0}


def test_every_rule_is_evaluated_and_records(scraped: tuple[World, str]) -> None:
    found, url = scraped
    records = {rule["record"] for rule in rules("record")}

    def recorded() -> bool:
        found.step()  # requests come, so that rates have something to say
        return all(asked(url, record) for record in records)

    until(recorded, "every record")
    assert asked(url, "tidegate:error_budget_burn:rate1h") == {(CHAT,): 0.0}
    assert asked(url, "tidegate:error_budget:ratio")[CHAT,] == pytest.approx(0.01)
    groups = httpx.get(f"{url}/api/v1/rules").json()["data"]["groups"]
    evaluated = [rule for group in groups for rule in group["rules"]]
    assert {rule["health"] for rule in evaluated} == {"ok"}
    assert len(evaluated) == len(rules("record")) + len(rules("alert"))
    assert not httpx.get(f"{url}/api/v1/alerts").json()["data"]["alerts"], "all is well"


def rules(kind: str) -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text())
    return [rule for group in document["groups"] for rule in group["rules"] if kind in rule]


BAD = {
    'tidegate_requests_total{service="chat",outcome="inside_slo"}': "0+80x720",
    'tidegate_requests_total{service="chat",outcome="outside_slo"}': "0+20x720",
    'tidegate_slo_target_ratio{service="chat"}': "0.99x720",
    'tidegate_error_budget_remaining_ratio{service="chat"}': "-0.5x720",
    'tidegate_need_units{service="chat"}': "4x720",
    'tidegate_units{service="chat",state="ready"}': "2x720",
    'tidegate_data_age_seconds{service="chat"}': "4000x720",
    'tidegate_plan_age_seconds{service="chat"}': "4000x720",
    'tidegate_capacity_believed_ratio{service="chat"}': "0.5x720",
    'tidegate_failing_jobs{service="chat"}': "1x720",
    'tidegate_leader{instance="a"}': "0x720",
    'tidegate_leader{instance="b"}': "0x720",
    'up{job="tidegate"}': "0x720",
}
WELL = {
    'tidegate_requests_total{service="chat",outcome="inside_slo"}': "0+999x720",
    'tidegate_requests_total{service="chat",outcome="outside_slo"}': "0+1x720",
    'tidegate_slo_target_ratio{service="chat"}': "0.99x720",
    'tidegate_error_budget_remaining_ratio{service="chat"}': "0.9x720",
    'tidegate_need_units{service="chat"}': "2x720",
    'tidegate_units{service="chat",state="ready",instance="a"}': "2x720",
    'tidegate_units{service="chat",state="ready",instance="b"}': "2x720",
    'tidegate_data_age_seconds{service="chat"}': "400x720",
    'tidegate_leader{instance="a"}': "0x720",
    'tidegate_leader{instance="b"}': "1x720",
    'up{job="tidegate"}': "1x720",
}


@pytest.mark.parametrize("bad", [True, False], ids=["all is bad", "all is well"])
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path, bad: bool) -> None:
    skip_without_prometheus()
    series = BAD if bad else WELL
    expected = []
    for rule in rules("alert"):
        service = (
            {} if "Nobody" in rule["alert"] or "Down" in rule["alert"] else {"service": "chat"}
        )
        job = {"job": "tidegate"} if "Down" in rule["alert"] else {}
        expected.append(f"ALERTS{{{labels(alertname=rule['alert'], alertstate='firing', **service, **job, **rule['labels'])}}}")  # fmt: skip
    samples = [{"labels": each, "value": 1} for each in expected] if bad else []
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                "promql_expr_test": [
                    {
                        "expr": 'ALERTS{alertstate="firing"}',
                        "eval_time": "11h",
                        "exp_samples": samples,
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def labels(**named: str) -> str:
    return ", ".join(f'{key}="{value}"' for key, value in named.items())


def test_the_budget_that_is_left_goes_below_nothing() -> None:
    slo = Slo(ttft_p99_s=1.0, attainment=0.99)
    assert kept(ErrorBudget(slo, {0: Spent(5, 1000)})) == (0.995, 0.5)
    assert kept(ErrorBudget(slo, {0: Spent(20, 500), 1: Spent(0, 500)})) == (0.98, -1.0)
    attainment, left = kept(ErrorBudget(slo))
    assert (math.isnan(attainment), left) == (True, 1.0)
