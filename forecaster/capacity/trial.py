"""One trial of a fleet under one load on the kernel: who was outside the SLO, and how long it took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecaster.capacity.kernel import Finished, Simulation
from forecaster.capacity.kernel.state import DONE
from forecaster.capacity.traffic import Traffic
from forecaster.domain.demand import FloatArray, RequestBatch
from forecaster.domain.profile import GenerativeProfile, Profile
from forecaster.domain.service import Slo

Player = Callable[[RequestBatch, FloatArray, int], Finished]
"""Plays requests (and what classic passes take over the mean) through so many units."""
BoolArray = npt.NDArray[np.bool_]
WINDOW_S = 600.0
"""An overload is judged over its first ten minutes: what a planner's slot can suffer."""
RAMP_S = 60.0
"""Time at a load that is carried, before an overload begins."""
PAUSE_S = 1e5
"""Idle time between two overloads of one run: the backlog is gone by then."""
WARM_UP = 0.1
"""Share of a run that is not counted (60 s at least)."""
SATURATED = 30_000
"""Requests of the run that measures the most a unit completes."""
IDLE = 20_000
BATCHES = 16
"""Pieces of a run whose means give its error."""
JUDGED_MOST = 40_000
"""Values from which percentiles are read."""
PARTS = 3
"""TTFT, TPOT, latency: the order of every array over parts."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What one load did.

    Attributes
    ----------
    rate_per_unit_rps : float
        The load.
    count : int
        Requests that were judged.
    share : float
        Share of them outside any part of the SLO.
    error : float
        Its standard error, from batch means.
    parts : float64[3]
        Share outside TTFT, TPOT, latency.
    times_s : float64[3, 2]
        p50 and p99 of TTFT, TPOT, latency; NaN without a value.
    """

    rate_per_unit_rps: float
    count: int
    share: float
    error: float
    parts: FloatArray
    times_s: FloatArray


def outside(done: Finished, slo: Slo) -> tuple[BoolArray, FloatArray]:
    """Whether each request was outside the SLO, and the share outside each part.

    A request is outside when *any* part is broken; one that was refused or failed always is. One
    without a gap between tokens has no TPOT to break.
    """
    lost = done.status != DONE
    any_part = lost.copy()
    shares = np.zeros(PARTS)
    for i, (measured, bound) in enumerate(_bounded(done, slo)):
        if bound is not None:
            broken = (measured > bound) | lost
            shares[i] = broken.mean() if broken.size else 0.0
            any_part |= broken
    return any_part, shares


def _bounded(done: Finished, slo: Slo) -> tuple[tuple[FloatArray, float | None], ...]:
    return (
        (done.ttft_s, slo.ttft_p99_s),
        (done.tpot_s, slo.tpot_p99_s),
        (done.latency_s, slo.latency_p99_s),
    )


