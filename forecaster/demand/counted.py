"""Demand that somebody else has counted: from totals per slot to the sums of single requests.

Counters know how many requests came and how many tokens they had together, and nothing of each. What
the sums per slot need beyond that is assumed, and said here: token lengths have a squared coefficient of
variation of 1 and are independent of each other, and within a minute arrivals are Poisson.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecaster.demand.binning import MAX_COUNT_1S, empty_sums
from forecaster.domain.demand import SLOT_S, FloatArray, IntArray, SlotSums

ASSUMED_SCV = 1.0
"""Squared coefficient of variation of token lengths, as `TokenMix.of` assumes it."""
_SEED = 7464


@dataclass(frozen=True, slots=True)
class Counted:
    """Totals of slots that were counted; those of which nothing is known are not among them.

    Attributes
    ----------
    start_s : int64[m]
        Slot starts, epoch seconds, multiples of `SLOT_S`, rising.
    arrivals, prompt_tokens, output_tokens : float64[m]
        Requests and tokens; fractions where the source estimates.
    """

    start_s: IntArray
    arrivals: FloatArray
    prompt_tokens: FloatArray
    output_tokens: FloatArray


def grown(
    values: FloatArray,
    target: IntArray | None = None,
    born: npt.NDArray[np.bool_] | None = None,
) -> FloatArray:
    """What counters grew by from one moment to the next.

    A counter that falls was reset and counts from 0. One that appears where others of its target
    were seen a moment before was born then and counts from 0; one whose target appears with it is seen
    for the first time: what it had counted before is not known, and nothing is.

    Parameters
    ----------
    values : float64[S, T]
        Series by moment; NaN where a series was not there.
    target : int64[S] or None
        Number of the process that each series belongs to; None: each to its own.
    born : bool[S, T] or None
        Where a series may have been born; None: wherever it appears.

    Returns
    -------
    float64[S, T - 1]
        NaN where it is not known.

    Examples
    --------
    >>> grown(np.array([[5.0, 7.0, 1.0], [np.nan, 3.0, 3.0]]), np.array([0, 0])).tolist()
    [[2.0, 1.0], [3.0, 0.0]]
    """
    before, after = values[:, :-1], values[:, 1:]
    step = after - before
    step = np.where(step < 0, after, step)
    if target is not None and values.size:
        seen = np.zeros((int(target.max()) + 1, before.shape[1]), np.bool_)
        np.logical_or.at(seen, target, np.isfinite(before))
        new = np.isnan(before) & np.isfinite(after) & seen[target]
        step = np.where(new if born is None else new & born[:, 1:], after, step)
    return np.asarray(step, np.float64)


def total(parts: FloatArray) -> FloatArray:
    """Sum over the series, float64[T]; NaN where none is known."""
    if not parts.shape[0]:
        return np.full(parts.shape[1], np.nan)
    known = np.isfinite(parts).any(axis=0)
    return np.where(known, np.nansum(parts, axis=0), np.nan)


def counted_sums(counted: Counted, seed: int = _SEED) -> SlotSums:
    """Sums per slot as single requests of these totals would have made them.

    The same totals of a slot give the same sums, whatever stands beside them.

    Examples
    --------
    A minute with 120 requests, 1000 prompt and 100 output tokens each:

    >>> each = Counted(np.array([0]), np.array([120.0]), np.array([120e3]), np.array([12e3]))
    >>> sums = counted_sums(each)
    >>> sums.arrivals.tolist(), sums.prompt_sq.tolist(), int(sums.counts_1s.sum())
    ([120], [240000000.0], 120)
    """
    arrivals = _rounded(counted.arrivals, counted.start_s, seed)
    kept = arrivals > 0
    if not kept.any():
        return empty_sums()
    n = arrivals[kept].astype(np.float64)
    start_s = counted.start_s[kept]
    share = n / counted.arrivals[kept]  # rounding changes how many there are, not how long they are
    prompt = np.rint(counted.prompt_tokens[kept] * share)
    output = np.rint(counted.output_tokens[kept] * share)
    return SlotSums(
        start_s=start_s,
        arrivals=arrivals[kept],
        prompt_tokens=prompt.astype(np.int64),
        output_tokens=output.astype(np.int64),
        prompt_output=prompt * output / n,
        prompt_sq=prompt * prompt / n * (1 + ASSUMED_SCV),
        output_sq=output * output / n * (1 + ASSUMED_SCV),
        counts_1s=_spread(arrivals[kept], start_s, seed),
    )


def fuller(stored: SlotSums, fresh: SlotSums) -> SlotSums:
    """Of each slot the account with more arrivals: late samples add, an answer with gaps takes nothing.

    Examples
    --------
    >>> two = counted_sums(Counted(np.array([0, 60]), *(np.array([5.0, 9.0]) for _ in range(3))))
    >>> late = counted_sums(Counted(np.array([0, 60]), *(np.array([7.0, 4.0]) for _ in range(3))))
    >>> fuller(two, late).arrivals.tolist()
    [7, 9]
    """
    start_s = np.union1d(stored.start_s, fresh.start_s)
    had, has = np.zeros(start_s.size, np.int64), np.zeros(start_s.size, np.int64)
    had[np.searchsorted(start_s, stored.start_s)] = stored.arrivals
    has[np.searchsorted(start_s, fresh.start_s)] = fresh.arrivals
    take = has > had
    parts = (
        (stored, np.flatnonzero(~take[np.searchsorted(start_s, stored.start_s)])),
        (fresh, np.flatnonzero(take[np.searchsorted(start_s, fresh.start_s)])),
    )
    order = np.argsort(np.concatenate([part.start_s[rows] for part, rows in parts]))
    return SlotSums(
        **{
            name: np.concatenate([getattr(part, name)[rows] for part, rows in parts])[order]
            for name in SlotSums.__dataclass_fields__
        }
    )


def finer(counted: Counted, step_s: int) -> Counted:
    """Totals of steps as totals of slots, each an equal part.

    Examples
    --------
    >>> long = Counted(np.array([0]), np.array([10.0]), np.array([4.0]), np.array([0.0]))
    >>> finer(long, 120).arrivals.tolist()
    [5.0, 5.0]
    """
    return Counted(
        slots_of(counted.start_s, step_s),
        shared_out(counted.arrivals, step_s),
        shared_out(counted.prompt_tokens, step_s),
        shared_out(counted.output_tokens, step_s),
    )


def slots_of(start_s: IntArray, step_s: int) -> IntArray:
    """Starts of the slots of steps, epoch seconds."""
    return np.asarray((start_s[:, None] + SLOT_S * np.arange(step_s // SLOT_S)).reshape(-1))


def shared_out(totals: FloatArray, step_s: int) -> FloatArray:
    """Totals of steps, an equal part to each of their slots."""
    parts = step_s // SLOT_S
    return np.repeat(totals / parts, parts)


def _rounded(arrivals: FloatArray, start_s: IntArray, seed: int) -> IntArray:
    """Whole numbers that are right on average: a fraction is rounded up as often as it is large."""
    whole = np.floor(arrivals)
    fraction = arrivals - whole
    drawn = np.array(
        [np.random.default_rng((seed, int(at))).random() if part else 1.0
         for at, part in zip(start_s, fraction, strict=True)]
    )  # fmt: skip
    return np.asarray(whole + (drawn < fraction), np.int64)


def _spread(arrivals: IntArray, start_s: IntArray, seed: int) -> npt.NDArray[np.uint16]:
    """Seconds of the arrivals of each slot, as a Poisson process would have put them."""
    even = np.full(SLOT_S, 1.0 / SLOT_S)
    counts = [
        np.random.default_rng((seed, int(at), 1)).multinomial(n, even)
        for n, at in zip(arrivals, start_s, strict=True)
    ]
    return np.asarray(np.minimum(counts, MAX_COUNT_1S), np.uint16)
