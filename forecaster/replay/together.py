"""Several services played live on the same GPUs: one quota, one clock, one plan for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from forecaster.domain.demand import FloatArray, IntArray, RequestBatch
from forecaster.domain.errors import DataError
from forecaster.planning.bounds import Bounds
from forecaster.planning.course import lead_slots
from forecaster.planning.deferred import FILL, extra_units, spare_erl
from forecaster.planning.share import Claim, claim, shares
from forecaster.replay import rules
from forecaster.replay.autopilot import SLOT_TICKS
from forecaster.replay.contest import KNOBS, Court
from forecaster.replay.live import Live
from forecaster.replay.match import match, money, unit_seconds
from forecaster.replay.scene import SLOT_S
from forecaster.replay.scorecard import Score
from forecaster.replay.timeline import Timeline
from forecaster.replay.trough import Trough

DRAIN_S = 60.0
"""A drain is thought to take no longer: GPUs are asked for this long, and a tick, before the lead."""
APART_S = 3600.0
"""The scored windows of two services may begin this far apart: their last requests do."""
LOOSEST = 0.5
"""Below this share kept there is nothing to compare a clairvoyant with."""
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Member:
    """One service that shares the GPUs.

    Attributes
    ----------
    court : Court
        Its own trace, unit and SLO.
    priority : int
        Larger goes first.
    batch : RequestBatch or None
        Requests that may wait, and fill what its units have to spare.
    deadline_s : float
        From the arrival of a batch request to the moment by which it must be answered.
    """

    name: str
    court: Court
    priority: int = 0
    batch: RequestBatch | None = None
    deadline_s: float = 86_400.0

    @property
    def peak_units(self) -> int:
        """Units that the busiest five minutes need, known in hindsight."""
        scene = self.court.scene
        slots = scene.actual_erl.reshape(-1, SLOT_TICKS).mean(axis=1)
        return int(scene.need(slots.max(keepdims=True))[0])


@dataclass(frozen=True)
class Part:
    """What became of one service.

    Attributes
    ----------
    refused_s : float
        Unit-seconds that it would have held alone and others had.
    clairvoyant_s : float
        Unit-seconds of a tide clairvoyant that keeps as much of the SLO and shares with nobody; NaN
        where it was not asked.
    batch, batch_late : int
        Batch requests, and those that were not answered by their deadline.
    """

    name: str
    priority: int
    gpus: int
    fleet: Timeline
    score: Score
    unit_s: float
    cost: float
    refused_s: float
    clairvoyant_s: float
    batch: int = 0
    batch_late: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What JSON says."""
        return {
            "priority": self.priority,
            "unit_hours": self.unit_s / 3600,
            "gpu_hours": self.unit_s * self.gpus / 3600,
            "peak_units": int(self.fleet.ready.max()),
            "requests": self.score.requests,
            "attainment": self.score.attainment,
            "refused_unit_hours": self.refused_s / 3600,
            "cost": self.cost,
            "clairvoyant_unit_hours": self.clairvoyant_s / 3600,
            "batch_requests": self.batch,
            "batch_late": self.batch_late,
        }