def percentiles(done: Finished) -> FloatArray:
    """p50 and p99 of TTFT, TPOT and latency of those answered, float64[3, 2]."""
    times_s = np.full((PARTS, 2), np.nan)
    every = slice(None, None, max(len(done) // JUDGED_MOST, 1))
    answered = done.status[every] == DONE
    for i, column in enumerate((done.ttft_s[every], done.tpot_s[every], done.latency_s[every])):
        values = column[answered & np.isfinite(column)]
        if values.size:
            places = [int(0.5 * (values.size - 1)), int(np.ceil(0.99 * (values.size - 1)))]
            times_s[i] = np.partition(values, places)[places]
    return times_s


def fused(profile: Profile) -> Player:
    """Units that do everything for a request."""

    def play(trace: RequestBatch, factor: FloatArray, units: int) -> Finished:
        return Simulation(profile, units).run(trace, factor, last=True)

    return play


def _kept(done: Finished, keep: BoolArray) -> Finished:
    return Finished(
        done.number[keep], done.unit[keep], done.status[keep], done.arrival_s[keep],
        done.ttft_s[keep], done.tpot_s[keep], done.latency_s[keep],
    )  # fmt: skip


def judged(done: Finished, slo: Slo, rate_per_unit_rps: float) -> Trial:
    """Return the trial of these requests."""
    broken, parts = outside(done, slo)
    share, error = _mean(broken)
    return Trial(rate_per_unit_rps, len(done), share, error, parts, percentiles(done))


def _mean(broken: BoolArray) -> tuple[float, float]:
    """Share and its standard error: violations come in bursts, so from means of long batches."""
    length = broken.size // BATCHES
    if not length:
        return (float(broken.mean()) if broken.size else 0.0), 1.0
    means = broken[: BATCHES * length].reshape(BATCHES, length).mean(axis=1)
    return float(broken.mean()), float(means.std(ddof=1) / np.sqrt(BATCHES))


def steady(
    play: Player, slo: Slo, traffic: Traffic, units: int, rate_per_unit_rps: float, count: int
) -> Trial:
    """A load that goes on: `count` requests, the first tenth (a minute at least) not counted."""
    at_s = traffic.times_s(rate_per_unit_rps * units, count)
    trace, factor = traffic.requests(at_s)
    done = play(trace, factor, units)
    from_s = min(max(WARM_UP * at_s[-1], RAMP_S), 0.5 * at_s[-1])
    return judged(_kept(done, done.arrival_s >= from_s), slo, rate_per_unit_rps)


def overload(
    play: Player, slo: Slo, traffic: Traffic, units: int, loads: tuple[float, float], windows: int
) -> Trial:  # fmt: skip
    """The first ten minutes of a load, `windows` times over, each after a minute of a lesser one.

    Parameters
    ----------
    loads : (float, float)
        The lesser load before and the load itself, requests/s and unit.
    """
    before, rate = loads
    calm = max(int(before * units * RAMP_S), 1)
    busy = max(int(rate * units * WINDOW_S), 1)
    gone = traffic.times_s(rate * units, windows * (calm + busy)) * (rate * units)
    parts = []
    for i in range(windows):
        due = gone[i * (calm + busy) : (i + 1) * (calm + busy)]
        due = due - due[0]
        turn = due[calm]
        late = np.where(due < turn, due / (before * units), turn / (before * units) + (due - turn) / (rate * units))  # fmt: skip
        parts.append(late + i * (PAUSE_S + RAMP_S + 3 * WINDOW_S))
    trace, factor = traffic.requests(np.concatenate(parts))
    done = play(trace, factor, units)
    return judged(_kept(done, done.number % (calm + busy) >= calm), slo, rate)


def idle(play: Player, slo: Slo, traffic: Traffic) -> tuple[Finished, Trial]:
    """Requests that never meet: what an idle unit takes for each."""
    trace, factor = traffic.requests(np.arange(IDLE, dtype=np.float64) * PAUSE_S)
    done = play(trace, factor, 1)
    return done, judged(done, slo, 0.0)


def saturation_rps(play: Player, profile: Profile, traffic: Traffic) -> float:
    """Most requests/s that one unit completes: its pace of work behind an endless queue."""
    trace, factor = traffic.requests(np.zeros(SATURATED))
    done = play(trace, factor, 1)
    order = np.argsort(done.latency_s, kind="stable")
    kept = order[done.status[order] == DONE]
    if kept.size < SATURATED // 100:
        return 0.0
    work_s = _work_s(profile, trace)[done.number[kept]]
    ends = done.latency_s[kept]
    low, high = kept.size // 10, 9 * kept.size // 10
    pace = work_s[low:high].sum() / max(ends[high - 1] - ends[low - 1], 1e-12)
    return float(pace / work_s.mean() * SATURATED / kept.size)


def _work_s(profile: Profile, trace: RequestBatch) -> FloatArray:
    """Share of a full unit's time that each request takes: evens out which ones the run had."""
    if not isinstance(profile, GenerativeProfile):
        return np.ones(len(trace))
    prompt, output = trace.prompt_tokens.astype(np.float64), trace.output_tokens.astype(np.float64)
    slots = min(profile.max_batch, profile.kv_tokens / max(float((prompt + output).mean()), 1.0))
    row_s = profile.alpha_s / max(slots, 1.0) + profile.beta_s
    cached_s = profile.kappa_s * (prompt + output / 2)
    return np.asarray(profile.gamma_s * prompt + profile.delta_s + output * (row_s + cached_s))
