"""`tidegate frontier` as a user types it: every setting's saving and attainment from one log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forecaster.replay.sample import Sample, between
from tests.integration.cli_runner import Ran, Runner

START_S = 1_767_571_200.0
ASKED = (
    "--unit", "tiny-llama", "--ttft-p99", 1, "--tpot-p99", 0.15, "--rate-scale", 100, "--days", 0.25,
    "--lead", "3m",
)  # fmt: skip
FEW = ("--elasticities", 0, 1, "--targets", 0.9, 0.99)
PER_POINT = {
    "elasticity", "target", "unit_hours", "attainment", "saved_share", "violation_minutes", "cost",
}  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    batch = between(Sample("chat", 0.02, 48, 24, seed=11), START_S, START_S + 3.6 * 86400)
    columns = (batch.arrival_s, batch.prompt_tokens, batch.output_tokens)
    rows = zip(*(each.tolist() for each in columns), strict=True)
    path = tmp_path_factory.mktemp("logs") / "chat.csv"
    path.write_text(
        "timestamp,service,prompt_tokens,output_tokens\n"
        + "".join(
            f"{datetime.fromtimestamp(t, UTC).isoformat()},chat,{p},{n}\n" for t, p, n in rows
        )
    )
    return path


@pytest.fixture(scope="module")
def home(open_folder: Callable[[], Path]) -> Path:
    """One state folder for the module: sizing tables are built once."""
    return open_folder()


@pytest.fixture
def frontier(cli: Runner, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    monkeypatch.setenv("TIDEGATE_HOME", str(home))
    monkeypatch.setenv("TIDEGATE_DSN", "host=127.0.0.1 port=1 connect_timeout=1")  # needs none

    def run(*argv: object) -> Ran:
        return cli("frontier", *argv)

    return run


def test_every_point_as_json(frontier: Callable[..., Ran], log: Path, tmp_path: Path) -> None:
    html = tmp_path / "f.html"
    ran = frontier(log, *ASKED, *FEW, "--plot", html, "--format", "json")
    assert ran.code == 0, ran.err
    assert ran.err == ""  # no terminal, no bar
    said = ran.json
    settings = [(point["target"], point["elasticity"]) for point in said["points"]]
    assert settings == [(0.9, 0), (0.9, 1), (0.99, 0), (0.99, 1)]
    for point in said["points"]:
        assert point.keys() >= PER_POINT
    for held, tide in zip(said["points"][::2], said["points"][1::2], strict=True):
        assert held["unit_hours"] >= tide["unit_hours"]
        assert held["saved_share"] <= tide["saved_share"]
    assert said["static_peak"]["target"] == 0.99
    assert said["log"]["rejected"] == 0
    assert said["files"] == {"plot": str(html)}
    assert "target 0.99" in html.read_text()


def test_a_row_for_each_point_and_a_picture(
    frontier: Callable[..., Ran], log: Path, tmp_path: Path
) -> None:
    svg, png = tmp_path / "f.svg", tmp_path / "f.png"
    repeated = ("--elasticities", 0, "--elasticities", 1, "--targets", 0.99)
    ran = frontier(log, *ASKED, *repeated, "--plot", svg)
    assert ran.code == 0, ran.err
    assert [line.split()[:2] for line in ran.out.splitlines()[2:4]] == [
        ["0.99", "0"],
        ["0.99", "1"],
    ]
    for word in ("unit-hours", "violation minutes", "without hindsight", str(svg)):
        assert word in ran.out
    assert "<svg" in svg.read_text()
    again = frontier(log, *ASKED, *repeated, "--plot", png)
    assert again.out.splitlines()[2:4] == ran.out.splitlines()[2:4]  # the same seed
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--elasticities", 0, 1.5), ("--elasticities", "1.5", "0 (the peak) to 1")),
        (("--elasticities", "nan"), ("--elasticities", "nan")),
        (("--targets", 0.9, 1), ("--targets", "1.0", "below 1")),
        (("--targets", "high"), ("--targets", "number")),
        (("--plot", "f.gif"), ("--plot", "f.gif", ".svg")),
        (("--plot", "/nowhere/f.png"), ("--plot", "folder")),
        (("--days", 0), ("--days", "0.0")),
        (("--rate-scale", 0), ("--rate-scale", "0.0")),
        (("--attainment", 1), ("--attainment", "1.0")),
        (("--from-store", "chat"), ("LOG", "--from-store")),
    ],
)
def test_usage_errors_exit_2(
    frontier: Callable[..., Ran], log: Path, argv: tuple[object, ...], words: tuple[str, ...]
) -> None:
    ran = frontier(log, "--unit", "tiny-llama", "--ttft-p99", 1, *argv)
    assert ran.code == 2, ran.err
    assert ran.out == ""
    for word in words:
        assert word in ran.error


def test_logs_and_bounds_without_an_answer_exit_1(
    frontier: Callable[..., Ran], log: Path, tmp_path: Path
) -> None:
    assert "--days 0.5" in frontier(log, *ASKED, "--days", 3).error
    assert "none.csv" in frontier(tmp_path / "none.csv", *ASKED).error
    ran = frontier(log, *ASKED, "--ttft-p99", 0.001, "--format", "json")
    assert ran.code == 1
    assert ran.json["feasible"] is False
