"""Accuracy and cost of the members on the real traces, as `tidegate retrain` scores them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv

from forecaster.domain.demand import DemandSeries, TokenMix
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.registry import MEMBERS
from forecaster.seasonal.selection import Verdict
from forecaster.seasonal.training import train

TRACES = Path(__file__).resolve().parents[2] / "shared" / "traces"
LOGS = ("composed_servegen_small_2w", "composed_chat_2w")
SLOT_S = 300.0
SUITED = tuple(name for name, make in MEMBERS.items() if make().suits(SLOT_S))


def series(name: str) -> DemandSeries:
    table = pa_csv.read_csv(TRACES / "requests" / f"{name}.csv.gz")
    stamps = table["timestamp"].cast("timestamp[us]").to_numpy().astype("datetime64[us]")
    seconds = stamps.astype(np.int64) / 1e6
    start_s = float(np.floor(seconds[0] / SLOT_S) * SLOT_S)
    counts = np.bincount(((seconds - start_s) // SLOT_S).astype(int)).astype(float)[:-1]
    return DemandSeries(name, start_s, SLOT_S, counts, counts, counts, TokenMix.of(1, 1), 1.0)


def measure() -> list[tuple[str, Verdict, float]]:
    found = []
    for name in LOGS:
        history = series(name)
        began = time.process_time()
        verdict = train(history, CalendarSpec(), SUITED)
        found.append((name, verdict, time.process_time() - began))
    return found


def markdown() -> str:
    lines = [
        "## Forecast",
        "",
        "Rolling origin, refitted daily, scored on the last fifth, mean over leads of 5 min to 48 h;",
        "WAPE of the median at 5 minutes. `python -m benchmarks.forecast`",
        "",
        "| log | " + " | ".join(SUITED) + " | champion | its coverage .9 / .99 |",
        "| --- |" + " --- |" * (len(SUITED) + 2),
    ]
    for name, verdict, _seconds in measure():
        wapes = {score.member: f"{score.wape:.3f}" for score in verdict.scores}
        cover = dict(verdict.score.coverage)
        cells = [wapes[member] for member in SUITED]
        lines.append(
            f"| {name} | {' | '.join(cells)} | **{verdict.champion}** | {cover[0.9]:.2f} / {cover[0.99]:.3f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown())
