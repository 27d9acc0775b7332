"""Mean state of units that generate tokens with continuous batching, and when they are stable.

A busy unit is a processor-sharing queue: `b` rows share steps of ``alpha + beta b`` seconds, of which
the share ``sigma = lambda S`` goes to prompts (S seconds each). Its batch is then *exactly* negative
binomial whatever the lengths (product form; Kelly 1979, chapter 3): ``r = alpha/beta + 1`` and
``q = lambda N beta / (1 - sigma)`` give the mean ``r q / (1 - q)`` and variance mean / (1 - q).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecaster.capacity.tails import WEIGHTS, lengths
from forecaster.domain.demand import FloatArray, TokenMix
from forecaster.domain.profile import GenerativeProfile


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
        Index of dispersion of the arrivals at all units, 1 = Poisson.
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


@dataclass(frozen=True, slots=True)
class Prompts:
    """Seconds that prompts add to the steps they are read in, at the points of their length.

    Attributes
    ----------
    tokens, chunks, work_s : float64[32]
        Length, steps and seconds (without the base of those steps) of one prompt.
    mean_s, square_s2 : float
        First two moments of `work_s`.
    """

    tokens: FloatArray
    chunks: FloatArray
    work_s: FloatArray
    mean_s: float
    square_s2: float


def chunks_of(profile: GenerativeProfile, prompt: FloatArray) -> FloatArray:
    """Steps that a prompt is read in."""
    return np.maximum(np.ceil(prompt / profile.chunk_tokens), 1.0)


def prompts_of(profile: GenerativeProfile, mix: TokenMix) -> Prompts:
    """Return what reading the prompts of a mix takes."""
    tokens = lengths(mix.prompt_mean, mix.prompt_sq)
    chunks = chunks_of(profile, tokens)
    size = np.minimum(tokens, profile.chunk_tokens)
    work_s = profile.gamma_s * tokens + profile.gamma2_s * tokens * size + profile.delta_s * chunks
    return Prompts(tokens, chunks, work_s, float(WEIGHTS @ work_s), float(WEIGHTS @ work_s**2))


def prefill_work_s(profile: GenerativeProfile, mix: TokenMix) -> float:
    """Mean seconds that reading one prompt adds to the steps it is read in."""
    return prompts_of(profile, mix).mean_s


def decode_steps(mix: TokenMix) -> float:
    """Mean steps that a request decodes: the first token comes with the end of its prompt."""
    return max(mix.output_mean - 1.0, 0.0)


def row_s(profile: GenerativeProfile, mix: TokenMix) -> float:
    """Seconds that one decoding row adds to a step, at the mean context of a decoding row.

    A long output decodes longer: the mean over rows is that over requests weighted by N.
    """
    output = max(mix.output_mean, 1.0)
    context = mix.prompt_mean
    if mix.output_mean > 0:
        context = (mix.prompt_output + 0.5 * mix.output_sq) / output
    return profile.beta_s + profile.kappa_s * context


def mean_state(profile: GenerativeProfile, load: Load) -> State:
    """Return the mean step and batch by Little's law; a full unit has the step of its full batch."""
    mix, steps = load.mix, decode_steps(load.mix)
    beta_s = row_s(profile, mix)
    kv_slots = profile.kv_tokens / max(mix.prompt_mean + mix.output_mean, 1.0)
    slots = max(min(float(profile.max_batch), kv_slots), 1.0)
    rho = load.rate_rps * (prefill_work_s(profile, mix) + beta_s * steps)
    step_s = profile.alpha_s / max(1.0 - rho, 1e-9)
    batch = load.rate_rps * steps * step_s
    return State(rho, step_s, batch, slots, beta_s, kv_slots < profile.max_batch)


def full_step_s(profile: GenerativeProfile, load: Load, state: State) -> float:
    """Mean step of a unit whose slots are all busy, seconds."""
    prefill = load.rate_rps * prefill_work_s(profile, load.mix)
    return (profile.alpha_s + state.beta_s * state.slots) / max(1.0 - prefill, 1e-9)


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
    """Share of the time that a unit needs to read prompts in full chunks beside its mean batch."""
    state = mean_state(profile, load)
    base_s = profile.alpha_s + state.beta_s * min(state.batch, state.slots)
    chunks = load.mix.prompt_mean / profile.chunk_tokens
    return load.rate_rps * (prefill_work_s(profile, load.mix) + chunks * base_s)
