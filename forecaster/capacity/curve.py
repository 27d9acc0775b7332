"""One fleet's curve: the share of requests outside the SLO over the load, from trials to levels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from forecaster.capacity.trial import Trial
from forecaster.domain.demand import FloatArray

LEVELS = np.concatenate([expit(np.linspace(logit(1e-6), logit(0.98), 64)), [0.99, 0.995, 1.0]])
"""Shares outside the SLO at which every curve is stated; between them it is linear."""
ENDLESS = 10.0
"""Loads at this many times the last measured one break for everyone."""
WANTED = logit(np.array([1e-3, 0.006, 0.02, 0.08, 0.25, 0.6]))
"""Where trials of a steady load are placed."""
FIRST = (1, 2, 3, 0, 4, 5)
"""Order of their importance."""
REACH = 0.8
"""A trial this near (in logits) to a wanted place is as good."""
STEP = 0.12
"""Furthest relative step beyond the loads that were tried."""
STEADY_BELOW = 0.985
"""Share of the saturation up to which trials tell what goes on for good: beyond, queues take hours
to reach their length, and a share of a per cent more load doubles them."""
NARROW = 1.002
"""Loads nearer to each other than this are not told apart."""
UNSTABLE = 0.75
"""Least share outside the SLO from saturation on: what cannot go on is never inside a target.
Between the last steady trial and the saturation the logit rises towards it."""
ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Curve:
    """Loads of one fleet at `LEVELS`.

    Attributes
    ----------
    rate_per_unit_rps : float64[levels]
        Load at which each share is reached, rising.
    error : float64[levels]
        Relative standard error of those.
    """

    rate_per_unit_rps: FloatArray
    error: FloatArray


def height(trial: Trial) -> float:
    """The share as a logit; none outside counts as less than one in all.

    The logarithm of an estimate is low on average by half its squared relative error.
    """
    least = 0.3 / max(trial.count, 1)
    share = float(np.clip(trial.share, least, 1 - least))
    low = 0.5 * min((1 - share) * trial.error / share, 1.0) ** 2
    return float(logit(share)) + low


def placed(trials: Sequence[Trial], most_rps: float) -> float | None:
    """Return the load that is to be tried next, None when the curve is known well enough."""
    known = sorted((each.rate_per_unit_rps, height(each)) for each in trials)
    x = np.array([load for load, _ in known])
    z = np.maximum.accumulate(np.array([high for _, high in known]))
    for wanted in WANTED[list(FIRST)]:
        if np.abs(z - wanted).min() <= REACH:
            continue
        if wanted > z[-1]:
            if x[-1] >= most_rps * 0.999:
                continue
            slope = (z[-1] - z[-2]) / np.log(x[-1] / x[-2]) if x.size > 1 else 0.0
            step = (wanted - z[-1]) / slope if slope > 1.0 else STEP
            return min(float(x[-1] * np.exp(min(step, STEP))), most_rps)
        if wanted < z[0]:
            slope = (z[1] - z[0]) / np.log(x[1] / x[0]) if x.size > 1 else 0.0
            step = (z[0] - wanted) / slope if slope > 1.0 else STEP
            if x[0] < 0.02 * most_rps:
                continue
            return float(x[0] * np.exp(-min(max(step, 0.01), 3 * STEP)))
        right = int(np.searchsorted(z, wanted))
        if x[right] / x[right - 1] < NARROW:
            continue
        part = np.clip((wanted - z[right - 1]) / (z[right] - z[right - 1]), 0.25, 0.75)
        return float(x[right - 1] * (x[right] / x[right - 1]) ** part)
    return None


def explored(
    trial: Callable[[float], Trial], guesses: Iterable[float], most_rps: float, budget: int = ROUNDS
) -> list[Trial]:
    """Try the guessed loads, then where the curve is not known yet."""
    least = 0.02 * most_rps
    trials = [trial(x) for x in sorted({min(max(each, least), most_rps) for each in guesses})]
    for _ in range(budget):
        following = placed(trials, most_rps)
        if following is None:
            break
        trials.append(trial(following))
    return sorted(trials, key=lambda each: each.rate_per_unit_rps)


def curve(trials: Sequence[Trial], over: Sequence[Trial], floor: float, most_rps: float) -> Curve:
    """Turn trials into loads at `LEVELS`.

    Parameters
    ----------
    trials, over : sequence of Trial
        Loads that go on, loads that overload; each rising.
    floor : float
        Share outside on an idle fleet.
    most_rps : float
        What one unit completes at most.
    """
    x, z = known_points(trials, over, most_rps)
    fine = np.linspace(x[0], x[-1], 2048)
    heights = between(fine, x, z)
    wanted = logit(LEVELS[:-1])
    rates = np.interp(wanted, heights + np.arange(fine.size) * 1e-12, fine)
    # below the least trial the logit goes on as it fell there
    lowest = max(2, int(np.searchsorted(z, z[0] + 2.0)))
    slope = (z[lowest - 1] - z[0]) / max(x[lowest - 1] - x[0], 1e-12) if x.size > 1 else np.inf
    below = wanted < z[0]
    rates[below] = np.maximum(x[0] - (z[0] - wanted[below]) / max(slope, 1e-9), x[0] * 0.05)
    above = wanted > z[-1]
    rates[above] = x[-1] * (1 + 0.05 * (wanted[above] - z[-1]))
    rates[LEVELS[:-1] <= floor] = 0.0
    rates = np.append(rates, ENDLESS * max(rates[-1], x[-1]))
    return Curve(rising(rates), _error(trials, x, z))


def _error(trials: Sequence[Trial], x: FloatArray, z: FloatArray) -> FloatArray:
    """Relative error of the load at each level: that of the share over the slope of the curve."""
    high = np.array([height(each) for each in trials])
    share = np.array([max(each.share, 1.0 / each.count) for each in trials])
    error = np.array([max(each.error, 0.5 / each.count) for each in trials])
    order = np.argsort(high)
    in_logits = np.interp(logit(LEVELS[:-1]), high[order], (error / (share * (1 - share) + 1e-12))[order])  # fmt: skip
    slopes = np.gradient(z, np.log(x)) if x.size > 1 else np.ones(1)
    slope = np.interp(logit(LEVELS[:-1]), z, np.maximum(slopes, 0.5))
    return np.append(np.minimum(in_logits / slope, 0.3), 0.3)


def known_points(
    trials: Sequence[Trial], over: Sequence[Trial], most_rps: float
) -> tuple[FloatArray, FloatArray]:
    """Loads and logits of the shares, both rising; of trials without violations only the last."""
    x = np.array([each.rate_per_unit_rps for each in trials])
    z = pooled(np.array([height(each) for each in trials]), np.array([float(each.count) for each in trials]))  # fmt: skip
    some = np.array([each.share > 0 for each in trials])
    first = max(int(np.argmax(some)) - 1, 0) if some.any() else x.size - 1
    x, z = x[first:], z[first:]
    for each in over:
        x = np.append(x, each.rate_per_unit_rps)
        z = np.append(z, max(height(each), z[-1], float(logit(UNSTABLE)) if each.rate_per_unit_rps >= most_rps else z[-1]))  # fmt: skip
    z = z + np.arange(z.size) * 1e-6
    keep = np.append(True, np.diff(x) > 1e-9 * x[:-1])
    x, z = x[keep], z[keep]
    if x.size == 1:
        x, z = np.append(x, x[0] * (1 + STEP)), np.append(z, z[0] + STEP)
    return x, z


def between(at: FloatArray, x: FloatArray, z: FloatArray) -> FloatArray:
    """Smooth values through never-falling points that never fall themselves.

    Cubic Hermite pieces with harmonic means of the slopes beside a point (Fritsch and Butland, 1984).
    """
    width, slope = np.diff(x), np.diff(z) / np.diff(x)
    before, after = slope[:-1], slope[1:]
    first, second = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    inner = (first + second) / (first / np.maximum(before, 1e-300) + second / np.maximum(after, 1e-300))  # fmt: skip
    tangent = np.concatenate([slope[:1], inner, slope[-1:]])
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, x.size - 2)
    t = (at - x[i]) / width[i]
    bent = tangent[i] * (1 - t) - tangent[i + 1] * t + slope[i] * (2 * t - 1)
    return np.asarray(z[i] * (1 - t) + z[i + 1] * t + t * (1 - t) * width[i] * bent)


def pooled(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Nearest never-falling values (pool adjacent violators)."""
    means: list[float] = []
    masses: list[float] = []
    sizes: list[int] = []
    for value, weight in zip(values, weights, strict=True):
        means.append(float(value))
        masses.append(float(weight))
        sizes.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            mass = masses[-2] + masses[-1]
            means[-2] = (means[-2] * masses[-2] + means[-1] * masses[-1]) / mass
            masses[-2], sizes[-2] = mass, sizes[-2] + sizes[-1]
            del means[-1], masses[-1], sizes[-1]
    return np.repeat(means, sizes)


def rising(rates: FloatArray) -> FloatArray:
    """The same loads, each above the one before by a hair at least."""
    hair = 1e-9 * max(float(rates[-1]), 1e-9)
    out = np.maximum.accumulate(rates)
    return np.asarray(np.maximum(out, 0.0) + hair * np.arange(out.size))
