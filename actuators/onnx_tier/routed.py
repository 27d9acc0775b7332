"""A unit as the router sees it, and which one gets the next request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, inf

from actuators.onnx_tier.jobs import Job
from actuators.onnx_tier.links import FrameLink

BATCH_SLOTS_SHARE = 0.75
"""Share of a unit's slots that batch work may hold: a person finds the rest free."""


@dataclass(slots=True, eq=False)
class RoutedUnit:
    """A unit as the router sees it; `kind` is the lane name of its type."""

    unit_id: str
    link: FrameLink
    slots: int
    open: bool = True
    room_tokens: float = inf
    kind: str = ""
    jobs: dict[int, Job] = field(default_factory=dict)
    work_s: float = 0.0


def batch_jobs(unit: RoutedUnit) -> int:
    """Requests of the batch class that a unit holds."""
    return sum(job.batch for job in unit.jobs.values())


def batch_slots(unit: RoutedUnit) -> int:
    """Requests of the batch class that it may hold beside the interactive ones that it holds."""
    if not unit.open:
        return 0
    interactive = len(unit.jobs) - batch_jobs(unit)
    return max(0, ceil(unit.slots * BATCH_SLOTS_SHARE) - interactive)


def least_loaded(
    units: Iterable[RoutedUnit],
    batch: bool = False,
    tokens: int = 0,
    own_s: Mapping[str, float] | None = None,
) -> RoutedUnit | None:
    """Return the unit with the least expected work among those with a slot and room free for it.

    Parameters
    ----------
    own_s : mapping of str to float, or None
        Units of several types: seconds that the request itself takes on each kind that can take it;
        it goes where it is thought to be done first.
    """
    share = BATCH_SLOTS_SHARE if batch else 1.0
    free = (
        each
        for each in units
        if each.open and len(each.jobs) < ceil(each.slots * share) and each.room_tokens >= tokens
    )
    if own_s is not None:
        able = (each for each in free if each.kind in own_s)
        return min(
            able, key=lambda each: (each.work_s + own_s[each.kind], len(each.jobs)), default=None
        )
    return min(free, key=lambda each: (each.work_s, len(each.jobs)), default=None)
