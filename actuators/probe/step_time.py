"""From when the tokens came to what a step costs; pure.

While `b` streams all decode, each gets one token a step: ``alpha + beta*b + kappa*ctx``. What a stream loses while
others are read beside it is ``delta + gamma*tokens`` for each of them. Next to no `delta` is an engine that reads
prompts in its decoding steps, and a request alone takes ``overhead + alpha*steps + gamma*tokens + gamma2*tokens**2`` to its first token; else
prompts are read in passes of their own, and it is a `delta` a pass in the place of the `alpha` a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actuators.probe.engine import Stream
from actuators.step_fit import Floats, least_relative

LEAST_STEPS = 4
"""Fewer steps with all streams at it say nothing."""
FUSED_BELOW = 0.1
"""A decoding step that loses less than this share of itself to a prompt, beside its tokens, reads it by the way."""
LEAST_SHARE = 0.01

Cell = tuple[Floats, float]
"""What an engine did, and the seconds that it took."""


@dataclass(frozen=True, slots=True)
class StepFit:
    """What a step costs, as seen from outside.

    Attributes
    ----------
    alpha_s, beta_s, kappa_s, delta_s, gamma_s, gamma2_s : float
        See `GenerativeProfile`.
    overhead_s : float
        Of each request: network, front end, tokeniser. No work that others wait for.
    error : float
        Median relative error over the cells.
    cells : int
        How many there were.
    """

    alpha_s: float
    beta_s: float
    kappa_s: float
    delta_s: float
    gamma_s: float
    gamma2_s: float
    overhead_s: float
    error: float
    cells: int


def together(streams: Sequence[Stream]) -> int:
    """Most streams that decoded at one time: what the engine's batch took of a burst.

    A stream that waits for a place gets its first token when another has had its last.
    """
    if all(each.at_s.size < 2 for each in streams):
        return 0
    begin = np.sort([each.at_s[0] for each in streams])
    end = np.sort([each.at_s[-1] for each in streams])
    return int(max(i + 1 - np.searchsorted(end, at, side="right") for i, at in enumerate(begin)))


def decoding(streams: Sequence[Stream]) -> Cell | None:
    """One cell: (1, streams, cached tokens) and the seconds of a step; None where they did not decode together."""
    from_s = max(float(each.at_s[0]) for each in streams)
    to_s = min(float(each.at_s[-1]) for each in streams)
    if to_s <= from_s:
        return None
    tokens = np.array([_tokens_until(each, to_s) - _tokens_until(each, from_s) for each in streams])
    steps = float(tokens.mean())
    if steps < LEAST_STEPS:
        return None
    middle_s = (from_s + to_s) / 2
    cached = sum(each.prompt_tokens + _tokens_until(each, middle_s) for each in streams)
    return np.array([1.0, len(streams), cached]), (to_s - from_s) / steps


def reading(stream: Stream, chunk_tokens: int) -> Cell:
    """A request for a single token: steps, tokens, tokens squared by the step, and the seconds to it."""
    whole, rest = divmod(stream.prompt_tokens, chunk_tokens)
    squared = whole * chunk_tokens**2 + rest**2
    steps = whole + (rest > 0)
    return np.array([steps, stream.prompt_tokens, squared], np.float64), stream.ttft_s


def disturbed(decoding_on: Stream, read: Sequence[Stream]) -> Cell | None:
    """A stream beside which others were read one by one: its steps, cached tokens of all of them, passes, tokens read; its seconds."""
    from_s, to_s = float(decoding_on.at_s[0]), float(decoding_on.at_s[-1])
    beside = [each for each in read if each.sent_s >= from_s and float(each.at_s[0]) <= to_s]
    steps = decoding_on.output_tokens - 1
    if len(beside) < LEAST_STEPS or steps < LEAST_STEPS:
        return None
    cached = steps * (decoding_on.prompt_tokens + decoding_on.output_tokens / 2)
    tokens = sum(each.prompt_tokens for each in beside)
    return np.array([steps, cached, len(beside), tokens], np.float64), to_s - from_s


def fitted(decode: Sequence[Cell], read: Sequence[Cell], beside: Sequence[Cell]) -> StepFit:
    """Fit the decoding steps, then reading, which of the two kinds it is first.

    Parameters
    ----------
    decode, read, beside
        Cells of `decoding`, `reading` and `disturbed`.
    """
    (alpha_s, beta_s, kappa_s), off = _fit(decode)
    (_, gamma_s, _), _ = _fit(read)  # whatever a step costs: it is not known yet
    lost_s = [
        (seconds - steps * (alpha_s + beta_s) - kappa_s * cached - gamma_s * tokens) / passes
        for (steps, cached, passes, tokens), seconds in beside
    ]
    delta_s = float(np.median(lost_s)) if lost_s else 0.0
    delta_s = delta_s if delta_s > FUSED_BELOW * alpha_s else 0.0
    (overhead_s, gamma_s, gamma2_s), off_read = _fit_reading(read, delta_s or alpha_s)
    off = np.concatenate([off, off_read])
    return StepFit(
        alpha_s, beta_s, kappa_s, delta_s, gamma_s, gamma2_s, overhead_s, float(np.median(off)), off.size
    )  # fmt: skip


def _fit_reading(read: Sequence[Cell], step_s: float) -> tuple[list[float], Floats]:
    """Overhead, and the costs of a token and of its square, beside what a step costs by itself."""
    cells = [
        (np.array([1.0, tokens, squared]), max(seconds - steps * step_s, LEAST_SHARE * seconds))
        for (steps, tokens, squared), seconds in read
    ]
    return _fit(cells)


def _fit(cells: Sequence[Cell]) -> tuple[list[float], Floats]:
    design = np.stack([cell for cell, _ in cells])
    seconds = np.array([each for _, each in cells])
    found = least_relative(design, seconds)
    return [float(each) for each in found], np.abs(design @ found / seconds - 1.0)


def _tokens_until(stream: Stream, at_s: float) -> float:
    """Tokens that had come: a piece may hold several of them."""
    pieces = int(np.searchsorted(stream.at_s, at_s, side="right"))
    return pieces * stream.output_tokens / stream.at_s.size
