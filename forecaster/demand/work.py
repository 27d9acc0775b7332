"""Offered work: what one request costs a well-filled unit."""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray, IntArray, SlotSums, TokenMix
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, Profile


def offered_work_s(mix: TokenMix, profile: Profile) -> float:
    """Mean seconds of a well-filled unit that one request takes (design, section 4).

    Generative: ``w = delta + gamma*P + N*(beta + kappa*(P + N/2))``, in expectation
    ``gamma*E[P] + beta*E[N] + kappa*(E[P N] + E[N^2]/2)``: each of N decoding steps pays the
    sequence and the tokens that are cached by then, on average P + N/2. Lengths are correlated,
    so the cross moment is taken from the log and not from the product of the means.

    Classic: one pass's latency shared by the batch, at the measured batch size where that is least.

    Parameters
    ----------
    mix : TokenMix
        Moments of the tokens of one request; not used for classic models.
    profile : Profile
        Measured cost of work on one unit.

    Returns
    -------
    float
        Busy seconds; times the arrival rate it is the offered load in erlangs.

    Examples
    --------
    100 prompt tokens at 1 ms, 10 output tokens at 2 ms, cache reading at 1 µs a token:
    ``0.1 + 0.02 + 1e-6 * (1000 + 50)``

    >>> from forecaster.domain.profile import GenerativeProfile
    >>> unit = GenerativeProfile(alpha_s=0.01, beta_s=0.002, kappa_s=1e-6, gamma_s=0.001)
    >>> round(offered_work_s(TokenMix.of(100, 10, scv=0), unit), 6)
    0.12105
    """
    match profile:
        case GenerativeProfile():
            cached_tokens = mix.prompt_output + mix.output_sq / 2
            return (
                profile.delta_s
                + profile.gamma_s * mix.prompt_mean
                + profile.beta_s * mix.output_mean
                + profile.kappa_s * cached_tokens
            )
        case ClassicProfile():
            return min(latency_s / batch for batch, latency_s in profile.batch_latency_s)


def request_work_s(prompt: IntArray, output: IntArray, profile: Profile) -> FloatArray:
    """Seconds of a well-filled unit that each request takes, float64[n]; see `offered_work_s`."""
    p, n = prompt.astype(np.float64), output.astype(np.float64)
    match profile:
        case GenerativeProfile():
            return profile.work_s(p, n)
        case ClassicProfile():
            return np.full(p.size, offered_work_s(TokenMix(0, 0, 0, 0, 0), profile))


def slot_work_s(slots: SlotSums, profile: Profile) -> FloatArray:
    """Busy seconds that each slot's requests take together, float64[m]; exact from the sums."""
    match profile:
        case GenerativeProfile():
            cached_tokens = slots.prompt_output + slots.output_sq / 2
            return np.asarray(
                profile.delta_s * slots.arrivals
                + profile.gamma_s * slots.prompt_tokens
                + profile.beta_s * slots.output_tokens
                + profile.kappa_s * cached_tokens
            )
        case ClassicProfile():
            each_s = offered_work_s(TokenMix(0, 0, 0, 0, 0), profile)
            return slots.arrivals.astype(np.float64) * each_s
