"""Requests to units: least expected work first, a bounded queue in front, nothing lost on the way.

Interactive requests go before batch requests, which leave a part of every unit's slots to them.

A request waits here, not in a unit, as long as every ready unit is full, so that a unit that becomes
ready takes part of the backlog. A unit that drains gets no more. The unstarted requests of a unit
that dies go to the front of the queue.

Units of several types share one lane: a request goes where it is thought to be done first, its own work
counted by each type's profile. A service of two pools has a lane for each: a prefill unit makes the first token and hands the cache
over, then the request waits for a decode unit with a free slot and room for its tokens. While too many
wait there, no more prompts are read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from actuators.onnx_tier.handovers import Handovers
from actuators.onnx_tier.jobs import Answer, Handed, Job, RefusedError, Tokens, expected_work_s
from actuators.onnx_tier.links import FrameLink
from actuators.onnx_tier.routed import RoutedUnit, batch_jobs, batch_slots, least_loaded
from actuators.onnx_tier.spec import TierService
from actuators.onnx_tier.waiting_line import WaitingLine
from actuators.onnx_tier.wire import Header
from forecaster.domain.pools import Pool, of_pool, pool_service
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, Profile

LOSSES_MAX = 3
"""Units that one request may outlive: after that it may be what kills them."""

_CLASSIC_BATCHES_AHEAD = 2


@dataclass(slots=True)
class _Lane:
    """One service's queue and units."""

    service: TierService
    waiting: WaitingLine
    units: dict[str, RoutedUnit] = field(default_factory=dict)
    before: _Lane | None = None
    after: _Lane | None = None
    kinds: dict[str, Profile] = field(default_factory=dict)

    def own_s(self, job: Job) -> dict[str, float] | None:
        """Of several types: what a request takes on each that can hold it; on any, where none can."""
        if not self.kinds:
            return None
        tokens = int(job.header.get("max_tokens", 0))
        found = {
            kind: expected_work_s(profile, job.prompt_tokens, tokens)
            for kind, profile in self.kinds.items()
        }
        able = {kind: each for kind, each in found.items() if _holds(self.kinds[kind], job)}
        return able or found

    @property
    def crowded(self) -> bool:
        """Whether so many read prompts wait for the pool behind it that no more are to be read."""
        after = self.after
        return after is not None and len(after.waiting) >= after.service.unit_type.profile.max_batch


