"""Units that somebody else runs who asks for their number: KEDA, or NVIDIA Dynamo's planner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actuators.dynamo.workers import WorkerFleet
from actuators.keda.pulled import PulledActuator
from forecaster.config import Settings
from forecaster.daemon.service import Daemon
from forecaster.domain.ports import Clock
from forecaster.domain.profile import UnitType
from forecaster.wiring.dynamo import serve_dynamo
from forecaster.wiring.keda import serve_keda
from forecaster.wiring.lanes import lane_units

UNITS_MOST = 1_000_000
"""The ceiling is each service's `max_units`, and that of who asks."""


def pulled_fleet(
    settings: Settings, home: Path, units: Mapping[str, UnitType], clock: Clock
) -> PulledActuator:
    """The fleet that others build, as it was wanted before a restart."""
    leads_s = {name: unit.lead_time_s for name, unit in lane_units(settings, units).items()}
    if settings.dynamo.port is not None:
        return WorkerFleet(clock, leads_s, home / "dynamo.json", UNITS_MOST)
    return PulledActuator(clock, leads_s, home / "keda.json", UNITS_MOST)


@contextmanager
def answering(settings: Settings, daemon: Daemon, fleet: Any) -> Iterator[dict[str, str]]:
    """Answer who asks while the block runs; yields where, by name; nothing where nobody asks.

    Raises
    ------
    SettingError
        When the port is taken or a file of the TLS settings cannot be read.
    """
    if isinstance(fleet, WorkerFleet):
        with serve_dynamo(settings, daemon, fleet) as address:
            yield {"dynamo": address}
    elif isinstance(fleet, PulledActuator):
        with serve_keda(settings, daemon, fleet) as address:
            yield {"keda": address}
    else:
        yield {}
