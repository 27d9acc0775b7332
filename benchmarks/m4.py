"""The M4 hourly protocol on the hundred series at hand: the last 48 points held out, season 24."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from benchmarks.rates import TRACES, epoch_s
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.naive2 import naive2
from forecaster.seasonal.origins import roll_origins
from forecaster.seasonal.scores import coverage, mase, smape

HORIZON, SEASON, SLOT_S = 48, 24, 3600.0
LEVELS = (0.5, 0.9, 0.95, 0.99)
PATH = TRACES / "rates" / "m4_hourly_train100.csv.gz"
MODES = {"fast": ("pool",), "accurate": ("ensemble",)}


@dataclass(frozen=True)
class Score:
    """Means over the series."""

    smape: float
    mase: float
    owa: float
    cover: tuple[float, ...]
    cpu_ms: float


def series() -> tuple[float, list[np.ndarray]]:
    frame = pd.read_csv(PATH)
    start_s = float(epoch_s(frame["timestamp"].iloc[:1])[0])
    return start_s, [
        rows["value"].to_numpy(float) for _, rows in frame.groupby("series_id", sort=False)
    ]


def score(members: tuple[str, ...], earlier: int = 0) -> Score:
    """Scores of the forecast made `HORIZON` + `earlier` points before the end."""
    start_s, whole = series()
    found = [y[: y.size - earlier] for y in whole]
    by_length: dict[int, list[np.ndarray]] = defaultdict(list)
    for y in found:
        by_length[y.size].append(y)
    began = time.process_time()
    with threadpool_limits(
        1
    ):  # as a retrain does: a second thread of these small products only burns
        forecasts = {
            size: next(
                roll_origins(
                    np.column_stack(of)[:-HORIZON], Calendar(start_s, SLOT_S, CalendarSpec()),
                    [size - HORIZON], HORIZON, LEVELS, members=members,
                )
            ).quantiles
            for size, of in by_length.items()
        }  # fmt: skip
    cpu_s = time.process_time() - began
    ours, bar, covers = [], [], []
    for size, of in by_length.items():
        for n, y in enumerate(of):
            past, actual, said = y[:-HORIZON], y[-HORIZON:], forecasts[size][:, :, n]
            plain = naive2(past, HORIZON, SEASON)
            ours.append([smape(actual, said[:, 0]), mase(actual, said[:, 0], past, SEASON)])
            bar.append([smape(actual, plain), mase(actual, plain, past, SEASON)])
            covers.append([coverage(actual, said[:, i]) for i in range(1, len(LEVELS))])
    mean, plain_mean = np.mean(ours, axis=0), np.mean(bar, axis=0)
    return Score(
        float(mean[0]), float(mean[1]), float((mean / plain_mean).mean()),
        tuple(np.mean(covers, axis=0).tolist()), 1000 * cpu_s / len(found),
    )  # fmt: skip


def markdown() -> str:
    lines = [
        "## M4 hourly protocol",
        "",
        "100 series, horizon 48, season 24, the last 48 points held out; OWA is relative to Naive2 on"
        " the same series. *Earlier*: OWA of the same protocol 48 and 96 points before. `python -m benchmarks.forecast_accuracy --only m4`",
        "",
        "| mode | sMAPE | MASE | OWA | earlier | coverage .9 / .95 / .99 | CPU ms a series |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, members in MODES.items():
        found = score(members)
        earlier = " / ".join(f"{score(members, n * HORIZON).owa:.4f}" for n in (1, 2))
        cover = " / ".join(f"{c:.3f}" for c in found.cover)
        lines.append(
            f"| {name} | {found.smape:.2f} | {found.mase:.3f} | {found.owa:.4f} | {earlier} | {cover} | {found.cpu_ms:.1f} |"
        )
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines) + "\n"
