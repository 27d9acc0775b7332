"""Time per output token: the mean of the steps that a request decodes in."""

from __future__ import annotations

import numpy as np

from forecaster.capacity.neighbours import around, avoidance, reading
from forecaster.capacity.tails import (
    WEIGHTS,
    gamma_exceeds,
    lengths,
    lifetime_average,
    rate_points,
    share_that_follows,
)
from forecaster.capacity.unit_load import Load, prompts_of
from forecaster.domain.demand import FloatArray
from forecaster.domain.profile import GenerativeProfile

STALLED_ROWS = 1.5
"""Rows that come while others are read slow the same tokens twice: weight of the covariance."""


def tpot_exceeds(profile: GenerativeProfile, load: Load, tpot_s: FloatArray) -> FloatArray:
    """P(TPOT > t) for each t, float64.

    The g gaps of a request last until their own work ``g (alpha + beta b)`` *and the prompts that
    come meanwhile* are done: a busy period, mean work / (1 - sigma) and variance
    ``rate E[S^2] work / (1 - sigma)^3`` (Takács 1962). Prompts left behind by the own one are read in
    the first gaps. The batch is averaged over the own lifetime. All of it is a gamma above alpha, and
    no gap is longer than a full step. Short outputs average least, so they make the tail.

    Parameters
    ----------
    tpot_s : float64[t]
        Seconds.
    """
    prompts = prompts_of(profile, load.mix)
    factors, weights = rate_points(load.dispersion, load.rate_rps * load.units)
    follows = np.sqrt(share_that_follows(around(profile, load, np.ones(1)).relaxation_s))
    near = around(profile, load, np.maximum(1 + (factors - 1) * follows, 0.05))
    base_s = profile.alpha_s + near.beta_s * near.batch
    first = reading(profile, prompts, near.carried_rps, base_s)
    queue = reading(profile, prompts, near.carried_rps, base_s, avoidance(near, prompts, first.use))
    stay_s = queue.mean_wait_s + queue.service_s
    in_system = near.in_system(stay_s)
    rate = near.carried_rps * near.arriving_share(in_system)
    spare = 1 - rate * prompts.mean_s

    gaps = np.maximum(np.rint(lengths(load.mix.output_mean, load.mix.output_sq)) - 1, 1.0)
    rows = near.others + 1 - near.batch / near.slots
    own_s = profile.alpha_s + near.beta_s * rows
    left_s = rate * stay_s * prompts.mean_s
    queue_s2 = np.maximum(queue.use * queue.wait_variance, 0.0)
    left_variance = rate * stay_s * prompts.square_s2 + (rate * prompts.mean_s) ** 2 * queue_s2

    column = np.newaxis
    mean = (own_s[:, column] + left_s[:, column] / gaps) / spare[:, column]
    averaged = lifetime_average(gaps * (near.step_s / near.relaxation_s)[:, column])
    rows_variance = (near.batch_variance * near.beta_s**2)[:, column] * averaged
    busy_period = (rate * prompts.square_s2)[:, column] * mean / gaps
    left = left_variance[:, column] / gaps**2
    stalled = STALLED_ROWS * near.beta_s * prompts.mean_s * (rate * own_s)[:, column]
    stalled = stalled * np.minimum(gaps, load.mix.output_mean) / gaps / spare[:, column]
    calmer = near.irregularity(in_system)[:, column]
    variance = (rows_variance + calmer * (busy_period + left + stalled)) / spare[:, column] ** 2

    at = np.asarray(tpot_s, np.float64)[:, None, None]
    tail = gamma_exceeds(at - profile.alpha_s, mean - profile.alpha_s, variance)
    tail = np.minimum(tail, _above_a_chunk(profile, at, near.batch + 1, near.batch_variance, near.beta_s, averaged))  # fmt: skip
    reads = max(1.0, profile.chunk_tokens / max(load.mix.prompt_mean, 1.0))
    chunk_s = profile.gamma_s * profile.chunk_tokens + profile.delta_s * reads
    longest = profile.alpha_s + near.beta_s * near.slots + chunk_s
    tail = np.where(at > longest, 0.0, tail)
    return np.asarray(np.einsum("tln,l,n->t", tail, weights, WEIGHTS))


def _above_a_chunk(
    profile: GenerativeProfile,
    at: FloatArray,
    rows: FloatArray,
    rows_variance: FloatArray,
    beta_s: float,
    averaged: FloatArray,
) -> FloatArray:
    """P(rows alone lift a step with a full chunk above t): no request has more than that."""
    chunk_s = profile.gamma_s * profile.chunk_tokens + profile.delta_s
    spare = (at - profile.alpha_s - chunk_s) / max(beta_s, 1e-12)
    variance = np.maximum(rows_variance[:, None] * averaged, 1e-3)
    return gamma_exceeds(spare, np.broadcast_to(rows[:, None], variance.shape), variance)
