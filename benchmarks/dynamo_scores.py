"""What runs in Dynamo's replay are worth: rows, bars, and the section of docs/benchmarks.md."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.dynamo_unit import Fit, Steady

OURS, CONSTANT, HYBRID = "tidegate-", "constant", "hybrid arima"
HAND_TUNED = f"d43 {CONSTANT}"
GPU_BAR = {0.975: (HAND_TUNED, 0.92), 0.95: (HYBRID, 0.97)}
"""At least this attainment: over whose GPU-hours, and at most how many times those."""
ACTIONS_BAR = {HYBRID: 0.2}
"""And at most this many times its changes."""


def kind_and_cut(policy: str) -> tuple[str, float | None]:
    """One of the peer's policies: its kind, and the ms a token to which its target is cut by hand.

    Raises
    ------
    ValueError
        For a policy that is none of the peer's.

    Examples
    --------
    >>> kind_and_cut("d43 constant"), kind_and_cut("hybrid arima")
    (('constant', 43.0), ('hybrid arima', None))
    """
    found = re.fullmatch(rf"(?:d(\d+(?:\.\d+)?) )?({CONSTANT}|{HYBRID})", policy)
    if found is None:
        raise ValueError(f"no policy {policy!r}: {HAND_TUNED}, {HYBRID}, d45 {HYBRID}, {OURS}0.975")
    return found[2], None if found[1] is None else float(found[1])


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
    seed : int
        Of the trace that was played.
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
    seed: int = 1


def scored(trace: str, startup_s: float, policy: str, done: dict[str, Any], seed: int = 1) -> Row:
    """The row of a run: what was not answered in time is outside the SLO."""
    gpus, hours = done["decode_gpus_per_worker"], done["duration_ms"] / 3.6e6
    targets = done.get("events", [])
    return Row(
        trace, startup_s, policy, done["goodput_completed_requests"] / done["num_requests"],
        done["gpu_hours"], done["gpu_hours"] / gpus / hours, len(targets),
        done["p99_ttft_ms"], done["p95_tpot_ms"], done["cpu_s"], targets, seed,
    )  # fmt: skip


@dataclass(frozen=True)
class Played:
    """One policy on one kind of trace at one start-up time: means over the seeds that were played."""

    policy: str
    attainment: float
    gpu_hours: float
    actions: float


@dataclass(frozen=True)
class Verdict:
    """One bar on one kind of trace at one start-up time.

    Attributes
    ----------
    seeds : int
        Traces over which the figures are means, the same for both.
    rival : Played
        The policy that the bar names, whatever it kept.
    matched : Played or None
        The cheapest cut of its kind that kept the attainment; None where none was tried that did.
    ours : Played or None
        The cheapest of our policies that kept the attainment, whatever it aimed at.
    gpu_ratio, actions_ratio : float
        Ours over the rival's; NaN where none of ours kept the attainment.
    matched_ratio : float
        GPU-hours, ours over those of `matched`; NaN without either.
    met : bool
        Whether GPU-hours, and changes where they count, are inside the bar.
    """

    trace: str
    startup_s: float
    attainment: float
    seeds: int
    rival: Played
    matched: Played | None
    ours: Played | None
    gpu_ratio: float
    actions_ratio: float
    matched_ratio: float
    met: bool


def verdicts(rows: Iterable[Row]) -> list[Verdict]:
    """Every bar whose rival was run, over all the seeds on which it was."""
    known = list(rows)
    found = []
    for trace, startup_s in sorted({(row.trace, row.startup_s) for row in known}):
        here = [row for row in known if (row.trace, row.startup_s) == (trace, startup_s)]
        for attainment, (name, most) in GPU_BAR.items():
            seeds = frozenset(row.seed for row in here if row.policy == name)
            played = [_played(here, policy, seeds) for policy in sorted({r.policy for r in here})]
            every = {each.policy: each for each in played if each is not None}
            own = [each for policy, each in every.items() if policy.startswith(OURS)]
            if name not in every or not own:
                continue
            kind, _ = kind_and_cut(name)
            peers = [every[policy] for policy in every if not policy.startswith(OURS)]
            matched = _cheapest([p for p in peers if kind_and_cut(p.policy)[0] == kind], attainment)
            rival, ours = every[name], _cheapest(own, attainment)
            gpus = actions = at_most = float("nan")
            if ours is not None:
                gpus = ours.gpu_hours / rival.gpu_hours
                actions = ours.actions / max(rival.actions, 1.0)
                at_most = ours.gpu_hours / matched.gpu_hours if matched else at_most
            met = gpus <= most and actions <= ACTIONS_BAR.get(name, float("inf"))
            found.append(
                Verdict(
                    trace, startup_s, attainment, len(seeds), rival, matched, ours, gpus, actions, at_most, met,
                )
            )  # fmt: skip
    return found


def _cheapest(policies: list[Played], attainment: float) -> Played | None:
    """The one with the fewest GPU-hours of those that kept the attainment."""
    kept = [each for each in policies if each.attainment >= attainment]
    return min(kept, key=lambda each: each.gpu_hours, default=None)


def _played(rows: list[Row], policy: str, seeds: frozenset[int]) -> Played | None:
    """Mean of a policy over these seeds, runs of one seed counted as one; None where a seed was not played."""
    by_seed = [[row for row in rows if (row.policy, row.seed) == (policy, seed)] for seed in seeds]
    if not by_seed or not all(by_seed):
        return None

    def mean(of: Callable[[Row], float]) -> float:
        return statistics.fmean(statistics.fmean(map(of, runs)) for runs in by_seed)

    return Played(
        policy, mean(lambda row: row.attainment), mean(lambda row: row.gpu_hours),
        mean(lambda row: row.actions),
    )  # fmt: skip


def markdown(
    rows: list[Row], least: dict[float, dict[str, float]], unit: tuple[Fit, float, list[Steady]]
) -> str:
    """The section of docs/benchmarks.md.

    Parameters
    ----------
    least : dict of float to dict of str to float
        By target, GPU-hours on each trace that keep it by the table when the rates are known.
    unit : (Fit, float, list of Steady)
        The unit as measured, what is believed of its table, and on what.
    """
    lines = [
        "## In Dynamo's own replay\n",
        "Tidegate as a PROPOSE plugin in the CPU replay of NVIDIA Dynamo 1.6.1, against its planner at its best: `d43 constant`"
        " (predictive, last value, its target cut to 43 ms by hand) and `hybrid arima` (predictive and reactive), other cuts by name (`d40`), with the"
        " engine's own performance tables. SLO: TTFT 2 s and 50 ms a token. `tidegate-0.975` aims at 97.5 %. GPU-hours are"
        " the peer's count: starting, active and draining workers. What is known to whom: [NVIDIA Dynamo](dynamo.md)."
        " `python -m benchmarks.dynamo_replay`\n",
        "| trace | seed | start-up s | policy | attainment % | mean units | GPU-hours | changes | TTFT p99 ms | TPOT p95 ms |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    order = sorted(rows, key=lambda row: (row.trace, row.startup_s, row.seed, row.policy))
    lines += [
        f"| {row.trace} | {row.seed} | {row.startup_s:.0f} | {row.policy} | {100 * row.attainment:.2f} | {row.mean_units:.1f}"
        f" | {row.gpu_hours:.0f} | {row.actions} | {row.ttft_p99_ms:.0f} | {row.tpot_p95_ms:.1f} |"
        for row in order
    ]
    lines += [
        "",
        f"The bars: at 97.5 % at most {GPU_BAR[0.975][1]} x the GPU-hours of {HAND_TUNED}, at 95 % at most {GPU_BAR[0.95][1]} x those of"
        f" {HYBRID} with at most a fifth of its changes, whatever those kept. Ours is the cheapest of our aims that kept the attainment."
        " *Matched*: the same GPU-hours over those of the rival's cheapest cut that kept it, of those that were tried; both sides are swept"
        " in hindsight. Means over the seeds on which the rival was played.\n",
        "| trace | start-up s | seeds | at least % | rival, its attainment % | our aim | our attainment % | GPU-hours, x the rival's |"
        " changes, x the rival's | | matched |",
        "| --- | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    for each in verdicts(rows):
        cells, at_most = "- | never kept | - | -", "-"
        if each.ours is not None:
            aim = each.ours.policy.removeprefix(OURS)
            kept = f"{100 * each.ours.attainment:.2f}"
            cells = f"{aim} | {kept} | {each.gpu_ratio:.3f} | {each.actions_ratio:.2f}"
        if each.ours is not None and each.matched is not None:
            at_most = f"{each.matched_ratio:.3f} ({each.matched.policy}, {100 * each.matched.attainment:.1f})"
        lines.append(
            f"| {each.trace} | {each.startup_s:.0f} | {each.seeds} | {100 * each.attainment:g}"
            f" | {each.rival.policy}, {100 * each.rival.attainment:.1f} | {cells}"
            f" | {'met' if each.met else '**missed**'} | {at_most} |"
        )
    fit, believed, steady = unit
    known = "; ".join(
        f"{100 * target:g} %: " + ", ".join(f"{name} {hours:.0f}" for name, hours in found.items())
        for target, found in least.items()
    )
    lines += [
        "",
        "GPU-hours that the sizing table wants where every rate is known beforehand and units come and go at once, which nobody"
        f" undercuts by much: {known}.\n",
        f"The unit, measured from outside (single prompts and equal batches on one idle worker, errors {100 * fit.read_error:.1f} %"
        f" of reading and {100 * fit.decode_error:.1f} % of decoding), and its table at constant Poisson loads on ten workers;"
        f" believed after those at which the table leaves less than a tenth outside: {believed:.3f} of the predicted capacity.\n",
        "| requests/s a unit | " + " | ".join(f"{row.rate_rps:g}" for row in steady) + " |",
        "| --- |" + " ---: |" * len(steady),
        "| attainment %, the replay | " + " | ".join(f"{100 * row.simulated:.1f}" for row in steady) + " |",
        "| attainment %, the table | " + " | ".join(f"{100 * row.foreseen:.1f}" for row in steady) + " |",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
