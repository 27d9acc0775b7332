"""Latency of units that generate tokens with continuous batching, in formulas.

With `rho = lambda (gamma P + beta N)` per unit the mean step is ``alpha / (1 - rho)`` and the mean
batch ``lambda N step`` (Little). Percentiles follow from three random parts: the wait (for a slot
and for the prefill of those before), the own prefill, and the fluctuation of the batch and of other
requests' prefill during decoding (design, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from forecaster.capacity.queues import erlang_c, wait_rate_per_s
from forecaster.domain.demand import FloatArray, TokenMix
from forecaster.domain.profile import GenerativeProfile

POINTS = 24
"""Quantile points that stand for a token length distribution."""
RESIDUAL = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
"""Parts of a step that may be left when a request arrives (uniform)."""
AVERAGING = 0.736
"""Variance left when an M/G/infinity batch is averaged over one of its own lifetimes,
2 (x - 1 + exp(-x)) / x^2 at x = 1."""
CONTEXT_PER_STEP = 0.5


@dataclass(frozen=True, slots=True)
class Load:
    """One unit's share of a load.

    Attributes
    ----------
    rate_rps : float
        Requests per second and unit.
    units : int
        Units that share the load through the router.
    mix : TokenMix
        Token moments.
    dispersion : float
        Index of dispersion of arrivals, 1 = Poisson.
    """

    rate_rps: float
    units: int
    mix: TokenMix
    dispersion: float = 1.0


@dataclass(frozen=True, slots=True)
class State:
    """Mean state of one unit under a load.

    Attributes
    ----------
    rho : float
        Share of a step that grows with load; the unit is stable below 1.
    step_s : float
        Mean step while busy, seconds.
    batch : float
        Mean decoding sequences.
    slots : float
        Sequences that fit: batch limit or KV limit, whichever is less.
    beta_s : float
        Cost of a sequence a step at its mean context, seconds.
    """

    rho: float
    step_s: float
    batch: float
    slots: float
    beta_s: float
    kv_bound: bool


def length_points(mean: float, second_moment: float) -> FloatArray:
    """Equally likely token lengths of a lognormal with these moments, float64[POINTS].

    Examples
    --------
    >>> length_points(100.0, 10_000.0)[:2]
    array([100., 100.])
    """
    if mean <= 0:
        return np.zeros(POINTS)
    variance = max(second_moment / mean**2 - 1.0, 0.0)
    sigma2 = np.log1p(variance)
    levels = (np.arange(POINTS) + 0.5) / POINTS
    return np.asarray(mean * np.exp(ndtri(levels) * np.sqrt(sigma2) - sigma2 / 2))


def mean_state(profile: GenerativeProfile, load: Load) -> State:
    """Return the mean step and batch by Little's law; a full unit has the step of its full batch."""
    mix = load.mix
    output = max(mix.output_mean, 1.0)
    context = mix.prompt_mean + CONTEXT_PER_STEP * mix.output_mean
    beta_s = profile.beta_s + profile.kappa_s * context
    kv_slots = profile.kv_tokens / max(mix.prompt_mean + mix.output_mean, 1.0)
    slots = max(min(float(profile.max_batch), kv_slots), 1.0)
    rho = load.rate_rps * (prefill_work_s(profile, mix) + beta_s * output)
    step_s = profile.alpha_s / max(1.0 - rho, 1e-9)
    batch = load.rate_rps * output * step_s
    return State(rho, step_s, batch, slots, beta_s, kv_slots < profile.max_batch)


def full_step_s(profile: GenerativeProfile, load: Load, state: State) -> float:
    """Mean step of a unit whose slots are all busy, seconds."""
    prefill = load.rate_rps * prefill_work_s(profile, load.mix)
    return (profile.alpha_s + state.beta_s * state.slots) / max(1.0 - prefill, 1e-9)


def chunks_of(profile: GenerativeProfile, prompt: FloatArray) -> FloatArray:
    """Steps that a prompt is read in."""
    return np.maximum(np.ceil(prompt / profile.chunk_tokens), 1.0)


def prefill_work_s(profile: GenerativeProfile, mix: TokenMix) -> float:
    """Mean seconds that reading one prompt adds to the steps it is read in."""
    chunks = float(chunks_of(profile, length_points(mix.prompt_mean, mix.prompt_sq)).mean())
    return profile.gamma_s * mix.prompt_mean + profile.delta_s * chunks


def own_prefill_s(
    profile: GenerativeProfile, prompt: FloatArray, batch: float, beta_s: float
) -> FloatArray:
    """Seconds from the start of a prompt's first chunk to its first token.

    A fused engine pays the base of the step with every chunk; one that reads prompts in passes of
    their own pays it only while it decodes as well.
    """
    chunks = chunks_of(profile, prompt)
    size = np.minimum(prompt, profile.chunk_tokens)
    work = profile.gamma_s * prompt + profile.gamma2_s * chunks * size**2
    shared = min(batch, 1.0) if profile.delta_s > 0 else 1.0
    return np.asarray(chunks * (profile.delta_s + shared * profile.alpha_s + beta_s * batch) + work)


def slot_load(profile: GenerativeProfile, load: Load, state: State) -> tuple[float, float]:
    """Return (offered load on all slots in erlangs, seconds that a full unit holds a slot)."""
    held_s = max(load.mix.output_mean, 1.0) * full_step_s(profile, load, state)
    return load.rate_rps * load.units * held_s, held_s


