"""The plugin itself: Dynamo's PROPOSE stage over a question that is answered or refused.

An error is never a zero, and no number is made up: what is not known is answered with UNAVAILABLE, and
the planner goes on with its own proposals or, without any, leaves the workers as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from actuators.dynamo.messages import LIFECYCLE, PROPOSE, message_class
from actuators.rpc_server import RpcServer, Tls, unary
from forecaster.domain.errors import DataError, TidegateError

log = logging.getLogger(__name__)
PREFILL, DECODE = "prefill", "decode"
SET = 0
"""Exactly this many; floors and ceilings of other plugins still hold."""
THREADS = 8
"""Calls at a time; a planner makes one."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Units of a service that should run, and why."""

    units: int
    reason: str


Wanted = Callable[[str], Wish]
"""The wish of a service; raises a `TidegateError` when unsure."""
Heard = Callable[[str, int], None]
"""Told how many workers of a service are ready."""


class ProposePlugin:
    """Dynamo's planner plugin.

    Parameters
    ----------
    services : mapping of str to str
        Service of each component: ``decode`` (also of workers that do both) and ``prefill``.
    wanted : callable
        See `Wanted`.
    heard : callable
        See `Heard`; called before `wanted`.
    """

    def __init__(self, services: Mapping[str, str], wanted: Wanted, heard: Heard) -> None:
        self._services = dict(services)
        self._wanted, self._heard = wanted, heard
        self._server: RpcServer | None = None

    def start(self, host: str, port: int, tls: Tls | None = None) -> int:
        """Serve; return the port.

        Raises
        ------
        SettingError
            When the port is taken or a file cannot be read.
        """
        server = RpcServer("dynamo", THREADS, self._handlers())
        bound = server.start(host, port, tls)
        self._server = server
        return bound

    def stop(self) -> None:
        """End the calls."""
        if self._server is not None:
            self._server.stop()

    def _handlers(self) -> tuple[Any, ...]:
        def read(name: str) -> Any:
            return message_class(name).FromString

        propose = {"Propose": unary(self._propose, read("ProposeStageRequest"))}
        lifecycle = {
            "Bootstrap": unary(_nothing("BootstrapResponse"), read("BootstrapRequest")),
            "Reset": unary(_nothing("ResetResponse"), read("ResetRequest")),
        }
        return (
            grpc.method_handlers_generic_handler(PROPOSE, propose),
            grpc.method_handlers_generic_handler(LIFECYCLE, lifecycle),
        )

    def _propose(self, asked: Any, context: Any) -> Any:
        """Answer for every component or for none: half a wish would break their ratio."""
        try:
            self._listen(asked.context.observations.workers)
            wishes = {each: self._wanted(name) for each, name in self._services.items()}
        except DataError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except TidegateError as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        target = message_class("ComponentTarget")
        override = message_class("OverrideResult")(
            targets=[
                target(sub_component_type=each, replicas=wish.units, type=SET)
                for each, wish in wishes.items()
            ],
            reason=said(wishes),
        )
        return message_class("ProposeStageResponse")(override=override)

    def _listen(self, workers: Any) -> None:
        for component, service in self._services.items():
            field = f"ready_{component}"
            if workers.HasField(field):
                self._heard(service, getattr(workers, field))


def said(wishes: Mapping[str, Wish]) -> str:
    """Every component's units and their reason, in one line.

    Examples
    --------
    >>> said({"prefill": Wish(2, "load"), "decode": Wish(7, "coming load")})
    'prefill 2: load; decode 7: coming load'
    """
    return "; ".join(f"{each} {wish.units}: {wish.reason}" for each, wish in wishes.items())


def _nothing(answer: str) -> Any:
    """A call that has nothing to do: our state comes from our own store."""

    def call(asked: Any, context: Any) -> Any:
        del asked, context
        return message_class(answer)(ok=True)

    return call
