"""From single requests to additive sums per slot."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import SLOT_S, FloatArray, IntArray, RequestBatch, SlotSums

MAX_COUNT_1S = np.iinfo(np.uint16).max
"""Counts per second stop here: saturating addition is still associative, so merging stays exact."""


def bin_requests(batch: RequestBatch) -> SlotSums:
    """Sum the requests of one service per slot of 60 s.

    Parameters
    ----------
    batch : RequestBatch
        Requests in any order.

    Returns
    -------
    SlotSums
        Only slots with arrivals, rising.

    Examples
    --------
    Two requests in minute 0 and one in minute 2:

    >>> import numpy as np
    >>> tokens = np.array([10, 20, 30])
    >>> sums = bin_requests(RequestBatch("s", np.array([1.5, 59.9, 121.0]), tokens, tokens))
    >>> sums.start_s.tolist(), sums.arrivals.tolist(), sums.prompt_output.tolist()
    ([0, 120], [2, 1], [500.0, 900.0])
    """
    if not len(batch):
        return empty_sums()
    second = np.floor(batch.arrival_s).astype(np.int64)
    slot = second // SLOT_S
    prompt, output = batch.prompt_tokens, batch.output_tokens
    if np.any(slot[1:] < slot[:-1]):
        order = np.argsort(slot, kind="stable")
        second, slot, prompt, output = second[order], slot[order], prompt[order], output[order]
    first = np.concatenate(([0], np.flatnonzero(np.diff(slot)) + 1))
    arrivals = np.diff(np.append(first, slot.size))
    row = np.repeat(np.arange(first.size), arrivals)
    counts = np.bincount(row * SLOT_S + (second - slot * SLOT_S), minlength=first.size * SLOT_S)
    prompt_f, output_f = prompt.astype(np.float64), output.astype(np.float64)
    return SlotSums(
        start_s=slot[first] * SLOT_S,
        arrivals=arrivals.astype(np.int64),
        prompt_tokens=np.add.reduceat(prompt, first),
        output_tokens=np.add.reduceat(output, first),
        prompt_output=np.add.reduceat(prompt_f * output_f, first),
        prompt_sq=np.add.reduceat(prompt_f * prompt_f, first),
        output_sq=np.add.reduceat(output_f * output_f, first),
        counts_1s=_saturated(counts.reshape(first.size, SLOT_S)),
    )


def merge(a: SlotSums, b: SlotSums) -> SlotSums:
    """Add two sums of the same service: exactly the sums of the two batches together.

    Exact because every sum is a sum of whole numbers below 2**53, and counts saturate.
    """
    if not a.start_s.size:
        return b
    if not b.start_s.size:
        return a
    start_s = np.union1d(a.start_s, b.start_s)
    parts = ((a, np.searchsorted(start_s, a.start_s)), (b, np.searchsorted(start_s, b.start_s)))

    def added(name: str, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        total = np.zeros((start_s.size, *getattr(a, name).shape[1:]), dtype)
        for part, where in parts:
            total[where] += getattr(part, name)
        return total

    return SlotSums(
        start_s=start_s,
        arrivals=_ints(added("arrivals", np.int64)),
        prompt_tokens=_ints(added("prompt_tokens", np.int64)),
        output_tokens=_ints(added("output_tokens", np.int64)),
        prompt_output=_floats(added("prompt_output", np.float64)),
        prompt_sq=_floats(added("prompt_sq", np.float64)),
        output_sq=_floats(added("output_sq", np.float64)),
        counts_1s=_saturated(added("counts_1s", np.int64)),
    )


def merge_all(parts: Iterable[SlotSums]) -> SlotSums:
    """Merge any number of sums."""
    return reduce(merge, parts, empty_sums())


def between(slots: SlotSums, from_s: float, to_s: float) -> SlotSums:
    """Slots that start in ``[from_s, to_s)``, epoch seconds."""
    low, high = np.searchsorted(slots.start_s, (from_s, to_s), side="left")
    names = SlotSums.__dataclass_fields__
    return SlotSums(**{name: getattr(slots, name)[low:high] for name in names})


def subtract(a: SlotSums, b: SlotSums) -> SlotSums:
    """Take the requests of `b` out of `a`, of which they are a part; emptied slots disappear.

    The inverse of `merge` as long as no second holds `MAX_COUNT_1S` requests.
    """
    where = np.searchsorted(a.start_s, b.start_s)
    left = {name: getattr(a, name).copy() for name in SlotSums.__dataclass_fields__}
    for name, values in left.items():
        if name != "start_s":
            values[where] -= getattr(b, name)
    kept = left["arrivals"] > 0
    return SlotSums(**{name: values[kept] for name, values in left.items()})


def empty_sums() -> SlotSums:
    """No slot at all."""
    no_ints, no_floats = np.zeros(0, np.int64), np.zeros(0)
    return SlotSums(
        start_s=no_ints,
        arrivals=no_ints,
        prompt_tokens=no_ints,
        output_tokens=no_ints,
        prompt_output=no_floats,
        prompt_sq=no_floats,
        output_sq=no_floats,
        counts_1s=np.zeros((0, SLOT_S), np.uint16),
    )


def _saturated(counts: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    return np.asarray(np.minimum(counts, MAX_COUNT_1S), np.uint16)


def _ints(values: npt.NDArray[np.generic]) -> IntArray:
    return values.astype(np.int64, copy=False)


def _floats(values: npt.NDArray[np.generic]) -> FloatArray:
    return values.astype(np.float64, copy=False)
