"""Cumulative histograms: of all their buckets those next to a bound, and how many requests were within it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from forecaster.demand.counted import grown, total
from forecaster.domain.demand import FloatArray
from forecaster.domain.samples import Stream
from forecaster.ingest.prometheus import Matrix

WIDE = 3.0
"""A bucket that ends at more than so many times where it begins says too little of a bound inside it."""
Process = tuple[str, str]
"""Job and instance."""


def judged(found: Matrix, bound_s: float) -> tuple[FloatArray, FloatArray]:
    """Requests of each step, and how many of them within a bound, float64[T - 1] each.

    NaN where nothing is known, and where the bound lies in a bucket so wide that nobody can tell.

    Examples
    --------
    Ten ended, six within half a second, two between that and one:

    >>> values = np.array([[0.0, 6.0], [0.0, 8.0], [0.0, 10.0]])
    >>> labels = tuple({"le": le} for le in ("0.5", "1.0", "+Inf"))
    >>> matrix = Matrix(labels, values, np.zeros(3, np.int64))
    >>> [[float(each[0]) for each in judged(matrix, bound_s)] for bound_s in (0.75, 1.0, 0.1, 5.0)]
    [[10.0, 7.0], [10.0, 8.0], [nan, nan], [nan, nan]]
    """
    growth = grown(found.values, found.target, found.born)
    counts, insides = [], []
    les = np.array([labels.get("le", "") for labels in found.labels])
    for target, edges in around(found, bound_s).items():
        own = found.target == target
        below = {float(edge): total(growth[own & (les == edge)]) for edge in edges}
        count = below[math.inf]
        low = max((end for end in below if end <= bound_s), default=0.0)
        high = min(end for end in below if end > bound_s)
        if low != bound_s and high > WIDE * low:
            continue
        inside = below[low]
        if low != bound_s:
            inside = inside + (bound_s - low) / (high - low) * (below[high] - inside)
        counts.append(count)
        insides.append(inside)
    if not counts:
        nothing = np.full(max(found.values.shape[1] - 1, 0), np.nan)
        return nothing, nothing
    return total(np.array(counts)), total(np.array(insides))


def edges_near(les: Iterable[str], bound_s: float) -> set[str]:
    """Of the buckets of one histogram those that end next to a bound, and the last one.

    Examples
    --------
    >>> sorted(edges_near(["0.5", "1.0", "2.5", "+Inf"], 1.2)), sorted(edges_near(["9", "+Inf"], 9.0))
    (['+Inf', '1.0', '2.5'], ['+Inf', '9'])
    """
    by_end = {float(le): le for le in les if le}
    below = [end for end in by_end if end <= bound_s]
    above = [end for end in by_end if bound_s < end < math.inf]
    kept = ([max(below)] if below else []) + ([min(above)] if above else [])
    return {by_end[end] for end in (*kept, math.inf) if end in by_end}


def around(found: Matrix, bound_s: float) -> dict[int, set[str]]:
    """By process, the buckets next to the bound, and the last one; without a last one nothing is known."""
    les: dict[int, list[str]] = {}
    for labels, target in zip(found.labels, found.target.tolist(), strict=True):
        les.setdefault(target, []).append(labels.get("le", ""))
    near = {target: edges_near(names, bound_s) for target, names in les.items()}
    return {target: edges for target, edges in near.items() if math.inf in map(float, edges)}


def processes(found: Matrix) -> set[Process]:
    """Who tells: series of one process have the same buckets."""
    return {(each.get("job", ""), each.get("instance", "")) for each in found.labels}


def thinned(streams: Iterable[Stream], bounds: Mapping[str, float]) -> list[Stream]:
    """Streams without the buckets that no bound needs.

    Parameters
    ----------
    bounds : mapping of str to float
        By the name of a bucket's series; streams of other names stay.
    """
    found = list(streams)
    les: dict[tuple[str, frozenset[tuple[str, str]]], list[str]] = {}
    for each in found:
        if each.name in bounds:
            les.setdefault(_histogram(each), []).append(each.labels.get("le", ""))
    near = {key: edges_near(names, bounds[key[0]]) for key, names in les.items()}
    return [
        each
        for each in found
        if each.name not in bounds or each.labels.get("le", "") in near[_histogram(each)]
    ]


def _histogram(bucket: Stream) -> tuple[str, frozenset[tuple[str, str]]]:
    """What the buckets of one histogram have in common."""
    return bucket.name, frozenset(pair for pair in bucket.labels.items() if pair[0] != "le")
