"""Traffic for sizing tables: one set of requests that every load plays at its own pace.

Loads are compared on the *same* requests in the same order (common random numbers), so that a curve
over the load is smooth. Rate and lengths are stratified: a finite run has exactly the load that was
asked for, and only the order of things is left to chance.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
from scipy.special import gammaincinv, ndtri

from forecaster.capacity.kernel.arrivals import WINDOW_S
from forecaster.capacity.sizing import Question
from forecaster.domain.demand import MAX_TOKENS, FloatArray, IntArray, RequestBatch, TokenMix
from forecaster.domain.errors import DataError
from forecaster.domain.profile import ClassicProfile

Lengths = tuple[IntArray, IntArray]
"""Prompt and output tokens of requests as they came, int64[n] each."""
GOLDEN_2 = 1.32471795724474602596
"""Its powers spread points evenly over a square (Roberts, 2018)."""
LEAST_SHAPE = 1e-2
"""Windows of very rare traffic are not made more bursty than this."""


def seed_of(question: Question, units: int) -> int:
    """Seed by content; the SLO is left out, so that a tighter one is judged on the same traffic."""
    known = asdict(question.unit.profile) | asdict(question.mix)
    text = json.dumps([known, question.dispersion, units], sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def check_lengths(lengths: Lengths) -> None:
    """Refuse lengths that no trace can have.

    Raises
    ------
    DataError
        When there are none, the columns differ, or a length is out of range.
    """
    prompt, output = (np.asarray(each) for each in lengths)
    if prompt.ndim != 1 or prompt.shape != output.shape or not prompt.size:
        raise DataError(
            "token lengths are not two columns of one length", "give one pair a request"
        )
    for each in (prompt, output):
        if not (np.isfinite(each).all() and each.min() >= 0 and each.max() <= MAX_TOKENS):
            raise DataError(f"token lengths outside 0..{MAX_TOKENS}", "drop the rows")


def sampled(random: np.random.Generator, mix: TokenMix, lengths: Lengths | None, count: int) -> Lengths:  # fmt: skip
    """Draw `count` pairs of lengths: those that came, else correlated lognormals of these moments.

    Stratified, then shuffled: the means of a draw are those of the distribution.
    """
    order = random.permutation(count)
    if lengths is not None:
        prompt, output = (np.asarray(each, np.int64) for each in lengths)
        places = np.floor((np.arange(count) + random.uniform()) / count * prompt.size)
        chosen = random.permutation(prompt.size)[places.astype(np.int64) % prompt.size][order]
        return prompt[chosen], output[chosen]
    steps = np.arange(1, count + 1)
    first, second = (
        np.clip((random.uniform() + steps * GOLDEN_2**-power) % 1.0, 1e-9, 1 - 1e-9)[order]
        for power in (1, 2)
    )
    score, other = ndtri(first), ndtri(second)
    prompt_spread, output_spread = _spread(mix.prompt_mean, mix.prompt_sq), _spread(mix.output_mean, mix.output_sq)  # fmt: skip
    together = _correlation(mix, prompt_spread * output_spread)
    other = together * score + np.sqrt(1 - together**2) * other
    return (
        _tokens(mix.prompt_mean, prompt_spread, score),
        _tokens(mix.output_mean, output_spread, other),
    )


def _spread(mean: float, square: float) -> float:
    """Standard deviation of the logarithm."""
    return float(np.sqrt(np.log(max(square / mean**2, 1.0)))) if mean > 0 else 0.0


def _correlation(mix: TokenMix, spreads: float) -> float:
    product = mix.prompt_mean * mix.output_mean
    if spreads <= 0 or product <= 0 or mix.prompt_output <= 0:
        return 0.0
    return float(np.clip(np.log(mix.prompt_output / product) / spreads, -0.99, 0.99))


def _tokens(mean: float, spread: float, score: FloatArray) -> IntArray:
    if mean <= 0:
        return np.zeros(score.size, np.int64)
    drawn = mean * np.exp(spread * score - spread**2 / 2)
    return np.clip(np.rint(drawn), 1, MAX_TOKENS).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Requests:
    """So many requests: tokens, gaps at rate 1, what a classic pass takes over the mean."""

    prompt: IntArray
    output: IntArray
    due: FloatArray
    factor: FloatArray


class Traffic:
    """Requests of one question for one number of units.

    Parameters
    ----------
    question : Question
        Mix, dispersion, and for classic units how much passes vary.
    lengths : (int64[n], int64[n]) or None
        Lengths to draw from; None: lognormals.
    units : int
        Goes into the seed: errors of different fleets are unrelated and average out.
    """

    def __init__(self, question: Question, lengths: Lengths | None, units: int) -> None:
        self._question = question
        self._lengths = lengths
        self._seed = seed_of(question, units)
        self._drawn: dict[int, _Requests] = {}

    def _requests(self, count: int) -> _Requests:
        """`count` requests, the same ones at every load."""
        if count not in self._drawn:
            random = np.random.default_rng([self._seed, count])
            prompt, output = sampled(random, self._question.mix, self._lengths, count)
            due = np.cumsum(random.exponential(1.0, count))
            due *= count / due[-1]
            factor = np.ones(count)
            profile = self._question.unit.profile
            if isinstance(profile, ClassicProfile) and profile.service_time_scv > 0:
                scv = profile.service_time_scv
                factor = np.maximum(random.gamma(1 / scv, scv, count), 1e-9)
            self._drawn[count] = _Requests(prompt, output, due, factor)
        return self._drawn[count]

    def times_s(self, rate_rps: float, count: int) -> FloatArray:
        """Arrival times of `count` requests at a mean rate of exactly `rate_rps`."""
        due = self._requests(count).due
        dispersion = self._question.dispersion
        if dispersion <= 1.0:
            return np.asarray(due / rate_rps)
        windows = max(round(count / (rate_rps * WINDOW_S)), 1)
        shape = max(rate_rps * WINDOW_S / (dispersion - 1.0), LEAST_SHAPE)
        bounds = np.concatenate([[0.0], np.cumsum(gammaincinv(shape, self._levels(windows)))])
        bounds *= count / bounds[-1]
        length_s = count / rate_rps / windows
        return np.asarray(np.interp(due, bounds, np.arange(windows + 1) * length_s))

    def _levels(self, windows: int) -> FloatArray:
        """Probabilities of the rates of windows: as they come by chance, none left out."""
        return (np.random.default_rng(self._seed).permutation(windows) + 0.5) / windows

    def requests(self, at_s: FloatArray) -> tuple[RequestBatch, FloatArray]:
        """So many requests at these times, and what classic passes take over the mean."""
        found = self._requests(at_s.size)
        return RequestBatch("sizing", at_s, found.prompt, found.output), found.factor
