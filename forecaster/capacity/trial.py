"""One trial of a fleet under one load on the kernel: who was outside the SLO, and how long it took."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecaster.capacity.kernel import Finished, Simulation
from forecaster.capacity.kernel.state import DONE
from forecaster.capacity.traffic import Traffic
from forecaster.domain.demand import FloatArray
from forecaster.domain.profile import Profile
from forecaster.domain.service import Slo

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
IDLE = 4_000
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
    parts : float64[3]
        Share outside TTFT, TPOT, latency.
    times_s : float64[3, 2]
        p50 and p99 of TTFT, TPOT, latency; NaN without a value.
    """

    rate_per_unit_rps: float
    count: int
    share: float
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
    answered = done.status == DONE
    for i, column in enumerate((done.ttft_s, done.tpot_s, done.latency_s)):
        values = column[answered & np.isfinite(column)]
        if values.size:
            places = [int(0.5 * (values.size - 1)), int(np.ceil(0.99 * (values.size - 1)))]
            times_s[i] = np.partition(values, places)[places]
    return times_s


def _kept(done: Finished, keep: BoolArray) -> Finished:
    return Finished(
        done.number[keep], done.unit[keep], done.status[keep], done.arrival_s[keep],
        done.ttft_s[keep], done.tpot_s[keep], done.latency_s[keep],
    )  # fmt: skip


def judged(done: Finished, slo: Slo, rate_per_unit_rps: float) -> Trial:
    """Return the trial of these requests."""
    broken, parts = outside(done, slo)
    share = float(broken.mean()) if broken.size else 0.0
    return Trial(rate_per_unit_rps, len(done), share, parts, percentiles(done))


def steady(
    profile: Profile, slo: Slo, traffic: Traffic, units: int, rate_per_unit_rps: float, count: int
) -> Trial:
    """A load that goes on: `count` requests, the first tenth (a minute at least) not counted."""
    at_s = traffic.times_s(rate_per_unit_rps * units, count)
    trace, factor = traffic.requests(at_s)
    done = Simulation(profile, units).run(trace, factor, last=True)
    from_s = min(max(WARM_UP * at_s[-1], RAMP_S), 0.5 * at_s[-1])
    return judged(_kept(done, done.arrival_s >= from_s), slo, rate_per_unit_rps)


def overload(
    profile: Profile, slo: Slo, traffic: Traffic, units: int, loads: tuple[float, float], windows: int
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
    done = Simulation(profile, units).run(trace, factor, last=True)
    return judged(_kept(done, done.number % (calm + busy) >= calm), slo, rate)


def idle(profile: Profile, slo: Slo, traffic: Traffic) -> tuple[Finished, Trial]:
    """Requests that never meet: what an idle unit takes for each."""
    trace, factor = traffic.requests(np.arange(IDLE, dtype=np.float64) * PAUSE_S)
    done = Simulation(profile, 1).run(trace, factor, last=True)
    return done, judged(done, slo, 0.0)


def saturation_rps(profile: Profile, traffic: Traffic) -> float:
    """Most requests/s that one unit completes: the slope of completions behind an endless queue."""
    trace, factor = traffic.requests(np.zeros(SATURATED))
    done = Simulation(profile, 1).run(trace, factor, last=True)
    ends = np.sort(done.latency_s[done.status == DONE])
    if ends.size < 10:
        return 0.0
    low, high = ends.size // 10, 9 * ends.size // 10
    return float((high - low) / max(ends[high] - ends[low], 1e-12))
