"""Backtest of a series file: read, put on grids, roll the origins, score."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import DataError
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.backtest import MIN_HISTORY_DAYS
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.member import DAY_S, fill_season
from forecaster.seasonal.naive2 import naive2
from forecaster.seasonal.origins import roll_origins
from forecaster.seasonal.scores import coverage, mase, pinball, smape, wape

COLUMNS = ("series_id", "timestamp", "value")


@dataclass(frozen=True)
class Terms:
    """What is asked of every series.

    Attributes
    ----------
    horizon : int
        Slots to forecast from each origin.
    season : int
        Slots of a season; 0: those of a day.
    origins : int
        The last so many origins, a horizon apart; 0: one every `every` slots.
    every : int
        Slots between origins over the last 40 %.
    levels : tuple of float
        Quantile levels, the median among them.
    """

    horizon: int
    season: int
    origins: int
    every: int
    levels: tuple[float, ...]
    members: tuple[str, ...]
    history_days: float
    spec: CalendarSpec


@dataclass(frozen=True)
class Grid:
    """Series that share a grid."""

    ids: tuple[str, ...]
    start_s: float
    slot_s: float
    Y: FloatArray


@dataclass(frozen=True)
class Scored:
    """One series: its metrics, means over the origins, and its share of the CPU time."""

    series_id: str
    metrics: dict[str, float]
    pinball: dict[str, float]
    coverage: dict[str, float]
    sums: dict[str, float]


@dataclass(frozen=True)
class Forecast:
    """What was said of some series at one origin, float64[H, Q, N]."""

    ids: tuple[str, ...]
    origin_s: float
    slot_s: float
    quantiles: FloatArray


def read_series(path: Path, step_s: float | None) -> list[Grid]:
    """Series of a ``series_id,timestamp,value`` file (CSV, also gzipped), grouped by their grids.

    A series finer than `step_s` is summed; a slot is missing where any part of it is. Without a
    `series_id` column the file is one series.

    Raises
    ------
    DataError
        For a file without the columns, without rows, or with times that are none.
    """
    try:
        frame = pd.read_csv(path)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: {error}", "give a CSV file with a header") from error
    if "series_id" not in frame:
        frame["series_id"] = path.name.split(".")[0]
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]!r} (it has {', '.join(map(str, frame.columns))})",
            f"name its columns {','.join(COLUMNS)}",
        )
    if frame.empty:
        raise DataError(f"{path} has no rows", "give a file with measurements")
    try:
        stamps = pd.to_datetime(frame["timestamp"], utc=True, format="ISO8601")
        frame["value"] = frame["value"].astype(float)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: {error}", "times are ISO 8601, values numbers") from error
    frame["at_s"] = stamps.dt.tz_convert(None).to_numpy("datetime64[us]").astype(np.int64) / 1e6
    found: dict[tuple[float, float, int], dict[str, FloatArray]] = {}
    for series_id, rows in frame.groupby("series_id", sort=False):
        start_s, slot_s, y = _regular(str(series_id), rows, step_s)
        found.setdefault((start_s, slot_s, y.size), {})[str(series_id)] = y
    return [
        Grid(tuple(of), start_s, slot_s, np.column_stack(list(of.values())))
        for (start_s, slot_s, _), of in found.items()
    ]


def _regular(
    series_id: str, rows: pd.DataFrame, step_s: float | None
) -> tuple[float, float, FloatArray]:
    rows = rows.drop_duplicates("at_s", keep="last").sort_values("at_s")
    at_s, value = rows["at_s"].to_numpy(), rows["value"].to_numpy(float)
    if at_s.size < 2:
        raise DataError(f"series {series_id!r} has one row", "give at least three days of it")
    own_s = float(np.median(np.diff(at_s)))
    index = np.rint((at_s - at_s[0]) / own_s).astype(np.int64)
    y = np.full(index[-1] + 1, np.nan)
    y[index] = value
    if step_s is None or step_s == own_s:
        return float(at_s[0]), own_s, y
    per = round(step_s / own_s)
    if per < 1 or abs(per * own_s - step_s) > 1e-6 * step_s:
        raise DataError(
            f"series {series_id!r} comes every {own_s:g} s: no multiple of it is {step_s:g} s",
            "give a --step that is a multiple of the series' own, or leave it out",
        )
    return float(at_s[0]), step_s, y[: y.size // per * per].reshape(-1, per).sum(axis=1)


def run(
    grids: Sequence[Grid],
    terms: Callable[[float], Terms],
    on_forecast: Callable[[Forecast], None] = lambda forecast: None,
    on_progress: Callable[[float, str], None] = lambda share, note: None,
) -> Iterator[Scored]:
    """Backtest every series; what `terms` gives for a slot length, seconds, is asked of it.

    Raises
    ------
    TooLittleHistoryError
        When an origin has less than three seasons before it.
    """
    total, done = sum(len(grid.ids) for grid in grids), 0
    for grid in grids:
        asked = terms(grid.slot_s)
        origins = origins_of(grid, asked)
        day = asked.season or max(round(DAY_S / grid.slot_s), 1)
        calendar = _calendar(grid, asked)
        began = time.process_time()
        said = []
        for origin in roll_origins(
            grid.Y, calendar, origins, asked.horizon, asked.levels,
            members=asked.members, history_days=asked.history_days,
        ):  # fmt: skip
            said.append(origin.quantiles)
            on_forecast(
                Forecast(grid.ids, grid.start_s + origin.slot * grid.slot_s, grid.slot_s, said[-1])
            )
            on_progress(
                (done + len(grid.ids) * len(said) / len(origins)) / total, f"{len(grid.ids)} series"
            )
        cpu_s = (time.process_time() - began) / len(grid.ids)
        yield from _scored(grid, asked, day, origins, said, cpu_s)
        done += len(grid.ids)


def origins_of(grid: Grid, terms: Terms) -> list[int]:
    """Slots known at each origin."""
    last = grid.Y.shape[0] - terms.horizon
    if terms.origins:
        found = [last - k * terms.horizon for k in range(terms.origins)][::-1]
    else:
        first = round(grid.Y.shape[0] * 0.6)
        found = list(range(first, last + 1, terms.every))
    least = round(MIN_HISTORY_DAYS * (terms.season or max(round(DAY_S / grid.slot_s), 1)))
    usable = [slot for slot in found if slot >= least]
    if not usable:
        raise DataError(
            f"series {grid.ids[0]!r}: {grid.Y.shape[0]} slots are too few for origins with"
            f" {least} slots before and {terms.horizon} after them",
            "give a longer series or a shorter horizon",
        )
    return usable


def _calendar(grid: Grid, terms: Terms) -> Calendar:
    if not terms.season or terms.season * grid.slot_s == DAY_S:
        return Calendar(grid.start_s, grid.slot_s, terms.spec)
    # a season that is no day is called one: the grid then runs on a clock of its own
    return Calendar(0.0, DAY_S / terms.season, CalendarSpec())


def _scored(
    grid: Grid,
    terms: Terms,
    season: int,
    origins: Sequence[int],
    said: Sequence[FloatArray],
    cpu_s: float,
) -> Iterator[Scored]:
    ahead = np.arange(terms.horizon)
    slots = np.asarray(origins)[:, None] + ahead
    quantiles = np.stack(said)
    median = terms.levels.index(0.5)
    for n, series_id in enumerate(grid.ids):
        y = grid.Y[:, n]
        forecast, actual = quantiles[:, :, :, n], y[slots]
        naive = np.stack([_seasonal_naive(y[:origin], terms.horizon, season) for origin in origins])
        bar = np.stack([naive2(y[:origin], terms.horizon, season) for origin in origins])
        means = {
            name: float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
            for name, values in {
                "smape": smape(actual.T, forecast[:, :, median].T),
                "mase": np.array(
                    [
                        mase(actual[k], forecast[k, :, median], y[:origin], season)
                        for k, origin in enumerate(origins)
                    ]
                ),
                "naive2_smape": smape(actual.T, bar.T),
                "naive2_mase": np.array(
                    [
                        mase(actual[k], bar[k], y[:origin], season)
                        for k, origin in enumerate(origins)
                    ]
                ),
            }.items()
        }
        ours, theirs = (
            float(wape(actual.ravel(), each.ravel())) for each in (forecast[:, :, median], naive)
        )
        owa = (
            _ratio(means["smape"], means["naive2_smape"])
            + _ratio(means["mase"], means["naive2_mase"])
        ) / 2
        yield Scored(
            series_id,
            {
                "wape": ours, "mase": means["mase"], "smape": means["smape"], "owa": owa,
                "vs_naive": _ratio(ours, theirs), "cpu_s": cpu_s,
            },
            {f"{q:g}": float(pinball(actual.ravel(), forecast[:, :, i].ravel(), q)) for i, q in enumerate(terms.levels)},
            {f"{q:g}": float(coverage(actual.ravel(), forecast[:, :, i].ravel())) for i, q in enumerate(terms.levels)},
            {**means, "naive_wape": theirs},
        )  # fmt: skip


def _seasonal_naive(past: FloatArray, horizon: int, season: int) -> FloatArray:
    """The better known of the two seasonal naives: last week where there is one, else yesterday."""
    filled = fill_season(past[:, None], season)[:, 0]
    week = 7 * season
    recent = filled[-week:] if filled.size > 2 * week else filled[-season:]
    return np.resize(recent, horizon)


def _ratio(ours: float, theirs: float) -> float:
    return ours / theirs if theirs > 0 else float("nan")


def pooled(scored: Sequence[Scored]) -> dict[str, object]:
    """Means over the series; OWA of the mean sMAPE and MASE, as in the M4 competition."""

    def mean(values: Sequence[float]) -> float:
        known = [value for value in values if np.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")

    sums = {key: mean([each.sums[key] for each in scored]) for key in scored[0].sums}
    metrics = {key: mean([each.metrics[key] for each in scored]) for key in scored[0].metrics}
    metrics["owa"] = (
        _ratio(sums["smape"], sums["naive2_smape"]) + _ratio(sums["mase"], sums["naive2_mase"])
    ) / 2
    metrics["vs_naive"] = _ratio(metrics["wape"], sums["naive_wape"])
    return {
        **metrics,
        "pinball": {q: mean([each.pinball[q] for each in scored]) for q in scored[0].pinball},
        "coverage": {q: mean([each.coverage[q] for each in scored]) for q in scored[0].coverage},
        "series": len(scored),
    }