@dataclass(frozen=True)
class Together:
    """What became of all of them.

    Attributes
    ----------
    start_s : float
        First scored moment, epoch seconds.
    quota_gpus : int
        What there was.
    gpus : int64[K]
        GPUs held by ready, warming and draining units after each planning tick.
    """

    start_s: float
    quota_gpus: int
    parts: tuple[Part, ...]
    gpus: IntArray

    @property
    def vs_clairvoyant(self) -> float:
        """GPU-hours over those of the clairvoyants; NaN where they were not asked."""
        mine = sum(each.unit_s * each.gpus for each in self.parts)
        return mine / sum(each.clairvoyant_s * each.gpus for each in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """What JSON says."""
        return {
            "quota_gpus": self.quota_gpus,
            "most_gpus": int(self.gpus.max()),
            "gpu_hours": sum(each.unit_s * each.gpus for each in self.parts) / 3600,
            "cost": sum(each.cost for each in self.parts),
            "vs_clairvoyant": self.vs_clairvoyant,
            "services": {each.name: each.to_dict() for each in self.parts},
        }


def play_together(
    members: Sequence[Member],
    gpus: int,
    progress: Progress = lambda name, share: None,
    clairvoyant: bool = True,
) -> Together:
    """Play every member live under one quota.

    Parameters
    ----------
    gpus : int
        The quota.
    clairvoyant : bool
        Whether to compare each service with a tide clairvoyant of the same attainment.

    Raises
    ------
    DataError
        When the members' scored windows are not of one length.
    """
    with threadpool_limits(limits=1):
        order = sorted(members, key=lambda each: -each.priority)
        lives = []
        for i, each in enumerate(order):
            progress(f"{each.name}: forecasts", 0.3 * i / len(order))
            lives.append(Live(each.court.autopilot, each.court.chunks(), each.court.terms.seed))
        starts_s = [live.pilot.scene.start_s for live in lives]
        if len({live.pilot.ticks for live in lives}) > 1 or np.ptp(starts_s) > APART_S:
            raise DataError("the scored days of the logs differ", "cut them to the same days")
        found = _Commons(order, lives, gpus)
        ticks = lives[0].pilot.ticks
        for k in range(ticks):
            if k % 12 == 0:
                progress("playing", 0.3 + 0.5 * k / ticks)
            found.tick(k)
        parts = []
        for i, (each, live) in enumerate(zip(order, lives, strict=True)):
            progress(f"{each.name}: verdict", 0.8 + 0.2 * i / len(order))
            parts.append(_part(each, live, found.refused_s[i], clairvoyant))
    progress("done", 1.0)
    start_s = lives[0].pilot.scene.start_s
    return Together(start_s, gpus, tuple(parts), np.array(found.taken))


class _Commons:
    """The quota, planning tick by planning tick; members in order of priority."""

    def __init__(self, members: Sequence[Member], lives: Sequence[Live], gpus: int) -> None:
        self.members, self.lives, self.gpus = members, lives, gpus
        self.sizes = [live.pilot.scene.unit.gpus for live in lives]
        self.refused_s = np.zeros(len(lives))
        self.taken: list[int] = []
        floors = [live.pilot.scene.limits.min_units for live in lives]
        left = gpus - sum(size * floor for size, floor in zip(self.sizes, floors, strict=True))
        for each, live, size, floor in zip(members, lives, self.sizes, floors, strict=True):
            live.begin(min(live.present, floor + max(left, 0) // size))
            left -= (live.present - floor) * size
            if each.batch is not None:
                live.trough = Trough(each.batch, each.deadline_s, live.pilot.scene.unit.profile)

    def tick(self, k: int) -> None:
        """Plan together, then order what there is room for, the higher priority first."""
        outside = [live.observe(k) for live in self.lives]
        bounds = [self._bounds(i, k, outside[i]) for i in range(len(outside))]
        held = [
            live.pilot.held(k, live.present, ahead, within)
            for live, ahead, within in zip(self.lives, outside, bounds, strict=True)
        ]
        claims = [self._claim(i, k, outside[i], held[i]) for i in range(len(held))]
        given = shares(claims, self.gpus)
        left = self.gpus - self._held_gpus()
        for i, live in enumerate(self.lives):
            share, pilot, size = given[i], live.pilot, self.sizes[i]
            if share is not None:
                inside = share.inside(bounds[i])
                self.refused_s[i] += SLOT_S * share.refused_units(pilot.scene.lead_ticks)
                held[i] = pilot.held(k, live.present, outside[i], inside)
            more = pilot.due(held[i], live.present) - live.present
            step = pilot.scene.limits.step_units
            more = min(more, max(left // (size * step), 0) * step)
            left -= max(more, 0) * size
            before = live.ready
            live.order(k, live.present + more)
            if live.trough is not None:
                ready = np.array([min(before, live.ready)])
                seen_erl = live.pilot.came_erl(k - 1)
                load_erl = np.maximum(live.pilot.high_erl(k)[:1], seen_erl)
                live.fill(k, SLOT_S * float(spare_erl(_carried(live, ready), load_erl)[0]))
        self.taken.append(self._held_gpus())

    def _bounds(self, i: int, k: int, outside: FloatArray) -> Bounds:
        """A service's own floors and ceilings; batch work that is due raises the floor."""
        live = self.lives[i]
        within = live.pilot.within(outside.shape[0])
        if live.trough is None:
            return within
        now_s = live.pilot.scene.start_s + k * SLOT_S
        held = live.pilot.held(k, live.present, outside)
        spare = spare_erl(_carried(live, held), live.pilot.high_erl(k)[: held.size])
        unit_erl = FILL * float(_carried(live, np.array([held.max() + 1]))[0]) / (held.max() + 1)
        backlog = live.trough.backlog(now_s)
        extra = extra_units(backlog, spare, now_s, unit_erl, within.most - held)
        least = np.where(extra > 0, held + extra, within.least)
        return Bounds(least, within.most, within.reason)

    def _held_gpus(self) -> int:
        return sum(
            size * (live.present + live.draining)
            for live, size in zip(self.lives, self.sizes, strict=True)
        )

    def _claim(self, i: int, k: int, outside: Any, held: IntArray) -> Claim:
        live, member = self.lives[i], self.members[i]
        scene = live.pilot.scene
        return claim(
            member.name,
            outside,
            held,
            live.pilot.within(outside.shape[0]),
            live.pilot.policy(k),
            present=live.present,
            gpus=self.sizes[i],
            priority=member.priority,
            price_per_hour=scene.unit.price_per_hour,
            prices=scene.unit.step_prices(scene.table.split),
            lead_slots=lead_slots(scene.lead_s + SLOT_S + DRAIN_S),
        )


def _carried(live: Live, units: IntArray) -> FloatArray:
    """Load that so many units carry inside the SLO, erlangs."""
    scene = live.pilot.scene
    carried = np.concatenate([[0.0], scene.capacities_rps]) * scene.work_s * live.believed
    return np.asarray(carried[np.minimum(units, carried.size - 1)])


def _part(member: Member, live: Live, refused_s: float, clairvoyant: bool) -> Part:
    court, scene = member.court, member.court.scene
    fleet = live.fleet
    score = live.end()
    unit_s = unit_seconds(fleet, score)
    floor_s = float("nan")
    if clairvoyant and score.attainment > LOOSEST:
        kept = min(score.attainment, 1 - 1e-4)
        units = partial(rules.tide_clairvoyant, scene)
        found = match(units, KNOBS, scene, court.minute_requests, court.judge, attainment=kept)
        floor_s = unit_seconds(found.fleet, found.score)
    return Part(
        member.name, member.priority, scene.unit.gpus, fleet, score, unit_s,
        money(scene, fleet, score), refused_s, floor_s,
        0 if live.trough is None else len(live.trough.requests),
        0 if live.trough is None else live.trough.late(scene.end_s),
    )  # fmt: skip
