"""`tidegate replay` as a user types it: any log in, table, JSON, schedule and report out."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forecaster.replay.sample import Sample, between
from tests.integration.cli_runner import Ran, Runner

START_S = 1_767_571_200.0
SAMPLE = Sample("chat", 0.02, 48, 24, seed=11)
HEAD = "timestamp,service,prompt_tokens,output_tokens\n"
UNIT = ("--unit", "tiny-llama")
SLO = ("--ttft-p99", 1, "--tpot-p99", 0.15)
SMALL = (*UNIT, *SLO, "--rate-scale", 100, "--days", 0.5, "--lead", "3m")
FEW = ("--policies", "static-peak,smoothed,tide-clairvoyant")
PER_POLICY = {
    "unit_hours", "warming_hours", "attainment", "violation_minutes", "ttft_s", "tpot_s", "actions",
    "cost", "vs_static_peak", "vs_clairvoyant",
}  # fmt: skip

Rows = list[tuple[float, int, int]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    batch = between(SAMPLE, START_S, START_S + 4 * 86400)
    columns = (batch.arrival_s, batch.prompt_tokens, batch.output_tokens)
    return list(zip(*(each.tolist() for each in columns), strict=True))


@pytest.fixture(scope="module")
def log(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "chat.csv"
    path.write_text(text_of(rows))
    return path


@pytest.fixture(scope="module")
def home(open_folder: Callable[[], Path]) -> Path:
    """One state folder for the module: sizing tables are built once."""
    return open_folder()


@pytest.fixture
def replay(cli: Runner, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    monkeypatch.setenv("TIDEGATE_HOME", str(home))
    monkeypatch.setenv("TIDEGATE_DSN", "host=127.0.0.1 port=1 connect_timeout=1")  # needs none

    def run(*argv: object) -> Ran:
        return cli("replay", *argv)

    return run


def text_of(rows: Rows, service: str = "chat") -> str:
    return HEAD + "".join(
        f"{datetime.fromtimestamp(t, UTC).isoformat()},{service},{p},{n}\n" for t, p, n in rows
    )


def test_the_whole_contest_with_schedule_and_report(
    replay: Callable[..., Ran], log: Path, rows: Rows, tmp_path: Path
) -> None:
    html, schedule = tmp_path / "r.html", tmp_path / "s.csv"
    ran = replay(
        log, *SMALL, "--lead-p50", "90s",
        "--policies", "static-peak,smoothed,tidegate,tide-clairvoyant,clairvoyant",
        "--html", html, "--schedule-out", schedule, "--format", "json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.err == ""  # no terminal, no bar
    said = ran.json
    for values in said["policies"].values():
        assert values.keys() >= PER_POLICY
        assert values["vs_clairvoyant"] >= 0
    assert said["policies"]["tidegate"]["untuned"].keys() >= PER_POLICY
    assert said["log"]["accepted"] == len(rows)
    assert said["log"]["rejected"] == 0
    assert (said["lead_s"], said["lead_p50_s"]) == (180.0, pytest.approx(90.0))
    assert "Tidegate" in said["summary"]
    assert said["files"] == {
        "html": str(html),
        "schedule": str(schedule),
        "schedule_of": "tidegate",
    }

    planned = list(csv.DictReader(io.StringIO(schedule.read_text())))
    assert planned[0].keys() == {"timestamp", "units"}
    assert len(planned) == 12 * 60
    assert planned[0]["timestamp"] == said["from"]
    hours = sum(int(row["units"]) for row in planned) / 60
    assert hours == pytest.approx(said["policies"]["tidegate"]["ready_hours"])

    page = html.read_text()
    assert f"{said['policies']['tidegate']['unit_hours']:,.1f}" in page
    assert "tidegate replay" in page
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_the_table_says_it_in_words(replay: Callable[..., Ran], log: Path) -> None:
    ran = replay(log, *SMALL, *FEW)
    assert ran.code == 0, ran.err
    for word in (
        "unit-hours",
        "smoothed",
        "tide-clairvoyant",
        "attainment",
        "Tidegate was not played",
    ):
        assert word in ran.out


def test_the_same_seed_the_same_verdict_from_every_format(
    replay: Callable[..., Ran],
    log: Path,
    rows: Rows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gz = tmp_path / "chat.csv.gz"
    gz.write_bytes(gzip.compress(log.read_bytes()))
    lines = tmp_path / "chat.jsonl"
    lines.write_text(
        "".join(f'{{"when": {t!r}, "in": {p}, "out": {n}}}\n' for t, p, n in reversed(rows))
    )
    mapped = ("--column", "timestamp=when", "--column", "prompt_tokens=in", "--column", "output_tokens=out")  # fmt: skip
    first = replay(log, *SMALL, *FEW, "--format", "json").json
    second = replay(gz, *SMALL, *FEW, "--format", "json").json
    with gz.open("rb") as piped:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(piped))
        third = replay("-", *SMALL, *FEW, "--format", "json").json
    assert first["policies"] == second["policies"] == third["policies"]
    other = replay(lines, *mapped, "--service", "mine", *SMALL, *FEW, "--format", "json")
    assert other.code == 0, other.err
    assert other.json["service"] == "mine"
    assert other.json["log"]["accepted"] == len(rows)
    for name, values in other.json["policies"].items():  # stamps by the microsecond, not exact
        assert values["unit_hours"] == pytest.approx(first["policies"][name]["unit_hours"], rel=0.1)


def test_rejected_lines_are_counted_and_shown(
    replay: Callable[..., Ran], log: Path, home: Path, tmp_path: Path
) -> None:
    dirty = tmp_path / "dirty.csv"
    dirty.write_text(log.read_text() + "yesterday,chat,1,1\n2026-01-06T00:00:03Z,chat,-4,1\n")
    ran = replay(dirty, *SMALL, *FEW, "--format", "json")
    assert ran.json["log"]["rejected"] == 2
    assert sum(ran.json["log"]["rejects_by_reason"].values()) == 2
    assert "2 rejected" in replay(dirty, *SMALL, *FEW).out
    assert not (home / "rejects").exists()


def test_one_service_of_several(replay: Callable[..., Ran], rows: Rows, tmp_path: Path) -> None:
    both = tmp_path / "both.csv"
    both.write_text(text_of(rows) + text_of(rows[:50], "other").removeprefix(HEAD))
    ran = replay(both, *SMALL, *FEW)
    assert ran.code == 2
    assert f"chat ({len(rows):,}), other (50)" in ran.error
    ran = replay(both, *SMALL, *FEW, "--service", "nobody")
    assert ran.code == 1
    assert "'nobody'" in ran.error
    said = replay(both, *SMALL, *FEW, "--service", "chat", "--format", "json").json
    assert said["service"] == "chat"
    assert said["log"]["other_services"] == {"other": 50}


def test_a_classic_unit_needs_no_tokens(
    replay: Callable[..., Ran], rows: Rows, tmp_path: Path
) -> None:
    path = tmp_path / "web.csv"
    path.write_text("".join(["timestamp\n", *(f"{t}\n" for t, _, _ in rows)]))
    ran = replay(path, "--unit", "mlp-classifier", "--latency-p99", 0.2, "--days", 0.5, "--rate-scale",
                 1000, *FEW, "--format", "json")  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["service"] == "web.csv"
    assert ran.json["policies"]["smoothed"]["tpot_s"] == {"p50": None, "p90": None, "p99": None}


def test_requests_of_the_store(
    cli: Runner, log: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(home))
    assert cli("ingest", log).code == 0
    ran = cli("replay", "--from-store", "chat", *SMALL, *FEW, "--format", "json")
    assert ran.code == 0, ran.err
    assert ran.json["service"] == "chat"
    assert "log" not in ran.json
    ran = cli("replay", "--from-store", "nobody", *SMALL, *FEW)
    assert ran.code == 1
    assert "nobody" in ran.error


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--policies", "best,hpa"), ("best", "tide-clairvoyant")),
        (("--rate-scale", 0), ("--rate-scale", "0.0")),
        (("--rate-scale", "nan"), ("--rate-scale", "nan")),
        (("--days", 0), ("--days", "0.0")),
        (("--days", "nan"), ("--days", "nan")),
        (("--ttft-p99", "nan"), ("--ttft-p99", "finite")),
        (("--ttft-p99", 0), ("--ttft-p99", "0.0")),
        (("--attainment", "nan"), ("--attainment", "nan")),
        (("--attainment", 1), ("--attainment", "1.0")),
        (("--lead", "soon"), ("--lead", "soon")),
        (("--lead", "2d"), ("--lead", "2d")),
        (("--lead", "3m", "--lead-p50", "5m"), ("--lead-p50", "at most the lead, 180 s")),
        (("--seed", -1), ("--seed", "-1")),
        (("--seed", 2**70), ("--seed",)),
        (("--min-units", 5, "--max-units", 2), ("min_units", "max_units")),
        (("--step-units", 0), ("--step-units", "0")),
        (("--timezone", "Mars/Base"), ("--timezone", "Europe/Berlin")),
        (("--log-timezone", "Mars/Base"), ("timezone", "Europe/Berlin")),
        (("--country", "ZZ"), ("--country", "ZZ")),
        (("--html", "/nowhere/r.html"), ("--html", "folder")),
        (("--schedule-out", "/nowhere/s.csv"), ("--schedule-out", "folder")),
        (("--schedule-out", "s.csv", "--policies", "hpa,knative"), ("--schedule-of", "hpa, knative")),
        (("--schedule-out", "s.csv", "--schedule-of", "me"), ("--schedule-of", "me")),
        (("--column", "colour=red"), ("--column", "colour=red")),
        (("--from-store", "chat"), ("LOG", "--from-store")),
    ],
)  # fmt: skip
def test_usage_errors_exit_2(
    replay: Callable[..., Ran], log: Path, argv: tuple[object, ...], words: tuple[str, ...]
) -> None:
    ran = replay(log, *UNIT, "--ttft-p99", 1, *argv)
    assert ran.code == 2, ran.err
    assert ran.out == ""
    for word in words:
        assert word in ran.error


def test_an_slo_and_a_unit_are_needed(replay: Callable[..., Ran], log: Path) -> None:
    assert "at least one bound" in replay(log, *UNIT).error
    assert "--unit" in replay(log, *SLO).error
    ran = replay(log, "--unit", "gpt-9", *SLO)
    assert ran.code == 1
    assert "tiny-llama" in ran.error


def test_an_infeasible_slo_says_what_would_be_feasible(
    replay: Callable[..., Ran], log: Path
) -> None:
    ran = replay(log, *UNIT, "--ttft-p99", 0.001, *FEW)
    assert ran.code == 1
    assert "infeasible" in ran.error
    assert "set ttft_p99_s above" in ran.error
    ran = replay(log, *UNIT, "--ttft-p99", 0.001, *FEW, "--format", "json")
    assert ran.code == 1
    assert ran.json["feasible"] is False
    assert ran.json["feasible_from_s"] > 0.001


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", ("is empty",)),
        (HEAD, ("no rows",)),
        (HEAD + "2026-01-05T00:00:00Z,chat,10,5\n", ("1 request", "minutes")),
        (HEAD + "never,chat,10,5\n", ("never", "--column timestamp=NAME")),
        ("colour,shape\nred,round\n", ("colour", "timestamp")),
    ],
)
def test_logs_without_an_answer_exit_1(
    replay: Callable[..., Ran], tmp_path: Path, body: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(body)
    ran = replay(path, *SMALL)
    assert ran.code == 1, ran.err
    for word in words:
        assert word in ran.error


def test_a_missing_and_a_cut_log(replay: Callable[..., Ran], log: Path, tmp_path: Path) -> None:
    assert "none.csv" in replay(tmp_path / "none.csv", *SMALL).error
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(log.read_bytes())[:-2000])
    ran = replay(cut, *SMALL)
    assert ran.code == 1
    assert "complete file" in ran.error


def test_no_tokens_for_a_generative_unit(
    replay: Callable[..., Ran], rows: Rows, tmp_path: Path
) -> None:
    path = tmp_path / "web.csv"
    path.write_text("timestamp\n" + "".join(f"{t}\n" for t, _, _ in rows))
    ran = replay(path, *SMALL)
    assert ran.code == 1
    assert "--column prompt_tokens=NAME" in ran.error


def test_too_little_history_names_the_days_that_can_be_scored(
    replay: Callable[..., Ran], log: Path
) -> None:
    ran = replay(log, *UNIT, *SLO, "--policies", "tidegate", "--no-untuned")
    assert ran.code == 1
    assert "--days 0.9" in ran.error


def test_too_few_units_miss_the_target_and_say_so(replay: Callable[..., Ran], log: Path) -> None:
    hard = (*SMALL, "--rate-scale", 1000, "--max-units", 2, "--policies", "static-peak,hpa")
    said = replay(log, *hard, "--format", "json").json
    assert [values["reached"] for values in said["policies"].values()] == [False, False]
    assert all(values["attainment"] < 0.99 for values in said["policies"].values())
    assert "missed" in replay(log, *hard).out


def test_the_least_may_be_no_unit_at_all(replay: Callable[..., Ran], log: Path) -> None:
    ran = replay(log, *SMALL, "--min-units", 0, *FEW, "--format", "json")
    assert ran.code == 0, ran.err
    assert all(values["reached"] for values in ran.json["policies"].values())


def test_no_elasticity_is_the_past_weeks_peak(replay: Callable[..., Ran], log: Path) -> None:
    hours = {}
    for e in (0, 1):
        ran = replay(log, *UNIT, *SLO, "--rate-scale", 1500, "--days", 0.5, "--lead", "3m",
                     "--policies", "tidegate,static-peak", "--no-untuned",
                     "--elasticity", e, "--format", "json")  # fmt: skip
        assert ran.code == 0, ran.err
        assert ran.json["elasticity"] == e
        hours[e] = ran.json["policies"]["tidegate"]["unit_hours"]
    assert hours[0] > hours[1]
    refused = replay(log, *SMALL, "--elasticity", 1.5)
    assert refused.code == 2
    assert "--elasticity" in refused.err
