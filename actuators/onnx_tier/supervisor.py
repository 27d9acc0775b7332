"""Makes, watches and ends units: orders in, life-cycle edges out, requests handed to the router."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from actuators.onnx_tier.fleet import FleetTable, Unit
from actuators.onnx_tier.links import FrameLink, listen_for_units
from actuators.onnx_tier.pace import Pace
from actuators.onnx_tier.placement import ON_CPU, StartPlan
from actuators.onnx_tier.replacements import Replacements
from actuators.onnx_tier.retry_after import retry_after_s
from actuators.onnx_tier.router import Router
from actuators.onnx_tier.spec import TierSpec
from actuators.onnx_tier.unit_watch import watch
from actuators.onnx_tier.warm_up import warm_up_answer, warm_up_frame
from actuators.onnx_tier.wire import Header
from actuators.onnx_tier.zygote_host import ZygoteHost, kill
from actuators.order_book import OrderBook, of_service
from forecaster.domain.errors import CapacityDeniedError, UnitGoneError
from forecaster.domain.lifecycle import LIVE_STATES, WARMING_STATES, UnitState
from forecaster.domain.ports import Clock
from forecaster.domain.units import Fleet

log = logging.getLogger("onnx_tier")

_STOP_WITHIN_S, _EXIT_REPORT_S, _LAST_WORDS_S = 5.0, 1.0, 0.2


class Supervisor:
    """The owner of every unit of a tier.

    Parameters
    ----------
    spec : TierSpec
        What is served, and the limits.
    tier : str
        Identity of this tier's numbering.
    clock : Clock
        Stamps orders and events.
    socket_path : Path
        Where units connect.
    plan : StartPlan
        How and where units start.
    caches : Path
        Folder of the caches that are handed over.
    """

    def __init__(
        self,
        spec: TierSpec,
        tier: str,
        clock: Clock,
        socket_path: Path,
        plan: StartPlan = ON_CPU,
        caches: Path = Path(),
    ) -> None:
        self._spec = spec
        self._services = {each.service: each for each in spec.lanes}
        self._lanes_of = {
            each.service: [own.service for own in each.lanes] for each in spec.services
        }
        self.clock = clock
        self._socket_path = socket_path
        self._plan = plan
        self.fleet = FleetTable(tier, clock)
        self.pace = Pace()
        self.router = Router(spec.lanes, self._release, self.retry_after_s, caches)
        self._orders = OrderBook()
        self._replacements = Replacements(time.monotonic)
        self._zygote = ZygoteHost(self, socket_path, plan)
        self._server: asyncio.AbstractServer | None = None
        self._monitor: asyncio.Task[None] | None = None
        self._lead_s: dict[str, float] = {}
        self._stopping = False
        self._told_cpu = False

    async def start(self) -> None:
        """Listen for units, start the zygote and the watch."""
        self._server = await listen_for_units(
            self._socket_path, self._on_unit_frame, self._on_unit_lost
        )
        await self._zygote.start()
        self._monitor = asyncio.create_task(watch(self, self._spec))

    @property
    def lanes(self) -> tuple[str, ...]:
        """What units are run for: services, and the pools or types of those that have several."""
        return tuple(self._services)

    def lanes_of(self, service: str) -> tuple[str, ...]:
        """The names under which the units of a service are run: its own, or those of its pools or types."""
        return tuple(self._lanes_of.get(service, (service,)))

    def batches_with(self, name: str) -> str:
        """The service whose batch work is told with these units; of several types with the first's."""
        lane = self._services.get(name)
        if lane is None or not lane.type_paths:
            return name
        return lane.public if name == self._lanes_of[lane.public][0] else ""

    @property
    def services(self) -> tuple[str, ...]:
        """What clients know."""
        return tuple(self._lanes_of)

    def observe(self, service: str) -> Fleet:
        """Report the units of a service or of one of its pools."""
        names = self.lanes_of(service)
        for name in names:
            of_service(self._services, name)
        in_flight = {each.unit_id: self.router.in_flight(each.unit_id) for each in self.fleet}
        units = (view for name in names for view in self.fleet.views(name, in_flight))
        return Fleet(service, self.clock.now_s(), tuple(units))

    def prewarm(self, service: str, units: int, reason: str, order_key: str) -> tuple[str, ...]:
        """Order units; the same ids again for the same key.

        Raises
        ------
        CapacityDeniedError
            When they would exceed `max_units_total`: none was ordered.
        """
        of_service(self._services, service)
        return self._orders.once(
            ("prewarm", service, order_key), lambda: self._prewarm(service, units, reason)
        )

    def drain(self, service: str, units: int, reason: str, order_key: str) -> tuple[str, ...]:
        """Drain warming units first, then the emptiest; the same ids again for the same key."""
        of_service(self._services, service)
        return self._orders.once(
            ("drain", service, order_key), lambda: self._drain_some(service, units, reason)
        )

    def drain_unit(self, unit_id: str, reason: str) -> None:
        """Drain one unit.

        Raises
        ------
        UnitGoneError
            When there is no such unit any more.
        """
        unit = self.fleet.get(unit_id)
        if unit is None or unit.state is UnitState.FAILED:
            raise UnitGoneError(f"unit {unit_id!r} is gone")
        if unit.state is not UnitState.DRAINING:
            self._drain(unit, reason)

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, answer accepted ones within `grace_s`, then end every process."""
        self._stopping = True
        self.router.accepting = False
        deadline_s = time.monotonic() + grace_s
        while self.router.held() and time.monotonic() < deadline_s:
            await asyncio.sleep(0.02)
        self.router.refuse_waiting()
        for unit in self.fleet:
            self.router.lose_unit(unit.unit_id, "stops with its tier, whose grace is over")
            if unit.state in LIVE_STATES - {UnitState.DRAINING}:
                self._drain(unit, "the tier is stopping")
            self._release(unit.unit_id)
        self.router.refuse_waiting()
        deadline_s = time.monotonic() + 1.0
        while time.monotonic() < deadline_s and any(u.pid and not u.exited for u in self.fleet):
            await asyncio.sleep(0.01)
        if self._monitor is not None:
            self._monitor.cancel()
        await self._zygote.stop()
        if self._server is not None:
            self._server.close()

    def retry_after_s(self, service: str) -> int:
        """Seconds after which a refused client may find room."""
        lane = self.lanes_of(service)[0]
        lead_s = self._lead_s.get(lane, self._services[lane].unit_type.lead_time_s)
        backlog_s = self.router.backlog_s(service)
        return retry_after_s(self.observe(service), lead_s, backlog_s, self.clock.speed)

    def _prewarm(self, service: str, units: int, reason: str) -> tuple[str, ...]:
        live, room = self.fleet.live(), self._spec.max_units_total
        if self._stopping:
            raise CapacityDeniedError("the tier is stopping", "start it again")
        if live + units > room:
            raise CapacityDeniedError(
                f"{units} more units of {service!r} are denied: {live} of {room} are taken",
                "raise max_units_total or drain another service",
            )
        kind = self._services[service]
        places = self._plan.places(kind, self.fleet.devices_taken(), units)
        ordered = tuple(self.fleet.order(kind, reason, place).unit_id for place in places)
        self._fork_cold_units()
        return ordered

    def _drain_some(self, service: str, units: int, reason: str) -> tuple[str, ...]:
        work_s = {each.unit_id: self.router.work_s(each.unit_id) for each in self.fleet}
        chosen = self.fleet.drain_order(service, units, work_s)
        for unit in chosen:
            self._drain(unit, reason)
        return tuple(unit.unit_id for unit in chosen)

    # -- what the zygote tells -------------------------------------------------------------------

    def zygote_started(self) -> None:
        """Order the processes of the units that waited for it."""
        self._fork_cold_units()

    def zygote_lost(self) -> None:
        """Give up the units whose processes it had not made yet."""
        for unit in self.fleet:
            if unit.state is UnitState.STARTING and unit.link is None:
                self.end(unit, "the zygote died before the unit started")

    def forked(self, unit_id: str, pid: int) -> None:
        """Note a unit's process; end it at once when nobody wants it any more."""
        unit = self.fleet.get(unit_id)
        if unit is not None:
            unit.pid = pid
        if unit is None or unit.released or unit.state is UnitState.FAILED:
            kill(pid)

    def not_forked(self, unit_id: str, reason: str) -> None:
        """Fail a unit that has no process."""
        if (unit := self.fleet.get(unit_id)) is not None:
            self.end(unit, f"no process could be made: {reason}")

    def exited(self, unit_id: str, how: str) -> None:
        """Record the end of a unit's process."""
        unit = self.fleet.get(unit_id)
        if unit is None:
            return
        unit.exited, unit.how_it_ended = True, how
        if unit.released or (unit.link is None and unit.state is not UnitState.STARTING):
            self.end(unit, how)
        else:
            # Its last words may still lie in its socket: they say why, the status only that.
            asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.end, unit, how)

    def _fork_cold_units(self) -> None:
        """Order a process for every cold unit; while there is no zygote, they stay cold."""
        if not self._zygote.alive:
            return
        for unit in self.fleet:
            if unit.state is UnitState.COLD:
                self.fleet.move(unit, UnitState.STARTING)
                self._zygote.fork(unit)

    # -- units --------------------------------------------------------------------------------

    def _on_unit_frame(self, link: FrameLink, header: Header, body: bytes) -> None:
        kind = header["t"]
        unit = self.fleet.get(header["unit_id"] if kind == "loading" else link.unit_id)
        if unit is None or unit.state is UnitState.FAILED:
            link.close()
            return
        unit.heard_s = time.monotonic()
        if kind in {"beat", "packed"}:
            unit.packed_s = header.get("seconds", unit.packed_s)
            self.pace.add(unit.service.service, header)
            return
        if kind == "loading":
            link.unit_id, unit.link = unit.unit_id, link
            if unit.state is UnitState.STARTING:
                self.fleet.move(unit, UnitState.LOADING)
        elif kind == "failed":
            self.end(unit, header["reason"])
        elif unit.state is UnitState.LOADING and kind == "loaded":
            self._warm(unit, link, header)
        elif unit.state is UnitState.WARMING:
            self._warmed(unit, link, warm_up_answer(header))
        else:
            self.router.take(unit.unit_id, header, body)

    def _warm(self, unit: Unit, link: FrameLink, header: Header) -> None:
        unit.provider = header["provider"]
        unit_type = unit.service.unit_type
        if unit_type.provider == "auto" and unit.provider.startswith("CPU") and not self._told_cpu:
            self._told_cpu = True
            log.warning("no CUDA device here: units with provider = 'auto' run on the CPU")
        self.fleet.move(unit, UnitState.WARMING)
        try:
            link.send(*warm_up_frame(unit_type, header["inputs"]))
        except TypeError as error:
            self.end(unit, f"no warm-up request can be made: {error}")

    def _warmed(self, unit: Unit, link: FrameLink, refusal: str | None) -> None:
        if refusal is None:
            return
        if refusal:
            self.end(unit, refusal)
            return
        self.fleet.move(unit, UnitState.READY)
        self._lead_s[unit.service.service] = (unit.lead_time_s or 0.0) / self.clock.speed
        self.router.open_unit(unit.unit_id, unit.service.service, link)

    def _on_unit_lost(self, link: FrameLink) -> None:
        unit = self.fleet.get(link.unit_id)
        if unit is None:
            return
        unit.link = None
        self.router.lose_unit(unit.unit_id)
        if unit.exited:
            self.end(unit, unit.how_it_ended)
            return
        # The zygote's report says how it ended; without one (a lost zygote) the silence will do.
        asyncio.get_running_loop().call_later(
            _EXIT_REPORT_S, self.end, unit, "its connection was lost"
        )

    def _drain(self, unit: Unit, reason: str) -> None:
        if unit.state is UnitState.COLD:
            self.fleet.move(unit, UnitState.GONE, reason)
            return
        warming = unit.state in WARMING_STATES
        self.fleet.move(unit, UnitState.DRAINING, reason)
        if warming:
            self.kill_released(unit)
        else:
            self.router.close_unit(unit.unit_id)

    def _release(self, unit_id: str) -> None:
        """Let a drained unit go: it holds no request any more."""
        unit = self.fleet.get(unit_id)
        if unit is None or unit.released or unit.state is not UnitState.DRAINING:
            return
        unit.released = True
        unit.ends_s = time.monotonic() + _STOP_WITHIN_S
        if unit.link is not None:
            unit.link.send({"t": "stop"})

    def kill_released(self, unit: Unit) -> None:
        """End the process of a unit whose end was ordered."""
        unit.released = True
        if unit.pid and not unit.exited:
            kill(unit.pid)

    def end(self, unit: Unit, how: str) -> None:
        """Record the end of a unit: gone when that was ordered, failed when it was not."""
        if unit.state in {UnitState.GONE, UnitState.FAILED}:
            return
        self.router.lose_unit(unit.unit_id)
        if unit.state is UnitState.DRAINING and unit.released:
            self.fleet.move(unit, UnitState.GONE)
            return
        log.error("unit %s failed: %s", unit.unit_id, how)
        served = unit.state is UnitState.READY
        self.fleet.move(unit, UnitState.FAILED, how)
        if unit.pid and not unit.exited:
            kill(unit.pid)
        if served and not self._stopping and self._replacements.allow(unit.service.service):
            self.fleet.order(unit.service, f"replaces {unit.unit_id}: {how}", unit.device)
            self._fork_cold_units()
