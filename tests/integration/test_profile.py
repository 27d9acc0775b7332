"""`tidegate profile` on a real engine: our own tier, behind the API that others speak."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from forecaster.config import load_unit_type
from tests.integration.cli_runner import Runner
from tests.integration.tier_helpers import (
    CHAT,
    LLAMA_TYPE,
    RunningTier,
    running,
    services,
)

QUICK = ("--most", 16, "--longest", 64, "--chunk-tokens", 32, "--rounds", 1, "--check", "1s")


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTier]:
    models = tmp_path_factory.mktemp("models")
    with running(tmp_path_factory.mktemp("home"), services(models)) as tier:
        tier.ready(CHAT, 1)
        yield tier


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIDEGATE_MODELS", str(tmp_path / "units"))
    return tmp_path / "units"


def test_a_running_engine_is_measured_and_sized(
    tier: RunningTier, models: Path, cli: Runner
) -> None:
    asked = ("profile", tier.url, "--model", CHAT, "--name", "mine", "--kv-tokens", 4096, *QUICK)
    found = cli(*asked, "--gpus", 2, "--lead", "90s", "--format", "json").json
    assert found["batch_found"]
    assert found["check"]["requests"] >= 40
    unit = load_unit_type(models, "mine")
    assert (unit.gpus, unit.lead_time_s) == (2, 90.0)
    # a busy machine may not get as many streams under way at once
    assert 1 <= unit.profile.max_batch <= LLAMA_TYPE.profile.max_batch  # type: ignore[union-attr]
    written = tomllib.loads((models / "mine" / "unit.toml").read_text())["profile"]
    assert written["kv_tokens"] == 4096
    assert written["alpha_s"] + written["beta_s"] + written["kappa_s"] > 0
    size = ("size", "--unit", "mine", "--rate", 20, "--prompt-tokens", 20, "--output-tokens", 20)
    assert cli(*size, "--ttft-p99", 1, "--format", "json").json["units"] >= 1
    again = cli(*asked)
    assert again.code == 2
    assert "--replace" in again.error


def test_what_cannot_be_measured_is_one_line(tier: RunningTier, models: Path, cli: Runner) -> None:
    dead = cli("profile", "http://127.0.0.1:9", "--name", "mine", *QUICK)
    assert dead.code == 1
    assert "--model" in dead.error
    several = cli("profile", tier.url, "--name", "mine", *QUICK)
    assert several.code == 1
    assert f"serves {CHAT}" in several.error or "name one" in several.error
    nobody = cli("profile", tier.url, "--model", "nobody", "--name", "mine", *QUICK)
    assert nobody.code == 1
    assert "404" in nobody.error
    named = cli("profile", tier.url, "--model", CHAT, "--name", "../mine", *QUICK)
    assert named.code == 2
    assert not models.exists()
