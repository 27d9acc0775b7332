"""Latency of batched single-pass units, in formulas.

Without batching a unit is a server of M/G/k (Allen-Cunneen). With batching a pass takes everything
that waits, so a request waits for what is left of the running pass and then shares the next one:
the batch grows with the load instead of the queue, until it is full.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from forecaster.capacity.queues import erlang_c, wait_rate_per_s
from forecaster.domain.demand import FloatArray
from forecaster.domain.profile import ClassicProfile

RESIDUAL = (np.arange(10) + 0.5) / 10
"""Parts of the running pass that may be left (uniform)."""
BATCH_LEVELS = ndtri((np.arange(12) + 0.5) / 12)
"""Normal scores of equally likely batch sizes."""


def pass_s(profile: ClassicProfile, batch: float | FloatArray) -> FloatArray:
    """Seconds of one pass at `batch`, linear between the measured sizes.

    Examples
    --------
    >>> float(pass_s(ClassicProfile(((1, 0.010), (3, 0.020))), 2))
    0.015
    """
    sizes = [float(size) for size, _ in profile.batch_latency_s]
    times = [seconds for _, seconds in profile.batch_latency_s]
    return np.asarray(np.interp(batch, sizes, times))


def mean_batch(profile: ClassicProfile, rate_rps: float) -> float:
    """Batch that forms when each pass takes what arrived during the one before (fixed point)."""
    batch = 1.0
    for _ in range(100):
        following = float(np.clip(rate_rps * pass_s(profile, batch), 1.0, profile.max_batch))
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
    single_s = float(pass_s(profile, 1.0))
    waits = erlang_c(units, min(units * rate_rps * single_s, float(units)))
    if profile.max_batch == 1:
        return np.asarray(
            _queue_tail(profile, rate_rps, units, dispersion, slack - single_s, waits)
        )
    alone = (slack < single_s).astype(float)
    return np.asarray(
        (1 - waits) * alone + waits * _batch_tail(profile, rate_rps, units, dispersion, slack)
    )


def _queue_tail(
    profile: ClassicProfile,
    rate_rps: float,
    units: int,
    dispersion: float,
    wait_s: FloatArray,
    waits: float,
) -> FloatArray:
    single_s = float(pass_s(profile, 1.0))
    variability = (dispersion + profile.service_time_scv) / 2
    rate = wait_rate_per_s(units, units * rate_rps * single_s, single_s, variability)
    return np.where(wait_s < 0, 1.0, waits * np.exp(-rate * np.maximum(wait_s, 0.0)))


def _batch_tail(
    profile: ClassicProfile, rate_rps: float, units: int, dispersion: float, slack: FloatArray
) -> FloatArray:
    """Tail of one who waits: rest of the running pass + own pass + passes that full batches add."""
    batch = mean_batch(profile, rate_rps)
    spread = np.sqrt(batch * max(dispersion, 1e-6))
    batches = np.clip(batch + BATCH_LEVELS * spread, 1.0, profile.max_batch)
    own = pass_s(profile, batches)[None, :, None]
    left = (RESIDUAL * float(pass_s(profile, batch)))[None, None, :]
    rest = slack[:, None, None] - own - left
    full_s = float(pass_s(profile, profile.max_batch))
    overflow = 1 - ndtr((profile.max_batch - batch) / spread)
    used = utilisation(profile, rate_rps)
    servers = units * profile.max_batch
    rate = wait_rate_per_s(servers, servers * used, full_s, dispersion)
    tail = np.where(rest < 0, 1.0, overflow * np.exp(-rate * np.maximum(rest, 0.0)))
    return np.asarray(tail.mean(axis=(1, 2)))
