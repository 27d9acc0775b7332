"""The next token of each row: the greatest, or a draw from a cut softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# Named here so that the zygote imports numpy.random: the first draw of a unit would pay for it.
_make_random = np.random.default_rng

Logits = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a request wants its tokens drawn.

    Attributes
    ----------
    temperature : float
        0 = greedy; above it the softmax is sampled.
    top_k : int
        Only the k likeliest tokens are drawn from; 0 = all.
    top_p : float
        Only the fewest likeliest tokens whose shares sum to at least p, 0 < p <= 1.
    seed : int or None
        Makes the draws repeatable, whoever shares the batch.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None


GREEDY = Sampling()


class Sampler:
    """Draws the tokens of one request."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = _make_random(sampling.seed)

    def draw(self, logits: Logits) -> int:
        """Return a token drawn from float[v] `logits`."""
        scaled = logits.astype(np.float64) / self._sampling.temperature
        # The Gumbel maximum is a softmax draw without the softmax.
        noise = self._random.gumbel(size=scaled.size)
        return int(np.where(kept(scaled, self._sampling), scaled + noise, -np.inf).argmax())

    def skip(self, vocabulary: int) -> None:
        """Leave out the draw of one token: another unit made it with the same seed."""
        self._random.gumbel(size=vocabulary)


def kept(scaled: npt.NDArray[np.float64], sampling: Sampling) -> npt.NDArray[np.bool_]:
    """Return which tokens may be drawn: the likeliest `top_k`, and of those the nucleus `top_p`.

    Examples
    --------
    >>> shares = np.log([0.5, 0.25, 0.15, 0.1])
    >>> kept(shares, Sampling(1.0, top_p=0.7)).tolist()
    [True, True, False, False]
    >>> kept(shares, Sampling(1.0, top_k=3)).tolist()
    [True, True, True, False]
    """
    allowed = np.ones(scaled.size, np.bool_)
    if 0 < sampling.top_k < scaled.size:
        order = np.argpartition(-scaled, sampling.top_k - 1)
        allowed[order[sampling.top_k :]] = False
    if sampling.top_p < 1.0:
        shares = np.where(allowed, np.exp(scaled - scaled.max()), 0.0)
        order = np.argsort(-shares, kind="stable")
        before = np.cumsum(shares[order]) - shares[order]
        allowed[order[before >= sampling.top_p * shares.sum()]] = False
    return allowed


def sampler_of(sampling: Sampling) -> Sampler | None:
    """Return what draws for a request; None where it is greedy."""
    return Sampler(sampling) if sampling.temperature > 0 else None


def pick(logits: Logits, samplers: Sequence[Sampler | None]) -> npt.NDArray[np.int64]:
    """Choose the next token of each row of float[n, v] `logits`."""
    picked: npt.NDArray[np.int64] = logits.argmax(axis=-1)
    for row, sampler in enumerate(samplers):
        if sampler is not None:
            picked[row] = sampler.draw(logits[row])
    return picked