def _holds(profile: Profile, job: Job) -> bool:
    return isinstance(profile, ClassicProfile) or job.tokens <= profile.kv_tokens


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
    caches : Path
        Folder of the caches that are handed over.
    """

    def __init__(
        self,
        services: tuple[TierService, ...],
        on_idle: Callable[[str], None],
        retry_after_s: Callable[[str], int],
        caches: Path = Path(),
    ) -> None:
        self._lanes: dict[str, _Lane] = {}
        for each in services:
            name = each.public if each.type_paths else each.service
            if name not in self._lanes:
                own = replace(each, service=name)
                self._lanes[name] = _Lane(own, WaitingLine(each.queue_limit))
            if each.type_paths:
                self._lanes[name].kinds[each.service] = each.unit_type.profile
        self._lane_of = {
            **self._lanes,
            **{k: lane for lane in self._lanes.values() for k in lane.kinds},
        }
        for lane in self._lanes.values():
            if lane.service.pool == Pool.DECODE:
                public = of_pool(lane.service.service)[0]
                lane.before = self._lanes[pool_service(public, Pool.PREFILL)]
                lane.before.after = lane
        self._caches = caches
        self.handovers = Handovers()
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
        lane = self._entrance(job.service)
        if not self.accepting:
            raise RefusedError(503, "the tier is stopping", "stopping", 1)
        if not lane.waiting.has_room(job):
            raise self._refusal(lane, f"{len(lane.waiting)} requests already wait for a unit")
        job.job_id = next(self._numbers)
        self._enter(lane, job)
        lane.waiting.append(job)
        self._dispatch(lane)

    def cancel(self, job: Job) -> None:
        """Forget a request whose client has gone; nothing happens when it is done."""
        if job.done:
            return
        job.done = True
        job.let_go()
        lane = self._lanes[job.lane]
        if job.unit_id in self._units:
            _, unit = self._units[job.unit_id]
            unit.link.send({"t": "cancel", "id": job.job_id})
            self._settle(lane, unit, job)
        else:
            lane.waiting.discard(job)

    def open_unit(self, unit_id: str, service: str, link: FrameLink) -> None:
        """Route to a unit that has become ready."""
        lane = self._lane_of[service]
        profile = lane.kinds.get(service, lane.service.unit_type.profile)
        ahead = 1 if isinstance(profile, GenerativeProfile) else _CLASSIC_BATCHES_AHEAD
        unit = RoutedUnit(unit_id, link, profile.max_batch * ahead, kind=service)
        if lane.before is not None and isinstance(profile, GenerativeProfile):
            unit.room_tokens = profile.kv_tokens
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
            job.losses += 1
            if job.cache is not None and lane.before is not None and job.losses < LOSSES_MAX:
                job.unit_id = ""  # nothing was made of it yet: another one takes the cache
                lane.waiting.put_back(job)
            elif job.delivered:
                job.push(RefusedError(502, f"unit {unit_id} {why}", "unit_lost"))
            elif job.losses >= LOSSES_MAX:
                job.push(RefusedError(502, f"{job.losses} units were lost with it", "unit_lost"))
            else:
                job.restart()
                entrance = lane.before or lane
                self._enter(entrance, job)
                entrance.waiting.put_back(job)
        unit.jobs.clear()
        self._dispatch(lane.before or lane)
        self._dispatch(lane)

    def in_flight(self, unit_id: str) -> int:
        """Requests that a unit holds."""
        found = self._units.get(unit_id)
        return len(found[1].jobs) if found else 0

    def work_s(self, unit_id: str) -> float:
        """Expected seconds of work that a unit holds."""
        found = self._units.get(unit_id)
        return found[1].work_s if found else 0.0

    @property
    def queues(self) -> tuple[str, ...]:
        """Where requests wait: services, and either pool of those that have two."""
        return tuple(self._lanes)

    def waiting(self, service: str) -> int:
        """Requests of a service that wait for a unit."""
        return len(self._lanes[service].waiting)

    def batch_held(self, service: str) -> int:
        """Requests of the batch class that units hold."""
        return sum(batch_jobs(each) for each in self._entrance(service).units.values())

    def batch_slots(self, service: str) -> int:
        """Requests of the batch class that its ready units may hold beside the interactive ones."""
        return sum(map(batch_slots, self._entrance(service).units.values()))

    def backlog_s(self, service: str) -> float:
        """Seconds in which the units of a service do the work that waits and that they hold."""
        lane = self._entrance(service)
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
            for job in lane.waiting.pop_queued_before(now_s - wait_s):
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
                    if lane.before is not None and job.cache is not None:
                        self.handovers.went_on(job.service, time.monotonic() - job.queued_s)
                        job.let_go()
                    job.push(Tokens(token, finish))
                    if finish:
                        self._settle(lane, unit, job)
        elif (job := unit.jobs.get(header["id"])) is not None:
            if header["t"] == "handed":
                self._hand_over(lane, unit, job, header)
                return
            if header["t"] == "answer":
                job.push(Answer(header["outputs"], body))
            else:
                status = header.get("status", 400)
                code = "invalid_request" if status == 400 else "overloaded"
                job.push(RefusedError(status, header["error"], code))
            self._settle(lane, unit, job)
        elif header["t"] == "handed":  # of a request that is wanted no more
            self._cache_of(header["id"]).unlink(missing_ok=True)

    def _entrance(self, service: str) -> _Lane:
        """The lane in which requests of a service begin."""
        return self._lane_of.get(service) or self._lanes[pool_service(service, Pool.PREFILL)]

    def _enter(self, lane: _Lane, job: Job) -> None:
        """Let a job begin in a lane: what its units will do for it."""
        job.lane = lane.service.service
        if lane.after is not None:
            profile = lane.service.unit_type.profile
            job.work_s = expected_work_s(profile, job.prompt_tokens, 0)

    def _hand_over(self, lane: _Lane, unit: RoutedUnit, job: Job, header: Header) -> None:
        """Let a request whose prompt was read wait for a decode unit."""
        after = lane.after
        assert after is not None
        job.reused_tokens += header["reused"]
        job.cache = Handed(self._cache_of(job.job_id), header["token"])
        self.handovers.handed(job.service, header["bytes"])
        after.waiting.append(job)  # first: it counts before the next prompt is read
        self._settle(lane, unit, job)
        job.unit_id, job.lane = "", after.service.service
        profile = after.service.unit_type.profile
        assert isinstance(profile, GenerativeProfile)
        decoding = replace(profile, gamma_s=0.0)
        job.work_s = expected_work_s(decoding, job.prompt_tokens, job.header["max_tokens"])
        job.queued_s = time.monotonic()
        job.push(Tokens(header["token"], ""))
        self._dispatch(after)

    def _cache_of(self, job_id: int) -> Path:
        return self._caches / str(job_id)

    def _settle(self, lane: _Lane, unit: RoutedUnit, job: Job) -> None:
        """Take an answered or cancelled job off its unit, and use the place that it leaves."""
        del unit.jobs[job.job_id]
        unit.work_s = unit.work_s - job.work_s if unit.jobs else 0.0
        unit.room_tokens += job.tokens
        if unit.open:
            self._dispatch(lane)
        elif not unit.jobs:
            self._on_idle(unit.unit_id)

    def _dispatch(self, lane: _Lane) -> None:
        while not lane.crowded and (job := lane.waiting.first) is not None:
            own_s = lane.own_s(job)
            unit = least_loaded(lane.units.values(), job.batch, job.tokens, own_s)
            if unit is None:
                return
            if own_s is not None:
                job.work_s = own_s[unit.kind]
            lane.waiting.pop()
            job.unit_id = unit.unit_id
            unit.jobs[job.job_id] = job
            unit.work_s += job.work_s
            unit.room_tokens -= job.tokens
            # An idle unit gets it now; a busy one reads its socket after the pass anyway.
            at_once = len(unit.jobs) == 1
            header = job.header | self._stage(lane, job) | {"id": job.job_id}
            unit.link.send(header, job.body, at_once=at_once)
            if lane.before is not None:
                self._dispatch(lane.before)

    def _stage(self, lane: _Lane, job: Job) -> Header:
        """What a unit of a pool is told beside the request."""
        if lane.after is not None:
            job.cache = Handed(self._cache_of(job.job_id), 0)
            return {"t": "read", "file": str(job.cache.path)}
        if job.cache is None:
            return {}
        return {"t": "resume", "file": str(job.cache.path), "token": job.cache.token}

    def _refusal(self, lane: _Lane, why: str) -> RefusedError:
        name = lane.service.service
        public = name if lane.kinds else lane.service.public
        return RefusedError(503, f"{public}: {why}", "overloaded", self._retry_after_s(name))
