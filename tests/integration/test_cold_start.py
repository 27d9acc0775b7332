"""A service of an hour, and one of nothing, asked for a forecast on a real database."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forecaster.config import load_settings
from forecaster.config.settings import RetrainSettings
from forecaster.daemon.training import retrain_service
from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.store import Store
from forecaster.wiring.questions import service_named
from tests.integration.cli_runner import Runner

START_S = 1_767_571_200.0  # 2026-01-05 00:00 UTC, a Monday
DAY_S = 86_400.0


def ingest(store: Store, name: str, first_s: float, end_s: float, rps: float) -> None:
    """Poisson arrivals of a day that sleeps: next to nothing before eight."""
    rng = np.random.default_rng(int(rps * 1000))
    at = np.sort(rng.uniform(first_s, end_s, rng.poisson(rps * (end_s - first_s))))
    hour = at % DAY_S / 3600
    at = at[(hour >= 8) | (rng.random(at.size) < 0.05)]
    none = np.zeros(at.size, np.int64)
    new = LogSource(0, 1, name, "", "log")
    store.append_requests(new, new, [RequestBatch(name, at, none, none)])


def test_a_service_born_an_hour_ago_is_forecast_by_what_others_do(
    cli: Runner, store: Store, tmp_path: Path
) -> None:
    for name, rps in (("a", 0.2), ("b", 0.3)):
        ingest(store, name, START_S, START_S + 8 * DAY_S, rps)
        service = service_named(load_settings(None), name)
        retrain_service(store, service, RetrainSettings(), START_S + 8 * DAY_S)
    noon = START_S + 8.5 * DAY_S
    ingest(store, "young", noon - 3600, noon, 1.0)
    found = cli("forecast", "young", "--format", "json")
    assert found.code == 0, found.err
    assert found.json["champion"] == "cold-start"
    points = found.json["points"]
    by_hour = {
        int(each["start"][11:13]): each["arrival_rate_rps"]
        for each in points
        if each["start"][14:16] == "30"
    }
    assert by_hour[15]["0.5"] == pytest.approx(1.0, rel=0.35)
    assert by_hour[3]["0.5"] < 0.3
    assert by_hour[15]["0.99"] > 1.4 * by_hour[15]["0.5"]
    skipped = cli("retrain", "--format", "json").json
    assert [line for line in skipped["skipped"] if "young" in line]


def test_a_drawn_day_speaks_for_a_service_without_a_request(
    cli: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = [0.5] * 24
    file = tmp_path / "t.toml"
    file.write_text(f'[[service]]\nname = "new"\nunit = "tiny-llama"\nday_shape = {drawn}\n')
    monkeypatch.setenv("TIDEGATE_CONFIG", str(file))
    found = cli("forecast", "new", "--format", "json")
    assert found.code == 0, found.err
    assert found.json["points"][5]["arrival_rate_rps"]["0.5"] == pytest.approx(0.5, rel=0.1)
    assert "no log was ingested" in cli("forecast", "newer").error
    file.write_text('[[service]]\nname = "new"\nunit = "tiny-llama"\nday_shape = [1.0, 2.0]\n')
    assert "24 rates" in cli("forecast", "new").error
