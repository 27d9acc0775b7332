"""Latency of batched single-pass units, in formulas.

Without batching a unit is a server of M/G/k (Allen-Cunneen). With batching a pass takes everything
that waits, so a request waits for what is left of the running pass and then shares the next one:
the batch grows with the load instead of the queue, until it is full.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from forecaster.capacity.queues import erlang_c, wait_rate_per_s
from forecaster.capacity.tails import SCORES, WEIGHTS, rate_points
from forecaster.domain.demand import FloatArray
from forecaster.domain.profile import ClassicProfile

RESIDUAL = (np.arange(10) + 0.5) / 10
"""Parts of the running pass that may be left (uniform)."""
BUSIEST = 0.97
"""Share of the largest rate at which an overloaded window is looked at."""
BATCH_LEVELS = ndtri((np.arange(12) + 0.5) / 12)
"""Normal scores of equally likely batch sizes."""


def mean_batch(profile: ClassicProfile, rate_rps: float) -> float:
    """Batch that forms when each pass takes what arrived during the one before (fixed point)."""
    batch = 1.0
    for _ in range(100):
        following = float(np.clip(rate_rps * profile.pass_s(batch), 1.0, profile.max_batch))
        if abs(following - batch) < 1e-6:
            break
        batch = following
    return batch


def best_rate_rps(profile: ClassicProfile) -> float:
    """Largest rate that one unit completes, requests/s."""
    return max(size / seconds for size, seconds in profile.batch_latency_s)


def utilisation(profile: ClassicProfile, rate_rps: float) -> float:
    """Share of one unit's largest rate that `rate_rps` uses."""
    return rate_rps / best_rate_rps(profile)


def stable(profile: ClassicProfile, rate_rps: float) -> bool:
    """Whether one unit carries `rate_rps` at its best batch."""
    return rate_rps < best_rate_rps(profile)


def latency_exceeds(
    profile: ClassicProfile, rate_rps: float, units: int, dispersion: float, latency_s: FloatArray
) -> FloatArray:
    """P(latency > t) for each t, float64.

    Parameters
    ----------
    rate_rps : float
        Requests per second and unit; must be `stable`.
    dispersion : float
        Index of dispersion of arrivals, 1 = Poisson.
    """
    slack = np.asarray(latency_s, dtype=np.float64) - profile.batch_delay_s
    factors, weights = rate_points(dispersion, rate_rps * units)
    rates = np.minimum(rate_rps * factors, max(BUSIEST * best_rate_rps(profile), rate_rps))
    tails = [_window_tail(profile, float(rate), units, slack) for rate in rates]
    return np.asarray(weights @ np.array(tails))


def _window_tail(
    profile: ClassicProfile, rate_rps: float, units: int, slack: FloatArray
) -> FloatArray:
    """Tail in a window of one rate: passes are short beside it, so the queue follows at once."""
    single_s = float(profile.pass_s(1.0))
    waits = erlang_c(units, min(units * rate_rps * single_s, float(units)))
    if profile.max_batch == 1:
        return _queue_tail(profile, rate_rps, units, slack, waits)
    alone = (slack < single_s).astype(float)
    return np.asarray((1 - waits) * alone + waits * _batch_tail(profile, rate_rps, units, slack))


def _queue_tail(
    profile: ClassicProfile,
    rate_rps: float,
    units: int,
    latency_s: FloatArray,
    waits: float,
) -> FloatArray:
    """Tail of wait (Allen-Cunneen) + own service (gamma with the profile's variability)."""
    single_s = float(profile.pass_s(1.0))
    variability = (1 + profile.service_time_scv) / 2
    rate = wait_rate_per_s(units, units * rate_rps * single_s, single_s, variability)
    scv = profile.service_time_scv
    factors = np.maximum(1 - scv / 9 + SCORES * np.sqrt(scv) / 3, 0.0) ** 3
    rest = latency_s[:, None] - single_s * factors
    tail = np.where(rest < 0, 1.0, waits * np.exp(-rate * np.maximum(rest, 0.0)))
    return np.asarray(tail @ WEIGHTS)


def _batch_tail(
    profile: ClassicProfile, rate_rps: float, units: int, slack: FloatArray
) -> FloatArray:
    """Tail of one who waits: rest of the running pass + own pass + passes that full batches add.

    Bulk service: the own pass takes who came during the running one. A request more often meets a
    long pass, after a long pass more wait, and so batches wander: variance ``b / (1 - g^2)`` with
    ``g`` the arrivals that one request more in a pass brings to the next. A router shares that out.
    """
    batch = mean_batch(profile, rate_rps)
    more_s = float(profile.pass_s(batch + 0.5) - profile.pass_s(max(batch - 0.5, 1.0)))
    echo = min(rate_rps * more_s, 0.9)
    wander = np.sqrt(batch / (1 - echo**2) / units)
    running = np.clip(batch + BATCH_LEVELS * wander, 1.0, profile.max_batch)
    running_s = profile.pass_s(running)
    weight = running_s / running_s.sum()
    came = rate_rps * running_s[:, None]
    beside = 1.0 if units == 1 else 1.0 / units
    own = np.clip(
        beside + came + BATCH_LEVELS * np.sqrt(came),
        1.0,
        profile.max_batch,
    )
    left = RESIDUAL * running_s[:, None]
    rest = slack[:, None, None, None] - profile.pass_s(own)[:, :, None] - left[:, None, :]
    full_s = float(profile.pass_s(profile.max_batch))
    spread = np.sqrt(batch)
    overflow = 1 - ndtr((profile.max_batch - batch) / spread)
    servers = units * profile.max_batch
    rate = wait_rate_per_s(servers, servers * utilisation(profile, rate_rps), full_s, 1.0)
    tail = np.where(rest < 0, 1.0, overflow * np.exp(-rate * np.maximum(rest, 0.0)))
    return np.asarray(np.einsum("tboi,b->t", tail, weight) / (own.shape[1] * RESIDUAL.size))
