"""Accuracy and coverage of what ships, against the bars of issue 4.

``python -m benchmarks.forecast_accuracy`` prints three tables: request rates against Prophet, last
value and seasonal naive; coverage; the M4 hourly protocol. Prophet's forecasts come from the cache of
`benchmarks.prophet_rates` (computed where missing: tens of minutes).
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from benchmarks import m4, prophet_rates
from benchmarks.rates import DAY_S, TRACES, Group, groups
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.member import fill_season
from forecaster.seasonal.origins import roll_origins
from forecaster.seasonal.scores import coverage, wape

LEADS_S = {"one step": 0, "30 min": 1800, "3 h": 10_800, "24 h": 86_400}
PROPHET_BARS = {"one step": 0.33, "30 min": 0.47, "3 h": 0.60, "24 h": 0.68}
LEVELS = (0.5, 0.9, 0.95, 0.99)
FLOORS = {"composed_servegen_small_2w": 0.105, "composed_chat_2w": 0.108}
"""WAPE at five minutes of who knows the intensity."""
LONG_DAYS = 14.0
LEAST_DAYS = 3.0


@dataclass(frozen=True)
class Row:
    """One series at one lead."""

    group: str
    series: str
    lead: str
    history_days: float
    ours: float
    last: float
    day: float
    week: float
    prophet: float
    covered: tuple[float, ...]


def measure(group: Group, prophet: bool) -> list[Row]:
    """Every origin of the last 40 %, trained once a day on the window that production has."""
    first, day = group.first_scored, round(DAY_S / group.slot_s)
    leads = {name: max(round(lead / group.slot_s), 1) for name, lead in LEADS_S.items()}
    T, N = group.Y.shape
    begin = max(first + 1 - day, round(LEAST_DAYS * day))
    found = {name: np.full((T, len(LEVELS), N), np.nan) for name in leads}
    calendar = Calendar(group.start_s, group.slot_s, CalendarSpec())
    for origin in roll_origins(group.Y, calendar, range(begin, T), day, LEVELS):
        for name, lead in leads.items():
            if origin.slot + lead - 1 < T:
                found[name][origin.slot + lead - 1] = origin.quantiles[lead - 1]
    rivals = [prophet_rates.paths(group, n) for n in range(N)] if prophet else []
    filled = fill_season(group.Y, day)
    slots = np.arange(first, T)
    rows = []
    for name, lead in leads.items():
        forecast, actual = found[name][first:], group.Y[first:]
        same = (slots - first) // day == (slots - lead + 1 - first) // day
        theirs = np.full(actual.shape, np.nan)
        for n, each in enumerate(rivals):
            theirs[:, n] = np.where(same, each.same, each.before)
        week = 7 * day if first > 7 * day else day
        scores = [
            wape(actual, each)
            for each in (
                forecast[:, 0],
                filled[slots - lead],
                filled[slots - day],
                filled[slots - week],
                theirs,
            )
        ]
        covers = [coverage(actual, forecast[:, i]) for i in range(1, len(LEVELS))]
        for n, series in enumerate(group.ids):
            rows.append(
                Row(
                    group.name.split("-")[0], series, name, first / day,
                    *(float(each[n]) for each in scores), tuple(float(c[n]) for c in covers),
                )
            )  # fmt: skip
    return rows


def measure_all(workers: int, prophet: bool) -> list[Row]:
    found = [group for group in groups() if group.first_scored * group.slot_s >= LEAST_DAYS * DAY_S]
    rows: list[Row] = []
    with ProcessPoolExecutor(workers) as pool:
        for group, part in zip(
            found, pool.map(measure, found, [prophet] * len(found)), strict=True
        ):
            rows += part
            print(f"{group.name}: {len(group.ids)} series", file=sys.stderr, flush=True)
    return rows


def mean_ratio(pairs: list[tuple[float, float]]) -> float:
    """Geometric mean of ratios; series without demand in the scored part have none."""
    logs = [np.log(a / b) for a, b in pairs if np.isfinite(a / b) and a > 0] if pairs else []
    return float(np.exp(np.mean(logs))) if logs else float("nan")


def against_prophet(rows: list[Row]) -> str:
    lines = [
        "| lead | series | ours / Prophet | bar | better on |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for lead, bar in PROPHET_BARS.items():
        pairs = [(r.ours, r.prophet) for r in rows if r.lead == lead and r.ours > 0 < r.prophet]
        better = sum(a < b for a, b in pairs)
        lines.append(
            f"| {lead} | {len(pairs)} | {mean_ratio(pairs):.3f} | {bar:.2f} | {better} of {len(pairs)} |"
        )
    worse = [r for r in rows if r.lead == "24 h" and r.ours > r.prophet > 0]
    names = ", ".join(f"{r.series} ({r.ours / r.prophet:.2f})" for r in worse)
    return "\n".join(lines) + f"\n\nWorse than Prophet at 24 h: {names or 'none'}.\n"


def against_naives(rows: list[Row]) -> str:
    names = list(dict.fromkeys(r.group for r in rows))
    lines = [
        "| group | "
        + " | ".join(LEADS_S)
        + " | worst ratio to the better of last value and seasonal naive |",
        "| --- |" + " ---: |" * (len(LEADS_S) + 1),
    ]
    for name in names:
        cells, worst = [], 0.0
        for lead in LEADS_S:
            of = [r for r in rows if r.group == name and r.lead == lead and r.ours > 0]
            # series of a group differ by orders of magnitude: geometric means
            ours, last, day, week = (
                mean_ratio([(getattr(r, key), 1.0) for r in of])
                for key in ("ours", "last", "day", "week")
            )
            cells.append(f"{ours:.3f}")
            worst = max(worst, ours / min(last, day, week))
        lines.append(f"| {name} | {' | '.join(cells)} | {worst:.3f} |")
    return "\n".join(lines) + "\n"


def floors(rows: list[Row]) -> str:
    parts = [
        f"{name} {r.ours:.3f} (floor {floor}, bar {1.15 * floor:.3f})"
        for name, floor in FLOORS.items()
        for r in rows
        if r.group == name and r.lead == "one step"
    ]
    return "Composed traces, one step: " + "; ".join(parts) + ".\n"


def coverages(rows: list[Row]) -> str:
    lines = [
        "| history | lead | series | coverage .9 / .95 / .99 | mean deviation .95 / .99 | bar |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for label, long, bar in (
        (">= 14 days", True, "0.015 / 0.008"),
        ("< 14 days", False, "0.05 / 0.025"),
    ):
        for lead in LEADS_S:
            of = [
                r.covered
                for r in rows
                if r.lead == lead
                and (r.history_days >= LONG_DAYS) == long
                and np.isfinite(r.covered[0])
            ]
            if not of:
                continue
            table = np.array(of)
            off = np.abs(table - np.array(LEVELS[1:])).mean(axis=0)
            mean = " / ".join(f"{c:.3f}" for c in table.mean(axis=0))
            lines.append(
                f"| {label} | {lead} | {len(of)} | {mean} | {off[1]:.3f} / {off[2]:.3f} | {bar} |"
            )
    return "\n".join(lines) + "\n"


def markdown(rows: list[Row], prophet: bool) -> str:
    return "\n".join(
        [
            "## Forecast accuracy",
            "",
            "Trained once a day on the last 42 days, corrected with every slot; every slot of the last"
            " 40 % of each series is an origin; WAPE of the median at exactly the lead. Prophet: its"
            " defaults, the same window, refitted daily. `python -m benchmarks.forecast_accuracy`",
            "",
            against_prophet(rows) if prophet else "Prophet was not asked.\n",
            "Geometric mean of WAPE over the series of a file:",
            "",
            against_naives(rows),
            floors(rows),
            "Share of actuals at or below the quantile, mean over series:",
            "",
            coverages(rows),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--no-prophet", action="store_true", help="a minute instead of tens of minutes"
    )
    parser.add_argument("--only", choices=["rates", "m4"], help="one half of it")
    given = parser.parse_args()
    if not TRACES.is_dir():
        print(f"NOT MEASURED: the traces are not at {TRACES}", file=sys.stderr)
        return
    if given.only != "m4":
        began = time.perf_counter()
        print(markdown(measure_all(given.workers, not given.no_prophet), not given.no_prophet))
        print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    if given.only != "rates":
        print(m4.markdown())


if __name__ == "__main__":
    main()
