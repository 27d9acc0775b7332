"""A fleet that somebody else builds: we say how many units should run, KEDA (or Dynamo) makes it so.

Nothing is heard of single units: one that was ordered counts as warming for one lead time and as ready
after it. The fleet and its numbering are kept on disk, so that a restart goes on where it was: no unit
is counted twice, and none is thought to have started at once.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from actuators.book import event_of
from actuators.book_file import replace_text
from actuators.dry_run import DryRunActuator, PaperUnit
from forecaster.domain.errors import ActuatorUnavailableError
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.pools import Pool
from forecaster.domain.ports import Clock
from forecaster.domain.units import Fleet, UnitEvent, UnitView

KEPT = 1000
"""Events that stay to be read again, as in a tier's ring."""


class PulledActuator(DryRunActuator):
    """An `Actuator` whose orders are numbers that wait to be asked for.

    Parameters
    ----------
    clock : Clock
        The installation's clock.
    leads_s : mapping of str to float
        Lead time of a unit of each service, clock seconds.
    file : Path
        Where the fleet is kept; its folder exists.
    max_units_total : int
        Units that may be wanted at once.
    """

    def __init__(
        self, clock: Clock, leads_s: Mapping[str, float], file: Path, max_units_total: int
    ) -> None:
        super().__init__(clock, tuple(leads_s), max_units_total=max_units_total)
        self._leads_s = dict(leads_s)
        self._file = file
        self._known: set[str] = set()
        self._turn = threading.RLock()  # KEDA asks from threads of its own
        self._recall()

    def wanted(self, service: str) -> int:
        """Units that should run now: ordered and not given back.

        Raises
        ------
        ActuatorUnavailableError
            Before anything was ordered: how many run is not known, and 0 would stop them.
        """
        with self._turn:
            fleet = self.observe(service)
            if service not in self._known:
                raise ActuatorUnavailableError(
                    f"nothing was ordered for {service!r} yet",
                    "the units that run stay as they are",
                )
            return fleet.ready + fleet.warming

    def observe(self, service: str) -> Fleet:
        """The units that were ordered: ready one lead time after it."""
        with self._turn:
            return super().observe(service)

    def prewarm(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Want `units` more."""
        with self._turn:
            ids = super().prewarm(service, units, reason=reason, order_key=order_key, fence=fence)
            self._known.add(service)
            self._keep()
            return ids

    def drain(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Want `units` fewer; which of them end is KEDA's and Kubernetes' affair."""
        with self._turn:
            ids = super().drain(service, units, reason=reason, order_key=order_key, fence=fence)
            self._keep()
            return ids

    def drain_unit(self, unit_id: str, *, reason: str) -> None:
        """Want one fewer."""
        with self._turn:
            super().drain_unit(unit_id, reason=reason)
            self._keep()

    def events_after(self, seq: int, limit: int = 1000) -> Sequence[UnitEvent]:
        """Unit events numbered above `seq`; who asks has those up to it, and old ones are forgotten."""
        with self._turn:
            found = list(super().events_after(seq, limit))
            had = min(max(seq - KEPT - self._dropped, 0), len(self._events))
            del self._events[:had]
            self._dropped += had
            return found

    def _reach(self, service: str | None = None) -> None:
        with self._turn:  # also for the verbs that only look: time passes once
            super()._reach(service)

    def _lead_s(self, service: str) -> float:
        return self._leads_s[service]

    def _keep(self) -> None:
        """Write the fleet down, whole or not at all; what time alone brings about follows from it."""
        state = {
            "tier": self._tier,
            "ordered": self._ordered,
            "dropped": self._dropped,
            "known": sorted(self._known),
            "events": self._events,
            "units": list(self._units.values()),
        }
        replace_text(self._file, orjson.dumps(state).decode())

    def _recall(self) -> None:
        """Go on with the fleet that was kept; with none where the file is absent or broken."""
        try:
            state = orjson.loads(self._file.read_bytes())
            events = [event_of(each) for each in state["events"]]
            units = [_unit(each) for each in state["units"]]
            tier, ordered, dropped = state["tier"], int(state["ordered"]), int(state["dropped"])
            known = set(state["known"]) & set(self._leads_s)
        except (OSError, ValueError, TypeError, KeyError):
            return
        self._tier, self._ordered, self._dropped = tier, ordered, dropped
        self._events, self._known = events, known
        for unit in units:
            self._know(unit)


def _unit(kept: dict[str, object]) -> PaperUnit:
    view = dict(kept["view"])  # type: ignore[call-overload]  # JSON
    due_s = kept["due_s"]
    return PaperUnit(
        UnitView(**view | {"state": UnitState(view["state"]), "pool": Pool(view.get("pool", ""))}),
        int(str(kept["order"])),
        math.inf if due_s is None else float(str(due_s)),  # JSON has no infinity
    )
