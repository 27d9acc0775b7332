"""Anomalies, versions and verified forecasts as an operator meets them, on a real database."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.domain.forecast import QuantileForecast
from forecaster.seasonal.verify import to_verify
from forecaster.store import Store
from tests.integration.cli_runner import Runner

START_S = 1_767_571_200.0  # 2026-01-05 00:00 UTC, a Monday
DAY_S = 86_400.0
DAYS = 8


def arrivals(seed: int = 1) -> np.ndarray:
    """Eight days of a tide of about 1,000 requests an hour at noon, with a load test on the sixth."""
    rng = np.random.default_rng(seed)
    minute = np.arange(DAYS * 1440)
    rate = 8 + 6 * np.sin(2 * np.pi * (minute / 1440 - 0.25))
    rate[5 * 1440 + 600 : 5 * 1440 + 660] += 120
    counts = rng.poisson(rate)
    at = START_S + 60 * np.repeat(minute, counts) + 60 * rng.random(counts.sum())
    return np.sort(at)


@pytest.fixture
def chat(store: Store) -> Store:
    at = arrivals()
    none = np.zeros(at.size, np.int64)
    new = LogSource(0, 1, "chat", "", "log")
    store.append_requests(new, new, [RequestBatch("chat", at, none, none)])
    return store


@pytest.mark.usefixtures("chat")
def test_anomalies_are_listed_kept_and_dropped(cli: Runner) -> None:
    found = cli("anomalies", "chat", "--format", "json")
    assert found.code == 0, found.err
    (test,) = found.json["anomalies"]
    assert (test["kind"], test["taught"]) == ("load-test", False)
    assert test["start"] == "2026-01-10T10:00:00Z"
    assert test["size"] > 5
    kept = cli(
        "anomalies", "keep", "chat", "2026-01-10T10:30Z", "--why", "usual", "--format", "json"
    )
    assert [each["taught"] for each in kept.json["anomalies"]] == [True]
    assert "usual" in kept.json["anomalies"][0]["why"]
    dropped = cli("anomalies", "drop", "chat", "2026-01-07T08:00Z", "2026-01-07T09:00Z")
    assert dropped.code == 0
    assert "by-hand" in dropped.out
    again = cli("anomalies", "chat", "--format", "json").json["anomalies"]
    assert [each["kind"] for each in again] == ["by-hand", "load-test"]


@pytest.mark.usefixtures("chat")
def test_bad_judgements_are_refused_in_one_line(cli: Runner) -> None:
    assert "known: chat" in cli("anomalies", "chta").error
    assert "ISO 8601" in cli("anomalies", "keep", "chat", "noon").error
    assert "no anomaly at" in cli("anomalies", "keep", "chat", "2026-01-06T10:00Z").error
    assert "SERVICE FROM UNTIL" in cli("anomalies", "drop", "chat", "2026-01-06T10:00Z").error
    assert "must be after" in cli("anomalies", "drop", "chat", "2026-01-06", "2026-01-05").error


@pytest.mark.usefixtures("chat")
def test_versions_are_listed_and_rolled_back(cli: Runner) -> None:
    assert cli("retrain", "chat").code == 0
    assert cli("retrain", "chat").code == 0
    second, first = cli("models", "chat", "--format", "json").json["models"]
    assert (second["live"], first["live"]) == (True, False)
    assert 0 < second["wape"] < 1
    back = cli("rollback", "chat", "--format", "json")
    assert (back.json["from"], back.json["to"]) == (second["version"], first["version"])
    assert cli("models", "chat", "--format", "json").json["models"][1]["live"] is True
    assert "no version before" in cli("rollback", "chat").error
    assert "is not a version" in cli("rollback", "chat", "--to", 999).error
    assert "known: chat" in cli("models", "chta").error


def test_what_was_foretold_is_verified_and_survives(cli: Runner, chat: Store) -> None:
    empty = cli("accuracy", "chat", "--format", "json")
    assert (empty.code, empty.json["leads"]) == (0, [])
    series = chat.demand("chat", slot_s=300)
    levels = (0.05, 0.5, 0.95, 0.99)
    said = series.arrival_rate_rps[:, None] * np.array([0.5, 1.0, 1.5, 2.0])
    for slot in range(3 * 288, 7 * 288, 3):
        table = said[slot : slot + 288]
        made = QuantileForecast(
            "chat", series.start_s + slot * 300, 300.0, levels, table, table * np.nan,
            series.start_s + slot * 300, "pool",
        )  # fmt: skip
        chat.learning.foretell("chat", to_verify(made, 0))
    good = cli("accuracy", "chat", "--format", "json").json
    assert [each["lead_s"] for each in good["leads"]] == [300, 600, 1800, 3600, 10800, 21600, 86400]
    assert good["leads"][0]["wape"] == pytest.approx(0.0, abs=1e-6)
    assert good["leads"][0]["coverage"]["0.95"] == 1.0
    assert good["leads"][0]["verified"] == 4 * 96
    assert not good["drift"]
    assert (
        cli("accuracy", "chat", "--over", "1d", "--format", "json").json["leads"][0]["verified"]
        == 96
    )
    assert "no drift" in cli("accuracy", "chat").out


def test_the_picture_shows_bands_events_and_labelled_anomalies(
    cli: Runner, chat: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "t.toml"
    file.write_text(
        '[[service]]\nname = "chat"\nunit = "tiny-llama"\n'
        '[[service.event]]\nname = "launch"\nstart = "2026-01-13T18:00:00"\nend = "2026-01-13T20:00:00"\n'
    )
    monkeypatch.setenv("TIDEGATE_CONFIG", str(file))
    assert cli("retrain", "chat").code == 0
    html, svg = tmp_path / "tide.html", tmp_path / "tide.svg"
    drawn = cli(
        "forecast",
        "chat",
        "--horizon",
        "72h",
        "--quantile",
        0.9,
        "--plot",
        html,
        "--format",
        "json",
    )
    assert drawn.code == 0, drawn.err
    assert list(drawn.json["points"][0]["arrival_rate_rps"]) == ["0.9"]
    text = html.read_text()
    for word in ("observed", "q0.05 to q0.99", "q0.5", "launch", "load-test"):
        assert f'"{word}"' in text, word
    assert cli("forecast", "chat", "--plot", svg).code == 0
    assert "<svg" in svg.read_text()
