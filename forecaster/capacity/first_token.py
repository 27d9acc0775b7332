"""Time to first token: rest of the step + prompts ahead + own chunks, or the wait for a slot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecaster.capacity.neighbours import (
    GROWTH_S,
    Around,
    Reading,
    around,
    avoidance,
    clump,
    reading,
)
from forecaster.capacity.tails import (
    THREE_SCORES,
    THREE_WEIGHTS,
    WEIGHTS,
    gamma_exceeds,
    rate_points,
    share_that_follows,
)
from forecaster.capacity.unit_load import Load, Prompts, prompts_of
from forecaster.domain.demand import FloatArray
from forecaster.domain.profile import GenerativeProfile

RESIDUAL = np.array([0.125, 0.375, 0.625, 0.875])
"""Parts of a step that may be left when a request arrives (uniform)."""
BUSIEST = 0.97


@dataclass(frozen=True, slots=True)
class _Delay:
    """What comes before the own chunks, arrays [rates, batches]: means and variances, seconds."""

    base_s: FloatArray
    use: FloatArray
    quiet_s: FloatArray
    quiet_variance: FloatArray
    busy_s: FloatArray
    busy_variance: FloatArray
    shared_s: FloatArray
    shared_variance: FloatArray


def ttft_exceeds(profile: GenerativeProfile, load: Load, ttft_s: FloatArray) -> FloatArray:
    """P(TTFT > t) for each t, float64.

    A mixture over the rate of the present window (over-dispersed arrivals), the batch (negative
    binomial), the own prompt and what is left of the running step. Before the own chunks lie the
    queue of prompts (M/G/1, `reading`), the requests of the same step, which share its chunk, and
    those the router sends at once (`clump`). A request that finds an idle unit meets none of this;
    one that finds all slots busy waits for one, exponentially (state-dependent M/G/c).

    Parameters
    ----------
    ttft_s : float64[t]
        Seconds.
    """
    prompts = prompts_of(profile, load.mix)
    factors, weights = rate_points(load.dispersion, load.rate_rps * load.units)
    mean = around(profile, load, np.ones(1))
    near = around(profile, load, factors)
    follows = np.sqrt(share_that_follows(near.relaxation_s))
    slow = around(profile, load, np.maximum(1 + (factors - 1) * follows, 0.05))
    calm = _calm(profile, prompts, mean)
    in_system = slow.in_system(calm.mean_wait_s + calm.service_s)
    delay = _delay(profile, load, prompts, near, slow, calm, in_system)

    at = np.asarray(ttft_s, np.float64)[:, None, None, None]
    own = prompts.work_s + prompts.chunks * delay.base_s[..., None]
    exceeds = _after_prompts(at, own, prompts, profile, delay)
    waits, wait_s = _slot_wait(load, mean, slow, in_system)
    slack = np.maximum(at - own - (delay.base_s + delay.busy_s)[..., None], 0.0)
    queued = np.exp(-slack / np.maximum(wait_s, 1e-9)[:, None, None])
    waits = waits[:, None, None]
    exceeds = (1 - waits) * exceeds + waits * np.maximum(exceeds, queued)

    shared_base = profile.alpha_s if profile.delta_s == 0 else 0.0
    lone = (at < prompts.work_s + prompts.chunks * shared_base).astype(np.float64)
    busy = _busy(slow, in_system)[:, None, None]
    exceeds = busy * exceeds + (1 - busy) * lone
    return np.asarray(np.einsum("tlbp,l,b,p->t", exceeds, weights, THREE_WEIGHTS, WEIGHTS))


def _calm(profile: GenerativeProfile, prompts: Prompts, mean: Around) -> Reading:
    """Return the queue of prompts at the mean rate and batch."""
    base_s = profile.alpha_s + mean.beta_s * mean.batch
    first = reading(profile, prompts, mean.carried_rps, base_s)
    avoided = avoidance(mean, prompts, first.use)
    return reading(profile, prompts, mean.carried_rps, base_s, avoided)


def _delay(
    profile: GenerativeProfile,
    load: Load,
    prompts: Prompts,
    near: Around,
    slow: Around,
    calm: Reading,
    in_system: FloatArray,
) -> _Delay:
    spread = np.sqrt(slow.batch_variance)[:, None] * THREE_SCORES
    rows = np.clip(slow.others[:, None] + spread, 0.0, slow.slots)
    alpha = profile.alpha_s * (np.minimum(rows, 1.0) if profile.delta_s > 0 else 1.0)
    base_s = alpha + slow.beta_s * rows
    rate = (near.rate_rps * near.arriving_share(in_system))[:, None]
    first = reading(profile, prompts, rate, base_s)
    avoided = avoidance(near, prompts, first.use.mean(axis=1))[:, None]
    queue = reading(profile, prompts, rate, base_s, avoided)
    # a window of overload lets the queue grow, but only for its length
    over = np.maximum(near.rate_rps[:, None] * queue.service_s - calm.use, 0.0)
    bound = calm.mean_wait_s + GROWTH_S * over
    shorter = np.minimum(1.0, bound / np.maximum(queue.mean_wait_s, 1e-12))
    calmer = near.irregularity(in_system)[:, None]
    ahead = clump(near, load, prompts)[:, None]
    same = rate * base_s
    behind = rate * queue.service_s2 / (2 * queue.service_s)
    clump_variance = ahead * queue.service_s2 + (ahead * queue.service_s) ** 2
    quiet_s = same * prompts.mean_s + ahead * queue.service_s
    quiet_variance = calmer * same * prompts.square_s2 + clump_variance
    return _Delay(
        base_s=base_s,
        use=queue.use,
        quiet_s=quiet_s,
        quiet_variance=quiet_variance,
        busy_s=quiet_s + shorter * queue.wait_s,
        busy_variance=quiet_variance + shorter**2 * queue.wait_variance * calmer,
        shared_s=behind * prompts.mean_s,
        shared_variance=calmer * behind * prompts.square_s2,
    )


def _after_prompts(
    at: FloatArray, own: FloatArray, prompts: Prompts, profile: GenerativeProfile, delay: _Delay
) -> FloatArray:
    """Tail of rest + prompts ahead + own chunks, [t, rates, batches, prompts]."""
    room = prompts.chunks - prompts.tokens / profile.chunk_tokens
    use = delay.use[..., None]
    busy_s = delay.busy_s[..., None] + delay.shared_s[..., None] * room
    busy_variance = delay.busy_variance[..., None] + delay.shared_variance[..., None] * room
    total = np.zeros(np.broadcast_shapes(at.shape, own.shape))
    for part in RESIDUAL:
        slack = at - own - part * delay.base_s[..., None]
        quiet = gamma_exceeds(slack, delay.quiet_s[..., None], delay.quiet_variance[..., None])
        total += (1 - use) * quiet + use * gamma_exceeds(slack, busy_s, busy_variance)
    return np.asarray(total / RESIDUAL.size)


def _slot_wait(
    load: Load, mean: Around, slow: Around, in_system: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (P(all slots busy), mean wait of those who then wait), each [rates]."""
    fleet = load.units * in_system
    variance = fleet / (1 - slow.q) * slow.jump
    waits = gamma_exceeds(np.asarray(load.units * slow.slots - 0.5), fleet, variance)
    mix = load.mix
    scv = max(mix.output_sq / max(mix.output_mean, 1e-9) ** 2 - 1.0, 0.0) if mix.output_mean else 0

    def wait_s(of: Around) -> FloatArray:
        used = np.minimum(of.carried_rps * of.hold_s / of.slots, BUSIEST)
        variability = (1 + scv) / 2 + of.jump - 1
        return np.asarray(of.hold_s * variability / (load.units * of.slots * (1 - used)))

    grown = wait_s(mean) + GROWTH_S * np.maximum(slow.excess - mean.excess, 0.0)
    return waits, np.minimum(wait_s(slow), grown)


def _busy(slow: Around, in_system: FloatArray) -> FloatArray:
    """P(no unit is idle): a router that balances sends a request to an idle one."""
    fleet = slow.units * in_system
    return gamma_exceeds(np.asarray(slow.units - 0.5), fleet, fleet / (1 - slow.q))
