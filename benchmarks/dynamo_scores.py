"""What runs in Dynamo's replay are worth: rows, bars, and the section of docs/benchmarks.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.dynamo_unit import Fit, Steady

OURS, HAND_TUNED, HYBRID = "tidegate-", "d43 constant", "hybrid arima"
GPU_BAR = {0.975: (HAND_TUNED, 0.92), 0.95: (HYBRID, 0.97)}
"""At least this attainment: over whose GPU-hours, and at most how many times those."""
ACTIONS_BAR = {HYBRID: 0.2}
"""And at most this many times its changes."""


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes
    ----------
    startup_s : float
        How long a worker takes to start.
    policy : str
        Ours is named by what it aims at.
    attainment : float
        Share of all requests inside the SLO, by the peer's own count.
    gpu_hours : float
        Starting, active and draining workers, as the peer counts them.
    actions : int
        Changes of the target count.
    targets : list of (float, int)
        Those changes: seconds, and the count from then on.
    """

    trace: str
    startup_s: float
    policy: str
    attainment: float
    gpu_hours: float
    mean_units: float
    actions: int
    ttft_p99_ms: float
    tpot_p95_ms: float
    cpu_s: float
    targets: list[tuple[float, int]] = field(default_factory=list)


def scored(trace: str, startup_s: float, policy: str, done: dict[str, Any]) -> Row:
    """The row of a run: what was not answered in time is outside the SLO."""
    gpus, hours = done["decode_gpus_per_worker"], done["duration_ms"] / 3.6e6
    targets = done.get("events", [])
    return Row(
        trace, startup_s, policy, done["goodput_completed_requests"] / done["num_requests"],
        done["gpu_hours"], done["gpu_hours"] / gpus / hours, len(targets),
        done["p99_ttft_ms"], done["p95_tpot_ms"], done["cpu_s"], targets,
    )  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """One bar on one trace at one start-up time.

    Attributes
    ----------
    ours : Row or None
        The cheapest of our runs that kept the attainment, whatever it aimed at.
    gpu_ratio, actions_ratio : float
        Ours over the rival's, mean of its runs; NaN without a run that kept the attainment.
    met : bool
        Whether GPU-hours, and changes where they count, are inside the bar.
    """

    trace: str
    startup_s: float
    attainment: float
    rival: str
    rival_attainment: float
    ours: Row | None
    gpu_ratio: float
    actions_ratio: float
    met: bool


def verdicts(rows: Iterable[Row]) -> list[Verdict]:
    """Every bar whose rival was run."""
    known = list(rows)
    found = []
    for trace, startup_s in sorted({(row.trace, row.startup_s) for row in known}):
        here = [row for row in known if (row.trace, row.startup_s) == (trace, startup_s)]
        for attainment, (rival, most) in GPU_BAR.items():
            theirs = [row for row in here if row.policy == rival]
            own = [row for row in here if row.policy.startswith(OURS)]
            if not theirs or not own:
                continue
            kept = [row for row in own if row.attainment >= attainment]
            best = min(kept, key=lambda row: row.gpu_hours, default=None)
            gpus = actions = float("nan")
            if best is not None:
                gpus = best.gpu_hours / statistics.fmean(row.gpu_hours for row in theirs)
                actions = best.actions / max(statistics.fmean(row.actions for row in theirs), 1.0)
            met = gpus <= most and actions <= ACTIONS_BAR.get(rival, float("inf"))
            level = statistics.fmean(row.attainment for row in theirs)
            found.append(
                Verdict(trace, startup_s, attainment, rival, level, best, gpus, actions, met)
            )
    return found


def markdown(
    rows: list[Row], least: dict[str, float], unit: tuple[Fit, float, list[Steady]]
) -> str:
    """The section of docs/benchmarks.md.

    Parameters
    ----------
    least : dict of str to float
        GPU-hours on each trace that keep 97.5 % by the table when the rates are known.
    unit : (Fit, float, list of Steady)
        The unit as measured, what is believed of its table, and on what.
    """
    lines = [
        "## In Dynamo's own replay\n",
        "Tidegate as a PROPOSE plugin in the CPU replay of NVIDIA Dynamo 1.6.1, against its planner at its best: `d43 constant`"
        " (predictive, last value, its target cut to 43 ms by hand) and `hybrid arima` (predictive and reactive), both with the"
        " engine's own performance tables. SLO: TTFT 2 s and 50 ms a token. `tidegate-0.975` aims at 97.5 %. GPU-hours are"
        " the peer's count: starting, active and draining workers. What is known to whom: [NVIDIA Dynamo](dynamo.md)."
        " `python -m benchmarks.dynamo_replay`\n",
        "| trace | start-up s | policy | attainment % | mean units | GPU-hours | changes | TTFT p99 ms | TPOT p95 ms |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    order = sorted(rows, key=lambda row: (row.trace, row.startup_s, row.policy))
    lines += [
        f"| {row.trace} | {row.startup_s:.0f} | {row.policy} | {100 * row.attainment:.2f} | {row.mean_units:.1f}"
        f" | {row.gpu_hours:.0f} | {row.actions} | {row.ttft_p99_ms:.0f} | {row.tpot_p95_ms:.1f} |"
        for row in order
    ]
    lines += [
        "",
        "The bars, on the cheapest of our runs that kept the attainment (the sweep of our aim):"
        f" at 97.5 % at most {GPU_BAR[0.975][1]} x the GPU-hours of {HAND_TUNED}; at 95 % at most {GPU_BAR[0.95][1]} x those of"
        f" {HYBRID} with at most a fifth of its changes.\n",
        "| trace | start-up s | at least % | rival, its attainment % | our aim | our attainment % | GPU-hours, x the rival's |"
        " changes, x the rival's | |",
        "| --- | ---: | ---: | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for each in verdicts(rows):
        aim, kept = "-", "never kept"
        if each.ours is not None:
            aim = each.ours.policy.removeprefix(OURS)
            kept = f"{100 * each.ours.attainment:.2f}"
        lines.append(
            f"| {each.trace} | {each.startup_s:.0f} | {100 * each.attainment:g} | {each.rival}, {100 * each.rival_attainment:.1f}"
            f" | {aim} | {kept} | {each.gpu_ratio:.3f} | {each.actions_ratio:.2f} | {'met' if each.met else '**missed**'} |"
        )
    fit, believed, steady = unit
    known = ", ".join(f"{name} {hours:.0f}" for name, hours in least.items())
    lines += [
        "",
        f"GPU-hours that the sizing table wants for 97.5 % where every rate is known beforehand: {known}.\n",
        f"The unit, measured from outside (single prompts and equal batches on one idle worker, errors {100 * fit.read_error:.1f} %"
        f" of reading and {100 * fit.decode_error:.1f} % of decoding), and its table at constant Poisson loads on ten workers;"
        f" believed after those at which the table leaves less than a tenth outside: {believed:.3f} of the predicted capacity.\n",
        "| requests/s a unit | " + " | ".join(f"{row.rate_rps:g}" for row in steady) + " |",
        "| --- |" + " ---: |" * len(steady),
        "| attainment %, the replay | " + " | ".join(f"{100 * row.simulated:.1f}" for row in steady) + " |",
        "| attainment %, the table | " + " | ".join(f"{100 * row.foreseen:.1f}" for row in steady) + " |",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
