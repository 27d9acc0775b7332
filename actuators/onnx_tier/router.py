"""Requests to units: least expected work first, a bounded queue in front, nothing lost on the way.

Interactive requests go before batch requests, which leave a part of every unit's slots to them.

A request waits here, not in a unit, as long as every ready unit is full, so that a unit that becomes
ready takes part of the backlog. A unit that drains gets no more. The unstarted requests of a unit
that dies go to the front of the queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from math import ceil

from actuators.onnx_tier.jobs import Answer, Job, RefusedError, Tokens
from actuators.onnx_tier.links import FrameLink
from actuators.onnx_tier.spec import TierService
from actuators.onnx_tier.waiting_line import WaitingLine
from actuators.onnx_tier.wire import Header
from forecaster.domain.profile import GenerativeProfile

ATTEMPTS_MAX = 3
"""Units that one request may outlive: after that it may be what kills them."""

BATCH_SLOTS_SHARE = 0.75
"""Share of a unit's slots that batch work may hold: a person finds the rest free."""

_CLASSIC_BATCHES_AHEAD = 2


@dataclass(slots=True, eq=False)
class RoutedUnit:
    """A unit as the router sees it."""

    unit_id: str
    link: FrameLink
    slots: int
    open: bool = True
    jobs: dict[int, Job] = field(default_factory=dict)
    work_s: float = 0.0


@dataclass(slots=True)
class _Lane:
    """One service's queue and units."""

    service: TierService
    waiting: WaitingLine
    units: dict[str, RoutedUnit] = field(default_factory=dict)


