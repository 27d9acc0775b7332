"""The tier's control API: HTTP over a unix socket, for the one who scales it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from actuators.onnx_tier.batch_runner import BatchRunner
from actuators.onnx_tier.front_door import FrontDoor
from actuators.onnx_tier.order_log import OrderLog
from actuators.onnx_tier.replies import JsonReply, read_body
from actuators.onnx_tier.statuses import CAPACITY_DENIED, FENCED, REFUSED, UNIT_GONE
from actuators.onnx_tier.supervisor import Supervisor
from forecaster.domain.errors import (
    ActuatorError,
    CapacityDeniedError,
    FencedError,
    TidegateError,
    UnitGoneError,
)

EVENTS_LIMIT = 10_000
REQUESTS_LIMIT = 50_000


class ControlApi:
    """Verbs of the `Actuator` contract, and the tier's own: stats and shutdown.

    Parameters
    ----------
    door, supervisor, batches
        The tier.
    url : str
        Its public address.
    shutdown : callable
        Called with the grace in seconds to end the tier.
    """

    def __init__(
        self,
        door: FrontDoor,
        supervisor: Supervisor,
        batches: BatchRunner,
        url: str,
        shutdown: Callable[[float | None], None],
    ) -> None:
        self._door = door
        self._supervisor = supervisor
        self._batches = batches
        self._url = url
        self._shutdown = shutdown
        self._orders = OrderLog(supervisor.clock)

    def routes(self) -> list[BaseRoute]:
        """Return what to mount."""
        return [
            Route("/observe", self._guard(self._observe)),
            Route("/lead", self._guard(self._lead), methods=["POST"]),
            Route("/prewarm", self._guard(self._prewarm), methods=["POST"]),
            Route("/drain", self._guard(self._drain), methods=["POST"]),
            Route("/let_in", self._guard(self._let_in), methods=["POST"]),
            Route("/drain_unit", self._guard(self._drain_unit), methods=["POST"]),
            Route("/events", self._guard(self._events)),
            Route("/requests", self._guard(self._requests)),
            Route("/orders", self._guard(self._heard)),
            Route("/stats", self._guard(self._stats)),
            Route("/shutdown", self._guard(self._stop), methods=["POST"]),
        ]

    def _guard(
        self, verb: Callable[[Request], Awaitable[Any]]
    ) -> Callable[[Request], Awaitable[JsonReply]]:
        async def answer(request: Request) -> JsonReply:
            try:
                return JsonReply(await verb(request))
            except TidegateError as error:
                body = {"problem": error.problem, "remedy": error.remedy}
                return JsonReply(body, _status(error))
            except (KeyError, ValueError, TypeError) as error:
                return JsonReply({"problem": f"bad order: {error!r}", "remedy": ""}, REFUSED)

        return answer

    async def _observe(self, request: Request) -> Any:
        service = request.query_params["service"]
        fleet = self._supervisor.observe(service)
        whose = self._supervisor.batches_with(service)
        held = self._supervisor.router.batch_held(whose) if whose else 0
        return replace(fleet, backlog=self._batches.backlog(whose), batch_in_flight=held)

    async def _let_in(self, request: Request) -> Any:
        asked = await _order(request)
        self._batches.allow(str(asked["service"]), max(float(asked["busy_units"]), 0.0))
        return {}

    async def _lead(self, request: Request) -> Any:
        self._orders.lead(int((await _order(request))["fence"]))
        return {}

    async def _prewarm(self, request: Request) -> Any:
        return self._carry_out("prewarm", self._supervisor.prewarm, await _order(request))

    async def _drain(self, request: Request) -> Any:
        return self._carry_out("drain", self._supervisor.drain, await _order(request))

    def _carry_out(
        self,
        verb: str,
        work: Callable[[str, int, str, str], tuple[str, ...]],
        asked: dict[str, Any],
    ) -> tuple[str, ...]:
        service, key, reason = asked["service"], asked["order_key"], asked["reason"]
        units, fence = _units(asked), int(asked.get("fence", 0))
        return self._orders.carry_out(
            verb, (service, units, key, fence), lambda: work(service, units, reason, key)
        )

    async def _drain_unit(self, request: Request) -> Any:
        order = await _order(request)
        self._supervisor.drain_unit(order["unit_id"], order["reason"])
        return {}

    async def _events(self, request: Request) -> Any:
        after, limit = _window(request, EVENTS_LIMIT)
        return self._supervisor.fleet.events.after(after, limit)

    async def _requests(self, request: Request) -> Any:
        after, limit = _window(request, REQUESTS_LIMIT)
        return self._door.requests.after(after, limit)

    async def _heard(self, request: Request) -> Any:
        after, limit = _window(request, EVENTS_LIMIT)
        return self._orders.heard.after(after, limit)

    async def _stats(self, _request: Request) -> Any:
        router, fleet = self._supervisor.router, self._supervisor.fleet
        return {
            "tier": self._door.tier,
            "url": self._url,
            "pid": os.getpid(),
            "accepting": self._door.accepting,
            "in_flight": self._door.in_flight,
            "waiting": {name: router.waiting(name) for name in router.queues},
            "handovers": asdict(router.handovers),
            "units_live": fleet.live(),
            "pids": {unit.unit_id: unit.pid for unit in fleet if unit.pid and not unit.exited},
            "packed_s": {
                unit.unit_id: unit.packed_s for unit in fleet if unit.packed_s is not None
            },
            "events_last": fleet.events.last,
            "events_dropped": fleet.events.dropped,
            "requests_last": self._door.requests.last,
            "requests_dropped": self._door.requests.dropped,
        }

    async def _stop(self, request: Request) -> Any:
        grace_s = (await _order(request)).get("grace_s")
        self._shutdown(None if grace_s is None else float(grace_s))
        return {}


async def _order(request: Request) -> dict[str, Any]:
    order = orjson.loads(await read_body(request))
    if not isinstance(order, dict):
        raise TypeError("an order is a JSON object")
    return order


def _units(order: dict[str, Any]) -> int:
    units = order["units"]
    if type(units) is not int or units < 1:
        raise ActuatorError(f"units = {units!r} must be 1 or more", "order at least one unit")
    return units


def _window(request: Request, most: int) -> tuple[int, int]:
    after = int(request.query_params.get("after", "0"))
    limit = int(request.query_params.get("limit", "1000"))
    return after, min(limit, most)


def _status(error: TidegateError) -> int:
    if isinstance(error, CapacityDeniedError):
        return CAPACITY_DENIED
    if isinstance(error, UnitGoneError):
        return UNIT_GONE
    if isinstance(error, FencedError):
        return FENCED
    return REFUSED if isinstance(error, ActuatorError) else 500
