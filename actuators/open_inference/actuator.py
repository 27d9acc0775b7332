"""A tier whose units are models on servers that run already: load is pre-warm, unload is the end of a drain.

A unit is one model on one server. An order loads it (and asks it once, so that the first user need not wait);
a drain takes it out of the routes, waits until nothing is asked of it, and unloads it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from actuators.book import FAILED_SHOWN_S, Book, Entry, Writer, fenced, watched
from actuators.book_file import keep, recalled, replace_text
from actuators.open_inference.following import Job, Look, Patience, next_of
from actuators.open_inference.host import Host
from actuators.open_inference.watch import Model, Watch, Work
from actuators.order_book import OrderBook, check_units, of_service
from forecaster.domain.errors import (
    CapacityDeniedError,
    UnitGoneError,
)
from forecaster.domain.lifecycle import LIVE_STATES, WARMING_STATES, UnitState
from forecaster.domain.ports import Clock
from forecaster.domain.units import Fleet, RequestRecord, UnitEvent, UnitView

PROVIDER = "open-inference"
ADOPTED = "loaded before Tidegate came, or by somebody else"


class OpenInferenceActuator:
    """An `Actuator` over the model repository extension of several servers.

    Parameters
    ----------
    hosts : sequence of Host
        The servers, in the order in which they are filled.
    clock : Clock
        The installation's clock.
    models : mapping of str to Model
        By service.
    folder : Path
        Where book and routes are kept; it exists.
    models_per_host : int
        Units that one server carries at once, of all services.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        clock: Clock,
        models: Mapping[str, Model],
        folder: Path,
        *,
        models_per_host: int = 1,
        patience: Patience | None = None,
    ) -> None:
        self._watch, self._work = Watch(hosts), Work(len(hosts) * models_per_host)
        self._clock, self._models, self._room = clock, dict(models), models_per_host
        self._patience = patience or Patience()
        self._file, self._routes = folder / "open_inference.json", folder / "routes.json"
        self._book = recalled(self._file)
        self._orders = OrderBook()
        self._looked_s = 0.0
        self._begun_again: set[str] = set()  # loads that a restart cut
        self._turn = threading.RLock()  # the threads of our API ask as well

    def close(self) -> None:
        """Stop looking; what the servers do goes on."""
        self._work.close()
        self._watch.close()

    def look(self) -> None:
        """Go on with what is loading or draining; who owns this does it every few seconds.

        Raises
        ------
        ActuatorUnavailableError
            When no server says anything.
        """
        with self._turn:
            self._look()

    @property
    def tier(self) -> str:
        """Identity of this tier's numbering."""
        with self._turn:
            self._look()
            return self._book.tier

    def observe(self, service: str) -> Fleet:
        """Every unit of `service` that is alive or failed in the last hour."""
        with self._turn:
            of_service(self._models, service)
            self._look()
            now_s = self._clock.now_s()
            units = tuple(
                self._view(entry) for entry in self._book.units.values() if entry.service == service
            )
            return Fleet(service, now_s, units)

    def lead(self, fence: int) -> None:
        """Refuse the orders of earlier leaders from now on."""
        with self._turn:
            self._write(fenced(self._book, fence))

    def prewarm(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Load the model on `units` more servers.

        Raises
        ------
        CapacityDeniedError
            When fewer servers than that have room.
        """
        with self._turn:
            self._begin(service, units, fence)
            key = ("prewarm", service, order_key)
            return self._orders.once(key, lambda: self._more(service, units, reason))

    def drain(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Take `units` units out of the routes, warming ones first, the youngest first."""
        with self._turn:
            self._begin(service, units, fence)
            key = ("drain", service, order_key)
            return self._orders.once(key, lambda: self._fewer(service, units, reason))

    def drain_unit(self, unit_id: str, *, reason: str) -> None:
        """Drain one unit by name.

        Raises
        ------
        UnitGoneError
            When it is not there any more.
        """
        with self._turn:
            self._look()
            entry = self._book.units.get(unit_id)
            if entry is None or entry.state is UnitState.FAILED:
                raise UnitGoneError(f"unit {unit_id!r} is gone")
            if _runs(entry):
                self._drain([unit_id], reason)

    def events_after(self, seq: int, limit: int = 1000) -> Sequence[UnitEvent]:
        """Unit events numbered above `seq`, in order."""
        with self._turn:
            self._look()
            self._write(self._book.read_up_to(seq))
            return self._book.after(seq, limit)

    def requests_after(self, seq: int, limit: int = 10000) -> Sequence[RequestRecord]:
        """Nothing: requests come from the log, or from Prometheus."""
        del seq, limit
        with self._turn:
            self._look()
        return ()

    def _begin(self, service: str, units: int, fence: int) -> None:
        of_service(self._models, service)
        check_units(units)
        self._look()
        self._write(fenced(self._book, fence))

    def _more(self, service: str, units: int, reason: str) -> tuple[str, ...]:
        """Begin to load on the next free servers."""
        free, places = self._free(service), len(self._watch.hosts) * self._room
        if len(free) < units:
            raise CapacityDeniedError(
                f"{units} more units of {service!r} are denied: {len(self._live())} of {places} are"
                f" taken; {len(free)} servers are free for it",
                "add servers to open_inference.hosts, or put the model in their repositories",
            )
        writer, now_s = Writer(self._book, PROVIDER), self._clock.now_s()
        ids = [_enter(writer, service, label, now_s, reason) for label in free[:units]]
        for unit_id in ids:
            writer.move(unit_id, UnitState.STARTING, now_s)
            writer.move(unit_id, UnitState.LOADING, now_s)
        self._write(writer.book)
        for unit_id in ids:
            self._start(unit_id, Job.LOAD)
        return tuple(ids)

    def _fewer(self, service: str, units: int, reason: str) -> tuple[str, ...]:
        """Take units out of the routes."""
        mine = [e for e in self._book.units.values() if e.service == service and _runs(e)]
        mine.sort(key=lambda each: (each.state not in WARMING_STATES, -each.ordered_s))
        ids = [each.unit_id for each in mine[:units]]
        self._drain(ids, reason)
        return tuple(ids)

    def _look(self) -> None:
        """See what every server has loaded, and write down what became of the units."""
        now_s = self._clock.now_s()
        self._watch.look(now_s)
        writer = Writer(self._book, PROVIDER)
        jobs = [
            (unit_id, job)
            for unit_id in list(writer.units)
            if (job := self._follow(writer, unit_id, now_s)) is not None
        ]
        self._adopt(writer, now_s)
        self._write(writer.book)
        self._looked_s = now_s
        self._begun_again &= writer.units.keys()
        for unit_id, each in jobs:
            self._start(unit_id, each)

    def _follow(self, writer: Writer, unit_id: str, now_s: float) -> Job | None:
        entry = writer.units[unit_id]
        if entry.state is UnitState.FAILED:
            if entry.since_s < now_s - FAILED_SHOWN_S:
                del writer.units[unit_id]
            return None
        if entry.service not in self._models or _place(unit_id) not in self._watch.hosts:
            writer.move(unit_id, UnitState.FAILED, now_s, "its server or service left the settings")
            return None
        following = next_of(entry, self._moment(entry, now_s), now_s, self._patience)
        if following.job is Job.LOAD:
            self._begun_again.add(unit_id)
        watches = unit_id not in self._begun_again and watched(entry.since_s, self._looked_s, now_s)
        for state, why in following.moves:
            writer.move(unit_id, state, now_s, why, seen=watches or state is not UnitState.READY)
        return following.job

    def _moment(self, entry: Entry, now_s: float) -> Look:
        """What there is to know of a unit now."""
        unit_id, label = entry.unit_id, _place(entry.unit_id)
        model, quiet = self._models[entry.service].name, False
        loaded = self._watch.loaded(label, model)
        if entry.state is UnitState.DRAINING and loaded is not None:
            quiet = self._watch.quiet(unit_id, label, model)
        else:
            self._watch.forget(unit_id)
        running, ended = self._work.state(unit_id)
        return Look(loaded, self._watch.away_s(label, now_s), running, ended, quiet)

    def _adopt(self, writer: Writer, now_s: float) -> None:
        """Take over what is loaded and has no unit."""
        known = {(e.service, _place(e.unit_id)) for e in writer.units.values() if _live(e)}
        for service, model in self._models.items():
            for label in self._watch.hosts:
                loaded = self._watch.loaded(label, model.name)
                if loaded is not None and loaded.ready and (service, label) not in known:
                    unit_id = _enter(writer, service, label, now_s, ADOPTED)
                    for state in _LIFE:
                        writer.move(unit_id, state, now_s, seen=state is not UnitState.READY)

    def _free(self, service: str) -> list[str]:
        """Servers with room that know the model; where it failed of late, last."""
        model = self._models[service].name
        live = self._live()
        taken = [_place(each.unit_id) for each in live]
        mine = {_place(each.unit_id) for each in live if each.service == service}
        failed = {_place(each.unit_id) for each in self._book.units.values() if not _live(each)}
        free = [
            label
            for label, seen in self._watch.seen.items()
            if seen is not None and model in seen and label not in mine
            and taken.count(label) < self._room
        ]  # fmt: skip
        return sorted(free, key=lambda label: label in failed)

    def _live(self) -> list[Entry]:
        return [each for each in self._book.units.values() if _live(each)]

    def _drain(self, ids: Sequence[str], reason: str) -> None:
        writer, now_s = Writer(self._book, PROVIDER), self._clock.now_s()
        for unit_id in ids:
            writer.move(unit_id, UnitState.DRAINING, now_s, reason)
        self._write(writer.book)

    def _start(self, unit_id: str, job: Job) -> None:
        entry = self._book.units[unit_id]
        host = self._watch.hosts[_place(unit_id)]
        self._work.start(unit_id, job, host, self._models[entry.service])

    def _view(self, entry: Entry) -> UnitView:
        state, reason = entry.state, entry.reason
        if state is UnitState.READY and self._watch.seen[_place(entry.unit_id)] is None:
            # The bill goes on as for a ready unit; nobody is answered, so it is no supply.
            state, reason = UnitState.WARMING, "its server does not answer"
        provider = PROVIDER if entry.lead_time_s is not None else ""
        return UnitView(
            entry.unit_id, entry.service, state, entry.ordered_s, entry.since_s,
            entry.lead_time_s, provider=provider, reason=reason,
        )  # fmt: skip

    def _write(self, book: Book) -> None:
        """Keep the book, and tell those who route."""
        if book == self._book and self._file.exists():
            return
        self._book = book
        keep(self._file, book)
        routes = {
            service: [
                self._watch.hosts[_place(each.unit_id)].url
                for each in book.units.values()
                if each.service == service and each.state is UnitState.READY
            ]
            for service in self._models
        }
        replace_text(self._routes, orjson.dumps(routes, option=orjson.OPT_INDENT_2).decode())


_LIFE = (UnitState.STARTING, UnitState.LOADING, UnitState.WARMING, UnitState.READY)


def _place(unit_id: str) -> str:
    """The server of a unit."""
    return unit_id.split("@", 1)[1].rsplit(".", 1)[0]


def _enter(writer: Writer, service: str, label: str, now_s: float, reason: str) -> str:
    """A new unit in the book."""
    unit_id = f"{service}@{label}.{writer.seq + 1}"
    writer.units[unit_id] = Entry(unit_id, service, UnitState.COLD, now_s, now_s, reason=reason)
    return unit_id


def _live(entry: Entry) -> bool:
    return entry.state in LIVE_STATES


def _runs(entry: Entry) -> bool:
    """Whether it may be drained."""
    return entry.state is UnitState.READY or entry.state in WARMING_STATES
