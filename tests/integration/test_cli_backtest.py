"""`tidegate backtest`, as a user types it, on small real and made series."""

import csv
import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.integration.cli_runner import Runner

START = datetime(2026, 1, 5, tzinfo=UTC)


def tide(days: int = 16, seed: int = 1, per_day: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(100 + 80 * np.sin(2 * np.pi * np.arange(days * per_day) / per_day)).astype(
        float
    )


def write(path: Path, series: dict[str, np.ndarray], step: timedelta = timedelta(hours=1)) -> Path:
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as out:
        out.write("series_id,timestamp,value\n")
        for name, values in series.items():
            for k, value in enumerate(values):
                cell = "" if np.isnan(value) else f"{value:g}"
                out.write(f"{name},{(START + k * step).isoformat()},{cell}\n")
    return path


def test_scores_and_forecasts_of_every_series(cli: Runner, tmp_path: Path) -> None:
    gappy = tide(seed=2)
    gappy[200:210] = np.nan
    path = write(tmp_path / "rates.csv.gz", {"a": tide(), "b": gappy})
    out = tmp_path / "f.csv"
    ran = cli("backtest", path, "--horizon", "24", "--origins", 3, "--out", out, "--format", "json")
    assert ran.code == 0, ran.err
    assert set(ran.json["series"]) == {"a", "b"}
    wanted = {"wape", "mase", "smape", "owa", "pinball", "coverage", "vs_naive", "cpu_s"}
    for found in [ran.json["pooled"], *ran.json["series"].values()]:
        assert wanted <= set(found)
        assert found["wape"] < 0.15  # the noise of counting alone is 0.10
        assert found["vs_naive"] < 0.85
        assert 0.85 <= found["coverage"]["0.95"] <= 1
    with out.open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 2 * 3 * 24 * 4
    first = rows[0]
    assert set(first) == {"series_id", "origin", "timestamp", "level", "value"}
    assert (
        first["origin"]
        == first["timestamp"]
        == (START + timedelta(hours=13 * 24)).strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    by_level = [float(row["value"]) for row in rows[:4]]
    assert by_level == sorted(by_level)


def test_the_future_is_not_seen(cli: Runner, tmp_path: Path) -> None:
    y = tide()
    spoilt = y.copy()
    spoilt[-24:] = 1e6
    outs = []
    for name, values in (("y", y), ("spoilt", spoilt)):
        path, out = write(tmp_path / f"{name}.csv", {"s": values}), tmp_path / f"{name}-f.csv"
        assert cli("backtest", path, "--horizon", "24h", "--origins", 1, "--out", out).code == 0
        outs.append(out.read_text())
    assert outs[0] == outs[1]


def test_an_origin_every_so_often_and_coarser_slots(cli: Runner, tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv", {"s": tide(days=10, per_day=96)}, timedelta(minutes=15))
    out = tmp_path / "f.csv"
    ran = cli(
        "backtest", path, "--horizon", "6h", "--step", "1h", "--origins", "every", "12h",
        "--level", 0.9, "--out", out, "--format", "json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    with out.open() as lines:
        rows = list(csv.DictReader(lines))
    origins = sorted({row["origin"] for row in rows})
    assert len(origins) == 8
    assert {row["level"] for row in rows} == {"0.5", "0.9"}
    assert float(rows[0]["value"]) > 250  # four quarters are summed
    assert set(ran.json["pooled"]["coverage"]) == {"0.5", "0.9"}


def test_a_season_that_is_no_day(cli: Runner, tmp_path: Path) -> None:
    # a shift of ten hours: daily models know nothing of it
    shape = np.tile([1.0, 1, 1, 9, 9, 9, 30, 30, 9, 1], 40)
    path = write(tmp_path / "shift.csv", {"s": shape})
    ran = cli("backtest", path, "--horizon", 20, "--season", 10, "--origins", 2, "--format", "json")
    assert ran.code == 0, ran.err
    assert ran.json["pooled"]["wape"] < 0.05


def test_m4_hourly(cli: Runner, traces: Path) -> None:
    path = traces / "rates" / "m4_hourly_train100.csv.gz"
    ran = cli("backtest", path, "--horizon", 48, "--season", 24, "--origins", 1, "--format", "json")
    assert ran.code == 0, ran.err
    assert ran.json["pooled"]["owa"] < 0.46  # the competition's winner: 0.44 on all 414


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--horizon", "soon"), "--horizon"),
        (("--horizon", 24, "--level", 1.5), "--level"),
        (("--horizon", 24, "--origins", "some"), "--origins"),
        (("--horizon", 24, "--step", "90m"), "multiple"),
        (("--horizon", 24, "--member", "oracle"), "oracle"),
        (("--horizon", 24, "--timezone", "Mars/Olympus"), "timezone"),
        (("--horizon", 9999), "too few"),
    ],
)
def test_what_is_refused(
    cli: Runner, tmp_path: Path, arguments: tuple[object, ...], said: str
) -> None:
    path = write(tmp_path / "rates.csv", {"s": tide(days=6)})
    ran = cli("backtest", path, *arguments)
    assert ran.code in (1, 2)
    assert said in ran.error


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No columns"),
        ("series_id,timestamp,value\n", "no rows"),
        ("when,what\n1,2\n", "timestamp"),
        ("series_id,timestamp,value\ns,yesterday,2\n", "yesterday"),
        ("series_id,timestamp,value\ns,2026-01-01T00:00:00Z,many\n", "many"),
        ("series_id,timestamp,value\ns,2026-01-01T00:00:00Z,1\n", "one row"),
    ],
)
def test_files_that_are_none(cli: Runner, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    ran = cli("backtest", path, "--horizon", 24)
    assert ran.code == 1
    assert said in ran.error


def test_a_missing_file_and_a_closed_folder(cli: Runner, tmp_path: Path) -> None:
    assert "none.csv" in cli("backtest", tmp_path / "none.csv", "--horizon", 24).error
    path = write(tmp_path / "rates.csv", {"s": tide(days=6)})
    ran = cli("backtest", path, "--horizon", 24, "--out", tmp_path / "no" / "f.csv")
    assert ran.code == 1
    assert "--out" in ran.error
