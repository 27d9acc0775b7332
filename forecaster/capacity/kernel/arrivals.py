"""Seeded traffic for validation: Poisson and over-dispersed arrivals, lognormal token lengths."""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray, IntArray, RequestBatch, TokenMix

WINDOW_S = 10.0
"""Rates change this often: dispersion is the index of counts over 10 s (`demand.dispersion`)."""


def arrivals(
    random: np.random.Generator, rate_rps: float, count: int, dispersion: float = 1.0
) -> FloatArray:
    """Arrival times from 0, seconds: Poisson, or Poisson with a gamma rate anew every 10 s.

    With a rate of mean m = `rate_rps` x 10 s and variance m (D - 1) a window's count is negative
    binomial with index of dispersion D.

    Parameters
    ----------
    random : numpy.random.Generator
        Where the dice come from.
    dispersion : float
        Variance over mean of the counts of 10 s, >= 1.
    """
    if dispersion <= 1.0:
        return np.asarray(np.cumsum(random.exponential(1.0 / rate_rps, count)))
    mean = rate_rps * WINDOW_S
    windows = int(np.ceil(count / mean + 6 * np.sqrt(count * dispersion) / mean)) + 2
    counts = random.poisson(random.gamma(mean / (dispersion - 1), dispersion - 1, windows))
    starts = np.repeat(np.arange(windows) * WINDOW_S, counts)
    times = np.sort(starts + random.uniform(0.0, WINDOW_S, starts.size))
    return np.asarray(times[:count])


def lognormal_tokens(
    random: np.random.Generator, mean: float, scv: float, count: int, least: int = 1
) -> IntArray:
    """Token lengths of a lognormal with this mean and squared coefficient of variation, int64."""
    sigma2 = np.log1p(scv)
    drawn = random.lognormal(np.log(mean) - sigma2 / 2, np.sqrt(sigma2), count)
    return np.asarray(np.maximum(np.rint(drawn), least), np.int64)


def chat(
    random: np.random.Generator,
    rate_rps: float,
    count: int,
    mix: tuple[float, float, float],
    dispersion: float = 1.0,
) -> RequestBatch:
    """Requests of a chat: `mix` is (mean prompt, mean output, squared coefficient of variation)."""
    prompt, output, scv = mix
    at_s = arrivals(random, rate_rps, count, dispersion)
    return RequestBatch(
        "chat",
        at_s,
        lognormal_tokens(random, prompt, scv, at_s.size),
        lognormal_tokens(random, output, scv, at_s.size),
    )


def mix_of(trace: RequestBatch) -> TokenMix:
    """Token moments of a trace, as counted."""
    p, n = trace.prompt_tokens.astype(np.float64), trace.output_tokens.astype(np.float64)
    return TokenMix(p.mean(), n.mean(), (p**2).mean(), (n**2).mean(), (p * n).mean())