def stable(profile: GenerativeProfile, load: Load) -> bool:
    """Whether the queue of this load ends."""
    state = mean_state(profile, load)
    busy, _ = slot_load(profile, load, state)
    return state.rho < 1.0 and busy < load.units * state.slots and prefill_use(profile, load) < 1.0


def prefill_use(profile: GenerativeProfile, load: Load) -> float:
    """Share of the chunk budget that prompts use."""
    state = mean_state(profile, load)
    step = _chunk_step_s(profile, state)
    return load.rate_rps * load.mix.prompt_mean / profile.chunk_tokens * step


def ttft_exceeds(profile: GenerativeProfile, load: Load, ttft_s: FloatArray) -> FloatArray:
    """P(TTFT > t) for each t, float64.

    TTFT = what is left of the running step + wait for a slot or for earlier prompts + own chunks.
    The two waits are exponential tails; the larger of them is taken for each part of the mixture.
    """
    state = mean_state(profile, load)
    batch = min(state.batch, state.slots)
    busy = min(1.0, state.rho + load.rate_rps * profile.alpha_s * max(load.mix.output_mean, 1.0))
    prompt = length_points(load.mix.prompt_mean, load.mix.prompt_sq)
    own = own_prefill_s(profile, prompt, batch, state.beta_s)
    left = np.concatenate([[0.0], RESIDUAL * state.step_s])
    weight = np.concatenate([[1 - busy], np.full(RESIDUAL.size, busy / RESIDUAL.size)])
    slack = np.asarray(ttft_s)[:, None, None] - own[None, :, None] - left[None, None, :]
    exceeds = np.where(
        slack < 0,
        1.0,
        np.maximum(_slot_wait(profile, load, slack), _prefill_wait(profile, load, slack)),
    )
    return np.asarray((exceeds.mean(axis=1) * weight).sum(axis=1))


def _slot_wait(profile: GenerativeProfile, load: Load, wait_s: FloatArray) -> FloatArray:
    state = mean_state(profile, load)
    busy, held_s = slot_load(profile, load, state)
    servers = max(int(load.units * state.slots), 1)
    scv = _output_scv(load.mix)
    variability = (load.dispersion + scv) / 2
    rate = wait_rate_per_s(servers, busy, held_s, variability)
    return np.asarray(erlang_c(servers, busy) * np.exp(-rate * np.maximum(wait_s, 0.0)))


def _prefill_wait(profile: GenerativeProfile, load: Load, wait_s: FloatArray) -> FloatArray:
    state = mean_state(profile, load)
    used = prefill_use(profile, load)
    step = _chunk_step_s(profile, state)
    service_s = max(load.mix.prompt_mean, 1.0) / profile.chunk_tokens * step
    scv = max(load.mix.prompt_sq / max(load.mix.prompt_mean, 1e-9) ** 2 - 1.0, 0.0)
    variability = (load.dispersion + scv) / 2
    rate = wait_rate_per_s(load.units, load.units * used, service_s, variability)
    return np.asarray(
        erlang_c(load.units, load.units * used) * np.exp(-rate * np.maximum(wait_s, 0.0))
    )


def _output_scv(mix: TokenMix) -> float:
    return (
        max(mix.output_sq / max(mix.output_mean, 1e-9) ** 2 - 1.0, 0.0) if mix.output_mean else 0.0
    )


def _chunk_step_s(profile: GenerativeProfile, state: State) -> float:
    """Step that reads a whole chunk beside the mean batch, seconds."""
    batch = min(state.batch, state.slots)
    base = profile.alpha_s + profile.delta_s + state.beta_s * batch
    return base + profile.gamma_s * profile.chunk_tokens


def _prefill_sq(profile: GenerativeProfile, mix: TokenMix) -> float:
    """Second moment of what one prompt chunk adds to a step, seconds squared."""
    if not mix.prompt_mean:
        return profile.delta_s**2
    prompt_sq = min(mix.prompt_sq, mix.prompt_mean * profile.chunk_tokens)
    tokens = profile.gamma_s**2 * prompt_sq
    return tokens + 2 * profile.gamma_s * profile.delta_s * mix.prompt_mean + profile.delta_s**2


def tpot_exceeds(profile: GenerativeProfile, load: Load, tpot_s: FloatArray) -> FloatArray:
    """P(TPOT > t) for each t: normal around the mean step, wider for short outputs.

    The batch of M/G/infinity has a Poisson variance (times the dispersion); other requests'
    prefill during the own N steps is a compound Poisson sum.
    """
    state = mean_state(profile, load)
    batch = min(state.batch, state.slots)
    full_s = full_step_s(profile, load, state)
    step_s = min(state.step_s, full_s) if state.rho < 1 else full_s
    mean_s = step_s + state.beta_s * max(0.0, 1.0 - batch / state.slots)
    output = np.maximum(length_points(load.mix.output_mean, load.mix.output_sq), 1.0)
    batch_var = state.beta_s**2 * batch * max(load.dispersion, 1.0) * AVERAGING
    prefill_var = (
        load.rate_rps * step_s * _prefill_sq(profile, load.mix) * max(load.dispersion, 1.0) / output
    )
    sigma = np.sqrt(batch_var + prefill_var) + 1e-12
    return np.asarray(
        (1 - ndtr((np.asarray(tpot_s)[:, None] - mean_s) / sigma[None, :])).mean(axis=1)
    )
