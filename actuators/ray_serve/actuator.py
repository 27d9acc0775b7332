"""A tier whose units are replicas: orders are numbers, Ray Serve chooses places and victims."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from actuators.book import Book, fenced
from actuators.book_file import keep, recalled
from actuators.order_book import OrderBook, check_units, of_service
from actuators.ray_serve.api import RayServe, Seen, Target
from actuators.ray_serve.following import fleet_of, followed, unit_id_of
from forecaster.domain.errors import ActuatorError, CapacityDeniedError, UnitGoneError
from forecaster.domain.lifecycle import WARMING_STATES, UnitState
from forecaster.domain.ports import Clock
from forecaster.domain.units import Fleet, RequestRecord, UnitEvent

LOOKS, PAUSE_S = 20, 0.25
"""How often, and how many real seconds apart, an order looks for what it brings about."""


class RayServeActuator:
    """An `Actuator` over Ray Serve's external scaling.

    Parameters
    ----------
    api : RayServe
        The cluster.
    clock : Clock
        The installation's clock.
    targets : mapping of str to Target
        By service.
    folder : Path
        Where the book of units is kept; it exists.
    autoscaled : bool
        Ray's autoscaler brings nodes: what finds no place at once is not denied.
    place_wait_s : float
        A replica that has not run after so long has found no place: until it has, more are denied.
    pause : callable
        Waits real seconds.
    """

    def __init__(
        self,
        api: RayServe,
        clock: Clock,
        targets: Mapping[str, Target],
        folder: Path,
        *,
        autoscaled: bool = False,
        place_wait_s: float = 600.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api, self._clock, self._targets = api, clock, dict(targets)
        self._file, self._place_wait_s, self._pause = folder / "ray_serve.json", place_wait_s, pause
        self._book = recalled(self._file)
        self._autoscaled = autoscaled
        self._orders = OrderBook()
        self._unmade_since: dict[str, float] = {}
        self._looked_s: dict[str, float] = {}
        self._turn = threading.RLock()  # the threads of our API ask as well

    def close(self) -> None:
        """Let the connections go."""
        self._api.close()

    @property
    def tier(self) -> str:
        """Identity of this tier's numbering."""
        with self._turn:
            self._look_everywhere()
            return self._book.tier

    def observe(self, service: str) -> Fleet:
        """Every unit of `service` that is alive or failed in the last hour."""
        with self._turn:
            seen = self._look(service)
            since_s = self._unmade_since.get(service, self._clock.now_s())
            return fleet_of(self._book, service, seen, self._clock.now_s(), since_s)

    def lead(self, fence: int) -> None:
        """Refuse the orders of earlier leaders from now on."""
        with self._turn:
            self._write(fenced(self._book, fence))

    def prewarm(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Want `units` more replicas; return those that Ray Serve has begun by now.

        Raises
        ------
        CapacityDeniedError
            While replicas that were ordered before find no place.
        """
        with self._turn:
            seen = self._begin(service, units, fence)
            key = ("prewarm", service, order_key)
            return self._orders.once(key, lambda: self._more(service, units, seen, reason))

    def drain(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Want `units` fewer replicas; those without a place go first, then whom Ray Serve chooses."""
        with self._turn:
            seen = self._begin(service, units, fence)
            key = ("drain", service, order_key)
            return self._orders.once(key, lambda: self._fewer(service, units, seen, reason))

    def drain_unit(self, unit_id: str, *, reason: str) -> None:
        """Refuse: Ray Serve chooses.

        Raises
        ------
        UnitGoneError
            When it is not there any more.
        ActuatorError
            When it is.
        """
        del reason
        with self._turn:
            self._look_everywhere()
            entry = self._book.units.get(unit_id)
            if entry is None or entry.state is UnitState.FAILED:
                raise UnitGoneError(f"unit {unit_id!r} is gone")
            if entry.state is not UnitState.DRAINING:
                raise ActuatorError(
                    f"Ray Serve chooses which replica ends: {unit_id} cannot be drained by name",
                    "drain by number",
                )

    def events_after(self, seq: int, limit: int = 1000) -> Sequence[UnitEvent]:
        """Unit events numbered above `seq`, in order."""
        with self._turn:
            self._look_everywhere()
            self._write(self._book.read_up_to(seq))
            return self._book.after(seq, limit)

    def requests_after(self, seq: int, limit: int = 10000) -> Sequence[RequestRecord]:
        """Nothing: requests come from the log, or from Prometheus."""
        del seq, limit
        with self._turn:
            self._look_everywhere()
        return ()

    def _begin(self, service: str, units: int, fence: int) -> Seen:
        check_units(units)
        seen = self._look(service)
        self._write(fenced(self._book, fence))
        return seen

    def _more(self, service: str, units: int, seen: Seen, reason: str) -> tuple[str, ...]:
        """Want more, and see who is begun."""
        self._refuse_full(service, units, seen)
        before, wanted = {each.replica_id for each in seen.replicas}, seen.wanted + units
        self._api.scale(self._targets[service], wanted)
        seen = self._look_for(service, lambda now: now.wanted == wanted and not now.unmade, reason)
        made = [each for each in seen.live if each.replica_id not in before]
        return tuple(unit_id_of(service, each) for each in made)

    def _fewer(self, service: str, units: int, seen: Seen, reason: str) -> tuple[str, ...]:
        """Want fewer, and see who stops."""
        before, wanted = seen.live, max(seen.wanted - units, 0)
        if wanted == seen.wanted:
            return ()
        self._api.scale(self._targets[service], wanted)
        seen = self._look_for(service, lambda now: len(now.live) <= wanted, reason, ending=True)
        stays = {each.replica_id for each in seen.live}
        leaving = [each for each in before if each.replica_id not in stays]
        return tuple(unit_id_of(service, each) for each in leaving)

    def _look(self, service: str, reason: str = "", ending: bool = False) -> Seen:
        """See a deployment, and write down what became of its units."""
        seen, now_s = self._api.look(of_service(self._targets, service)), self._clock.now_s()
        if seen.unmade:
            self._unmade_since.setdefault(service, now_s)
        else:
            self._unmade_since.pop(service, None)
        looked_s = self._looked_s.get(service, 0.0)
        self._write(followed(self._book, service, seen, now_s, looked_s, reason, ending))
        self._looked_s[service] = now_s
        return seen

    def _look_everywhere(self) -> None:
        for service in self._targets:
            self._look(service)

    def _look_for(
        self, service: str, done: Callable[[Seen], bool], reason: str, ending: bool = False
    ) -> Seen:
        """Look until an order shows, or for a few seconds: the next looks find the rest."""
        seen = self._look(service, reason, ending)
        for _ in range(LOOKS):
            if done(seen):
                break
            self._pause(PAUSE_S)
            seen = self._look(service, reason, ending)
        return seen

    def _refuse_full(self, service: str, units: int, seen: Seen) -> None:
        """Order nothing while what was ordered before finds no place."""
        late_s = self._clock.now_s() - self._place_wait_s
        waiting = [
            each
            for each in self._book.units.values()
            if each.service == service and each.state in WARMING_STATES and each.ordered_s < late_s
        ]
        room = None if self._autoscaled else self._api.room(self._targets[service])
        denied = f"{units} more units of {service!r} are denied beside {len(seen.live)}"
        if waiting or seen.unmade:
            raise CapacityDeniedError(
                f"{denied}: {len(waiting) + seen.unmade} find no place. {seen.message}".strip(),
                "add nodes, or raise ray_serve.place_wait_s where they come slowly",
            )
        if room is not None and room < units:
            raise CapacityDeniedError(
                f"{denied}: the nodes have room for {room}",
                "add nodes; with Ray's autoscaler set ray_serve.autoscaled",
            )

    def _write(self, book: Book) -> None:
        if book != self._book or not self._file.exists():
            self._book = book
            keep(self._file, book)
