"""Units that are workers of NVIDIA Dynamo: the daemon's orders become what its planner is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from actuators.dynamo.plugin import ProposePlugin, Wish
from actuators.dynamo.workers import WorkerFleet
from forecaster.config import Settings
from forecaster.daemon.service import Daemon
from forecaster.domain.errors import SettingError
from forecaster.wiring.checks import Check, Health
from forecaster.wiring.lanes import known_unit, lanes
from forecaster.wiring.wanted import Question, tls_of

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@contextmanager
def serve_dynamo(settings: Settings, daemon: Daemon, fleet: WorkerFleet) -> Iterator[str]:
    """Answer Dynamo's planner while the block runs; yields the address.

    Raises
    ------
    SettingError
        When the port is taken or a file of the TLS settings cannot be read.
    """
    dynamo = settings.dynamo
    question = Question(daemon, fleet)

    def wanted(service: str) -> Wish:
        units = question.wanted(service)
        decision = daemon.pilot(question.public(service)).state.decision
        return Wish(units, decision.explanation if decision else "")

    plugin = ProposePlugin(components(settings), wanted, fleet.heard)
    port = plugin.start(dynamo.host, dynamo.port or 0, tls_of(dynamo))
    try:
        yield f"{dynamo.host}:{port}"
    finally:
        plugin.stop()


def components(settings: Settings) -> dict[str, str]:
    """Service of each component of the planner's deployment.

    Raises
    ------
    SettingError
        For a service of several types.
    """
    for each in settings.service:
        unit = known_unit(settings, each.unit)
        if unit is not None and unit.mixed is not None:
            raise SettingError(
                f"service {each.name!r}: unit", each.unit, "one type, or prefill and decode units",
                "its planner knows no workers of several types: give each type a service of its own",
            )  # fmt: skip
    return settings.dynamo.components(list(lanes(settings)))


def examine_dynamo(settings: Settings) -> Iterator[Check]:
    """What a planner will be answered, for `tidegate doctor`."""
    dynamo = settings.dynamo
    if dynamo.port is None:
        return
    mapped = ", ".join(f"{each} is {name!r}" for each, name in components(settings).items())
    says = f"a planner is answered on {dynamo.host}:{dynamo.port or 'any port'}: {mapped}"
    if dynamo.tls_cert is not None:
        yield Check(
            "dynamo", Health.WARN, f"{says}; with TLS, which Dynamo 1.6 does not speak to plugins",
            "leave dynamo.tls_cert out, or let a mesh end TLS",
        )  # fmt: skip
    elif dynamo.port == 0:
        yield Check(
            "dynamo", Health.WARN, says, "set dynamo.port: the planner's settings have to name it"
        )
    elif dynamo.host not in LOOPBACK:
        yield Check(
            "dynamo", Health.WARN, f"{says}; whoever reaches the port may ask and tell",
            "let a NetworkPolicy admit the planner's pod only",
        )  # fmt: skip
    else:
        yield Check("dynamo", Health.OK, says)
