"""Units that KEDA runs: the daemon's orders become the answer to KEDA's question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from actuators.keda.pulled import PulledActuator
from actuators.keda.scaler import ExternalScaler, Tls
from forecaster.config import Settings
from forecaster.daemon.service import Daemon
from forecaster.domain.errors import ActuatorUnavailableError
from forecaster.domain.ports import Clock
from forecaster.domain.profile import UnitType
from forecaster.domain.service import Mode

FILE = "keda.json"
HELD = "the replicas stay as they are"
UNITS_MOST = 1_000_000
"""The ceiling is each service's `max_units`, and KEDA's."""


def pulled_fleet(
    settings: Settings, home: Path, units: Mapping[str, UnitType], clock: Clock
) -> PulledActuator:
    """The fleet that KEDA builds, as it was wanted before a restart."""
    leads_s = {each.name: units[each.name].lead_time_s for each in settings.service}
    return PulledActuator(clock, leads_s, home / FILE, UNITS_MOST)


@contextmanager
def serve_keda(settings: Settings, daemon: Daemon, fleet: PulledActuator) -> Iterator[str]:
    """Answer KEDA while the block runs; yields the address.

    Raises
    ------
    SettingError
        When the port is taken or a file of the TLS settings cannot be read.
    """
    keda = settings.keda
    tls = None
    if keda.tls_cert is not None and keda.tls_key is not None:
        tls = Tls(keda.tls_cert, keda.tls_key, keda.client_ca)

    settled: set[str] = set()

    def wanted(service: str) -> int:
        sure(daemon, service)
        if service not in settled and not _followed(daemon, service):
            raise ActuatorUnavailableError(
                f"the first plan of {service!r} is not carried out yet", HELD
            )
        settled.add(service)
        return fleet.wanted(service)

    scaler = ExternalScaler(wanted)
    port = scaler.start(keda.host, keda.port or 0, tls)
    try:
        yield f"{keda.host}:{port}"
    finally:
        scaler.stop()


def sure(daemon: Daemon, service: str) -> None:
    """Return when the number of units can be trusted.

    Raises
    ------
    DataError
        For a service that is not configured.
    ActuatorUnavailableError
        When it cannot, and why: KEDA then leaves the replicas alone or takes its fallback.
    """
    pilot = daemon.pilot(service)
    if not daemon.leads:
        raise ActuatorUnavailableError("this daemon stands by: another one leads", "ask that one")
    if pilot.gate.mode is Mode.OBSERVE:
        raise ActuatorUnavailableError(f"mode of {service!r} is observe", HELD)
    table = pilot.state.table
    if table is None:
        raise ActuatorUnavailableError(f"there is no plan for {service!r} yet", HELD)
    age_s = daemon.clock.now_s() - table.made_s
    if age_s > daemon.settings.planner.stale_s:
        raise ActuatorUnavailableError(f"the plan of {service!r} is {age_s / 60:.0f} min old", HELD)


def _followed(daemon: Daemon, service: str) -> bool:
    """Whether the fleet is what a plan wants: before that it is the floor, and would end what runs."""
    pilot = daemon.pilot(service)
    table, decision = pilot.state.table, pilot.state.decision
    return (
        table is not None
        and decision is not None
        and decision.at_s >= table.made_s
        and pilot.gate.waiting is None
    )
