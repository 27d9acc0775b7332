"""How many units should run, for who asks: what the daemon wants, or why that is not known."""

from __future__ import annotations

from actuators.keda.pulled import PulledActuator
from actuators.rpc_server import Tls
from forecaster.config.asked import GrpcTable
from forecaster.daemon.service import Daemon
from forecaster.domain.errors import ActuatorUnavailableError
from forecaster.domain.pools import pool_service
from forecaster.domain.service import Mode

HELD = "the replicas stay as they are"


def tls_of(table: GrpcTable) -> Tls | None:
    """Certificate of a server, where it has one."""
    if table.tls_cert is None or table.tls_key is None:
        return None
    return Tls(table.tls_cert, table.tls_key, table.client_ca)


class Question:
    """How many units should run: answered when that is known, and refused when not."""

    def __init__(self, daemon: Daemon, fleet: PulledActuator) -> None:
        self._daemon, self._fleet = daemon, fleet
        self._settled: set[str] = set()
        self._public = {
            pool_service(name, pool): name
            for name, pilot in daemon.pilots.items()
            for pool in pilot.unit.by_pool
        }

    def public(self, lane: str) -> str:
        """The service that units of this name serve: itself, or the one whose pool it is."""
        return self._public.get(lane, lane)

    def wanted(self, service: str) -> int:
        """Units that should run now.

        Raises
        ------
        DataError
            For a service that is not configured.
        ActuatorUnavailableError
            When it is not known, and why.
        """
        public = self.public(service)
        sure(self._daemon, public)
        if service not in self._settled and not _followed(self._daemon, public):
            raise ActuatorUnavailableError(
                f"the first plan of {service!r} is not carried out yet", HELD
            )
        self._settled.add(service)
        return self._fleet.wanted(service)


def sure(daemon: Daemon, service: str) -> None:
    """Return when the number of units can be trusted.

    Raises
    ------
    DataError
        For a service that is not configured.
    ActuatorUnavailableError
        When it cannot, and why: who asks then leaves the replicas alone or takes a fallback.
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
