"""Shipped rules and dashboard ask only for metrics that `/metrics` has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from forecaster.api.metrics import Told, render
from forecaster.daemon.gauges import Foreseen, Gauges

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SERVICE = {
    "name": "chat", "forecast_rps": 1.0, "planned_rps": 2.0, "need_units": 1, "hold_units": 2, "refused_units": 0,
    "lead_time_s": 3.0, "units": {"ready": 1, "warming": 0, "draining": 0},
    "served": {"requests": 9, "inside": 8, "refused": 0},
    "ledger": {"ready_s": 1.0, "warming_s": 1.0, "draining_s": 0.0},
}  # fmt: skip

WORDS = dict.fromkeys(("reason", "verb", "binding", "mode", "champion"), "x")
TOLD = Told([Gauges(
    "chat", (Foreseen("now", 0.5, 1.0, 2.0),), 2.0, WORDS, 0.99, 0.995, 0.5, 60.0, 30.0, 0.9, 0,
)], leads=True)  # fmt: skip


def asked(text: str) -> set[str]:
    return set(re.findall(r"\btidegate_[a-z_]+", text))


def test_every_metric_that_is_asked_for_is_there() -> None:
    body, _ = render({"services": [SERVICE], "away": ""}, TOLD)
    there = {
        sample.name
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    expressions = [t["expr"] for panel in board["panels"] for t in panel["targets"]]
    wanted = asked(" ".join(expressions)) | asked((DEPLOY / "prometheus-rules.yml").read_text())
    assert len(wanted) >= 14
    assert wanted <= there
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
