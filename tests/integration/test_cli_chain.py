"""Log in, plan out: the commands as a new user types them, on a real database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from forecaster.replay.sample import Sample, between
from tests.integration.cli_runner import Runner

END_S = 1_767_571_200.0  # 2026-01-05 00:00 UTC, a Monday
SAMPLE = Sample("chat", 0.12, 48, 24)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "chat.csv"
    batch = between(SAMPLE, END_S - 9 * 86400, END_S)
    rows = zip(batch.arrival_s, batch.prompt_tokens, batch.output_tokens, strict=True)
    lines = [f"{datetime.fromtimestamp(t, UTC).isoformat()},chat,{p},{n}" for t, p, n in rows]
    path.write_text("timestamp,service,prompt_tokens,output_tokens\n" + "\n".join(lines) + "\n")
    return path


def test_the_chain(cli: Runner, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "t.toml"
    settings.write_text('[retrain]\nmembers = ["profile", "ridge", "boosting"]\nslot_s = 600\n')
    monkeypatch.setenv("TIDEGATE_CONFIG", str(settings))
    rows = len(log.read_text().splitlines()) - 1

    first = cli("ingest", log, "--format", "json")
    assert first.code == 0, first.err
    assert (first.json["rows"], first.json["accepted"], first.json["rejected"]) == (rows, rows, 0)
    assert {"first", "last", "seconds", "rejects_by_reason"} <= first.json.keys()
    again = cli("ingest", log, "--format", "json")
    assert (again.json["accepted"], again.json["skipped"]) == (0, rows)

    trained = cli("retrain", "--format", "json")
    assert trained.code == 0, trained.err
    chat = trained.json["services"][0]
    assert chat["beats_naive"] is True
    assert chat["wape"] < chat["naive"]["wape"]
    assert {"champion", "pinball", "coverage", "seconds"} <= chat.keys()

    picture = tmp_path / "tide.png"
    seen = cli("forecast", "chat", "--horizon", "6h", "--quantile", "0.5", "--quantile", "0.99",
               "--unit", "tiny-llama", "--plot", picture, "--format", "json")  # fmt: skip
    assert seen.code == 0, seen.err
    assert len(seen.json["points"]) == 36
    point = seen.json["points"][0]
    assert point["start"] == "2026-01-05T00:00:00Z"
    assert point["arrival_rate_rps"]["0.5"] <= point["arrival_rate_rps"]["0.99"]
    assert point["offered_load_erl"]["0.5"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")

    plan = cli("plan", "chat", "--unit", "llama70b-h100x8", "--ttft-p99", 2, "--tpot-p99", 0.08,
               "--rate-scale", 400, "--max-units", 40, "--format", "json")  # fmt: skip
    assert plan.code == 0, plan.err
    slots = plan.json["slots"]
    assert len(slots) == 1440
    assert {"start", "need", "hold", "reason", "binding"} <= slots[0].keys()
    held = [slot["hold"] for slot in slots]
    assert max(held) > min(held)
    assert plan.json["unit_hours"] < plan.json["static_peak_unit_hours"]

    table = cli("plan", "chat", "--unit", "llama70b-h100x8", "--ttft-p99", 2, "--rate-scale", 400)
    assert "saved" in table.out
    html = tmp_path / "tide.html"
    assert cli("forecast", "chat", "--plot", html).code == 0
    assert "plotly" in html.read_text()[:200_000]


def test_size_answers_and_names_the_infeasible(cli: Runner) -> None:
    common = (
        "--prompt-tokens",
        1000,
        "--output-tokens",
        200,
        "--unit",
        "llama70b-h100x8",
        "--format",
        "json",
    )
    found = cli("size", "--rate", 20, "--ttft-p99", 2, "--tpot-p99", 0.08, *common)
    assert found.code == 0
    assert found.json["feasible"] is True
    assert {"units", "utilisation", "ttft_s", "tpot_s", "binding", "reason"} <= found.json.keys()
    tight = cli("size", "--rate", 20, "--ttft-p99", 0.05, *common)
    assert tight.code == 1
    assert tight.json["feasible"] is False
    assert tight.json["binding"] == "ttft_p99_s"
    assert tight.json["feasible_from_s"] > 0.05


def test_config_example_is_what_config_accepts(cli: Runner, tmp_path: Path) -> None:
    example = cli("config", "--example")
    file = tmp_path / "tidegate.toml"
    file.write_text(example.out)
    checked = cli("config", "--config", file)
    assert checked.code == 0, checked.err
    assert "1 services" in checked.out


@pytest.mark.parametrize(
    "command", ["run", "ingest", "retrain", "forecast", "size", "plan", "units", "explain"]
)
def test_every_command_helps_with_an_example(cli: Runner, command: str) -> None:
    shown = cli(command, "--help")
    assert shown.code == 0
    assert f"tidegate {command}" in shown.out or "| tidegate" in shown.out


@pytest.mark.traces
@pytest.mark.parametrize("name", ["composed_servegen_small_2w", "composed_chat_2w"])
def test_real_traces_beat_seasonal_naive(cli: Runner, traces: Path, name: str) -> None:
    assert cli("ingest", traces / "requests" / f"{name}.csv.gz").code == 0
    chat = cli("retrain", "--format", "json").json["services"][0]
    assert chat["beats_naive"] is True
    assert chat["wape"] < chat["naive"]["wape"]
    service = chat["service"]
    forecast = cli("forecast", service, "--format", "json").json
    assert len(forecast["points"]) == 288
    plan = cli("plan", service, "--unit", "llama70b-h100x8", "--ttft-p99", 3, "--tpot-p99", 0.15,
               "--rate-scale", 60, "--max-units", 64, "--format", "json").json  # fmt: skip
    assert len(plan["slots"]) == 1440


def test_size_finds_the_cheapest_mix_of_unit_types(
    cli: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large unit is cheaper by the request; the rest of the load does not fill another one."""
    large = Path("models/llama70b-h100x8/unit.toml").read_text()
    for name, text in (
        ("large", large),
        ("small", large.replace("max_batch = 128", "max_batch = 16").replace("= 98.0", "= 30.0")),
        ("slow", large.replace("alpha_s = 0.0298", "alpha_s = 0.9")),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "unit.toml").write_text(text)
    monkeypatch.setenv("TIDEGATE_MODELS", str(tmp_path))
    common = ("--rate", 18, "--prompt-tokens", 1000, "--output-tokens", 200, "--ttft-p99", 2,
              "--tpot-p99", 0.1)  # fmt: skip
    units = ("--unit", "large:8", "--unit", "small:4", "--unit", "slow")
    found = cli("size", *common, *units, "--format", "json")
    assert found.code == 0, found.err
    mix, alone = {each["unit"]: each for each in found.json["mix"]}, found.json["alone"]
    assert found.json["price_per_hour"] <= alone["large"]["price_per_hour"]
    assert mix["large"]["units"] >= 1
    assert alone["small"] is None
    assert found.json["capacity_rps"] >= 18
    assert sum(each["share"] for each in found.json["mix"]) == pytest.approx(1.0)
    assert "is infeasible" in found.json["infeasible"]["slow"]
    table = cli("size", *common, *units)
    assert "an hour carry" in table.out
    assert "infeasible" in table.out
    twice = cli("size", *common, "--unit", "large", "--unit", "large:2")
    assert twice.code == 2
    assert "each type once" in twice.err
    few = cli("size", *common, "--unit", "large:1", "--unit", "small:1")
    assert few.code == 2
    assert "all units together carry" in few.err