class Router:
    """Routes the requests of every service.

    Parameters
    ----------
    services : tuple of TierService
        What is served.
    on_idle : callable
        Called with the id of a closed unit when its last request was answered.
    retry_after_s : callable
        Seconds after which a refused client of a service should come back.
    """

    def __init__(
        self,
        services: tuple[TierService, ...],
        on_idle: Callable[[str], None],
        retry_after_s: Callable[[str], int],
    ) -> None:
        self._lanes = {
            each.service: _Lane(each, WaitingLine(each.queue_limit)) for each in services
        }
        self._units: dict[str, tuple[_Lane, RoutedUnit]] = {}
        self._on_idle = on_idle
        self._retry_after_s = retry_after_s
        self._numbers = count(1)
        self.accepting = True

    def submit(self, job: Job) -> None:
        """Accept a request: from here on it is answered.

        Raises
        ------
        RefusedError
            503 when the tier stops or the service's queue is full.
        """
        lane = self._lanes[job.service]
        if not self.accepting:
            raise RefusedError(503, "the tier is stopping", "stopping", 1)
        if not lane.waiting.has_room(job):
            raise self._refusal(lane, f"{len(lane.waiting)} requests already wait for a unit")
        job.job_id = next(self._numbers)
        lane.waiting.append(job)
        self._dispatch(lane)

    def cancel(self, job: Job) -> None:
        """Forget a request whose client has gone; nothing happens when it is done."""
        if job.done:
            return
        job.done = True
        lane = self._lanes[job.service]
        if job.unit_id in self._units:
            _, unit = self._units[job.unit_id]
            unit.link.send({"t": "cancel", "id": job.job_id})
            self._settle(lane, unit, job)
        else:
            lane.waiting.discard(job)

    def open_unit(self, unit_id: str, service: str, link: FrameLink) -> None:
        """Route to a unit that has become ready."""
        lane = self._lanes[service]
        profile = lane.service.unit_type.profile
        ahead = 1 if isinstance(profile, GenerativeProfile) else _CLASSIC_BATCHES_AHEAD
        unit = RoutedUnit(unit_id, link, profile.max_batch * ahead)
        lane.units[unit_id] = unit
        self._units[unit_id] = (lane, unit)
        self._dispatch(lane)

    def close_unit(self, unit_id: str) -> None:
        """Route no more to a unit; `on_idle` tells when it has answered what it holds."""
        found = self._units.get(unit_id)
        if found is None:
            self._on_idle(unit_id)
            return
        lane, unit = found
        unit.open = False
        lane.units.pop(unit_id, None)
        if not unit.jobs:
            self._on_idle(unit_id)

    def lose_unit(self, unit_id: str, why: str = "was lost in mid-answer") -> None:
        """Move a dead unit's unstarted requests to the queue; end its started streams with `why`."""
        found = self._units.pop(unit_id, None)
        if found is None:
            return
        lane, unit = found
        lane.units.pop(unit_id, None)
        for job in sorted(unit.jobs.values(), key=lambda each: each.job_id, reverse=True):
            if job.delivered:
                job.push(RefusedError(502, f"unit {unit_id} {why}", "unit_lost"))
            elif job.attempts >= ATTEMPTS_MAX:
                job.push(RefusedError(502, f"{job.attempts} units were lost with it", "unit_lost"))
            else:
                job.restart()
                lane.waiting.put_back(job)
        unit.jobs.clear()
        self._dispatch(lane)

    def in_flight(self, unit_id: str) -> int:
        """Requests that a unit holds."""
        found = self._units.get(unit_id)
        return len(found[1].jobs) if found else 0

    def work_s(self, unit_id: str) -> float:
        """Expected seconds of work that a unit holds."""
        found = self._units.get(unit_id)
        return found[1].work_s if found else 0.0

    def waiting(self, service: str) -> int:
        """Requests of a service that wait for a unit."""
        return len(self._lanes[service].waiting)

    def backlog_s(self, service: str) -> float:
        """Seconds in which the units of a service do the work that waits and that they hold."""
        lane = self._lanes[service]
        work_s = sum(job.work_s for job in lane.waiting)
        work_s += sum(unit.work_s for unit in lane.units.values())
        return work_s / max(1, len(lane.units))

    def held(self) -> int:
        """Requests accepted and not yet answered, over all services."""
        waiting = sum(len(lane.waiting) for lane in self._lanes.values())
        return waiting + sum(len(unit.jobs) for _, unit in self._units.values())

    def expire(self) -> None:
        """Refuse requests that have waited longer than their service allows."""
        now_s = time.monotonic()
        for lane in self._lanes.values():
            wait_s = lane.service.queue_wait_s
            for job in lane.waiting.pop_arrived_before(now_s - wait_s):
                job.push(self._refusal(lane, f"no unit within {wait_s:g} s"))

    def refuse_waiting(self) -> None:
        """Refuse what still waits: the tier's grace is over."""
        for lane in self._lanes.values():
            while lane.waiting:
                lane.waiting.pop().push(RefusedError(503, "the tier is stopping", "stopping", 1))

    def take(self, unit_id: str, header: Header, body: bytes) -> None:
        """Take what a unit sent: tokens, an answer or a refusal."""
        found = self._units.get(unit_id)
        if found is None:
            return
        lane, unit = found
        if header["t"] == "tokens":
            for job_id, token, finish, reused in header["r"]:
                if (job := unit.jobs.get(job_id)) is not None:
                    job.reused_tokens += reused
                    job.push(Tokens(token, finish))
                    if finish:
                        self._settle(lane, unit, job)
        elif (job := unit.jobs.get(header["id"])) is not None:
            if header["t"] == "answer":
                job.push(Answer(header["outputs"], body))
            else:
                job.push(RefusedError(400, header["error"], "invalid_request"))
            self._settle(lane, unit, job)

    def _settle(self, lane: _Lane, unit: RoutedUnit, job: Job) -> None:
        """Take an answered or cancelled job off its unit, and use the place that it leaves."""
        del unit.jobs[job.job_id]
        unit.work_s = unit.work_s - job.work_s if unit.jobs else 0.0
        if unit.open:
            self._dispatch(lane)
        elif not unit.jobs:
            self._on_idle(unit.unit_id)

    def _dispatch(self, lane: _Lane) -> None:
        while (job := lane.waiting.first) is not None:
            unit = least_loaded(lane.units.values(), job.batch)
            if unit is None:
                return
            lane.waiting.pop()
            job.unit_id = unit.unit_id
            job.attempts += 1
            unit.jobs[job.job_id] = job
            unit.work_s += job.work_s
            # An idle unit gets it now; a busy one reads its socket after the pass anyway.
            at_once = len(unit.jobs) == 1
            unit.link.send(job.header | {"id": job.job_id}, job.body, at_once=at_once)

    def _refusal(self, lane: _Lane, why: str) -> RefusedError:
        name = lane.service.service
        return RefusedError(503, f"{name}: {why}", "overloaded", self._retry_after_s(name))


def least_loaded(units: Iterable[RoutedUnit], batch: bool = False) -> RoutedUnit | None:
    """Return the unit with the least expected work among those with a slot free for this class."""
    share = BATCH_SLOTS_SHARE if batch else 1.0
    free = (each for each in units if each.open and len(each.jobs) < ceil(each.slots * share))
    return min(free, key=lambda each: (each.work_s, len(each.jobs)), default=None)
