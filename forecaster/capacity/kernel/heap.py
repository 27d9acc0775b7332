"""A binary heap of integers in one row of an array: who of a batch finishes first."""

from __future__ import annotations

from forecaster.capacity.kernel.compiled import compiled
from forecaster.domain.demand import IntArray


@compiled
def push(heap: IntArray, size: int, key: int) -> None:
    """Add `key` to the heap of `size` keys."""
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if heap[above] <= key:
            break
        heap[at] = heap[above]
        at = above
    heap[at] = key


@compiled
def pop(heap: IntArray, size: int) -> None:
    """Remove the least key, `heap[0]`, from the heap of `size` keys."""
    last = size - 1
    key = heap[last]
    at = 0
    below = 1
    while below < last:
        if below + 1 < last and heap[below + 1] < heap[below]:
            below += 1
        if heap[below] >= key:
            break
        heap[at] = heap[below]
        at = below
        below = 2 * at + 1
    heap[at] = key
