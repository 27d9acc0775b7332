"""A fleet that somebody else builds: we say how many units should run, KEDA makes it so.

Nothing is heard of single units: one that was ordered counts as warming for one lead time and as ready
after it. The numbers wanted are kept on disk, so that a restart goes on where it was.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from actuators.dry_run import DryRunActuator
from forecaster.domain.errors import ActuatorUnavailableError
from forecaster.domain.ports import Clock
from forecaster.domain.units import Fleet, UnitEvent


class PulledActuator(DryRunActuator):
    """An `Actuator` whose orders are numbers that wait to be asked for.

    Parameters
    ----------
    clock : Clock
        The installation's clock.
    leads_s : mapping of str to float
        Lead time of a unit of each service, clock seconds.
    file : Path
        Where the numbers are kept; its folder exists.
    max_units_total : int
        Units that may be wanted at once.
    """

    def __init__(
        self, clock: Clock, leads_s: Mapping[str, float], file: Path, max_units_total: int
    ) -> None:
        super().__init__(clock, tuple(leads_s), max_units_total=max_units_total)
        self._leads_s = dict(leads_s)
        self._file = file
        self._turn = threading.RLock()  # KEDA asks from threads of its own
        kept = _read(file)
        self._known = set(kept) & set(leads_s)
        for service in sorted(self._known):
            self.stand(service, kept[service])

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

    def events_after(self, seq: int, limit: int = 1000) -> Sequence[UnitEvent]:
        """Unit events numbered above `seq`, as they are taken to have happened."""
        with self._turn:
            return super().events_after(seq, limit)

    def prewarm(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Want `units` more."""
        with self._turn:
            self._lead_time_s = self._leads_s.get(service, 0.0)
            ids = super().prewarm(service, units, reason=reason, order_key=order_key, fence=fence)
            self._keep(service)
            return ids

    def drain(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Want `units` fewer; which of them end is KEDA's and Kubernetes' affair."""
        with self._turn:
            ids = super().drain(service, units, reason=reason, order_key=order_key, fence=fence)
            self._keep(service)
            return ids

    def drain_unit(self, unit_id: str, *, reason: str) -> None:
        """Want one fewer."""
        with self._turn:
            super().drain_unit(unit_id, reason=reason)
            for service in sorted(self._known):
                self._keep(service)

    def _keep(self, service: str) -> None:
        """Write the numbers down, whole or not at all."""
        self._known.add(service)
        numbers = {name: self.wanted(name) for name in sorted(self._known)}
        fresh = self._file.with_suffix(f".{os.getpid()}.new")
        try:
            fresh.write_bytes(orjson.dumps(numbers))
            fresh.replace(self._file)
        except OSError as error:
            raise ActuatorUnavailableError(
                f"{self._file} cannot be written: {error.strerror}",
                "the order stands until a restart; free the disk",
            ) from error


def _read(file: Path) -> dict[str, int]:
    """The numbers kept; none from a file that is absent or broken: then nothing is known."""
    try:
        found = orjson.loads(file.read_bytes())
        return {str(name): max(int(units), 0) for name, units in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
