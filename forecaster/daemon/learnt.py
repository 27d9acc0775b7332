"""What a planner learnt while it ran, as plain values and back: broken ones are as good as none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple

from forecaster.capacity.belief import FACTORS
from forecaster.daemon.error_budget import Spent

Price = tuple[str, float]
"""A price of a violation, and what it was worked out from."""


def spent_by_day(days: Mapping[int, Spent]) -> dict[str, list[float]]:
    """An error budget, see `days_of`."""
    return {str(day): list(astuple(spent)) for day, spent in days.items()}


def days_of(kept: object) -> dict[int, Spent]:
    """The error budget by day."""
    if not isinstance(kept, dict):
        return {}
    return {int(day): Spent(*(float(each) for each in spent)) for day, spent in kept.items()}


def evidence_of(kept: object) -> tuple[float, ...]:
    """What units showed of their capacity."""
    if not isinstance(kept, list) or len(kept) != FACTORS.size:
        return ()
    return tuple(float(each) for each in kept)


def price_of(kept: object) -> Price | None:
    """The price in force."""
    if not isinstance(kept, list) or len(kept) != 2:
        return None
    return str(kept[0]), float(kept[1])
