"""A ring keeps the newest, numbers everything, and counts what it dropped."""

from __future__ import annotations

import pytest

from actuators.onnx_tier.rings import NumberedRing


@pytest.fixture
def ring() -> NumberedRing[int]:
    ring = NumberedRing[int](5)
    for _ in range(12):
        ring.append(lambda seq: seq)
    return ring


@pytest.mark.parametrize(
    ("after", "limit", "expected"),
    [
        (0, 99, [8, 9, 10, 11, 12]),
        (7, 99, [8, 9, 10, 11, 12]),
        (9, 2, [10, 11]),
        (12, 9, []),
        (99, 9, []),
        (0, 0, []),
        (-5, 1, [8]),
    ],
)
def test_reading_after_a_number(
    ring: NumberedRing[int], after: int, limit: int, expected: list[int]
) -> None:
    assert ring.after(after, limit) == expected


def test_counts(ring: NumberedRing[int]) -> None:
    assert (ring.last, ring.dropped) == (12, 7)
    assert NumberedRing[int](3).after(0, 9) == []
