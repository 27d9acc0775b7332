"""The embedded tier as an `Actuator`: its control API, behind the contract's verbs and errors."""

from __future__ import annotations

import math
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import httpx
import orjson

from actuators.onnx_tier.order_log import HeardOrder
from actuators.onnx_tier.statuses import CAPACITY_DENIED, FENCED, UNIT_GONE
from forecaster.domain.deferred import Backlog
from forecaster.domain.errors import (
    ActuatorError,
    ActuatorUnavailableError,
    CapacityDeniedError,
    FencedError,
    UnitGoneError,
)
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.pools import Pool
from forecaster.domain.units import Fleet, RequestRecord, UnitEvent, UnitView

TIMEOUT_S = 5.0
_ERRORS = {
    CAPACITY_DENIED: CapacityDeniedError,
    UNIT_GONE: UnitGoneError,
    FENCED: FencedError,
}


class OnnxTierActuator:
    """Drives a running tier.

    Parameters
    ----------
    control_socket : Path
        The tier's control socket (``control_socket`` in its ``tier.json``).
    timeout_s : float
        Longest time that one verb may take.
    """

    def __init__(self, control_socket: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._socket = control_socket
        self._tier = ""
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(control_socket), retries=1),
            base_url="http://tier",
            timeout=timeout_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the tier goes on."""
        self._http.close()

    @property
    def tier(self) -> str:
        """Identity of the tier's numbering, asked once: one socket is one tier's life."""
        if not self._tier:
            self._tier = str(self.stats()["tier"])
        return self._tier

    def observe(self, service: str) -> Fleet:
        """Return every unit of `service` that is alive or failed in the last hour."""
        data = self._call("GET", "/observe", params={"service": service})
        units = tuple(
            UnitView(**each | {"state": UnitState(each["state"]), "pool": Pool(each["pool"])})
            for each in data["units"]
        )
        backlog = tuple(Backlog(**each) for each in data["backlog"])
        return Fleet(data["service"], data["observed_s"], units, backlog, data["batch_in_flight"])

    def let_in(self, service: str, busy_units: float) -> None:
        """Let batch work take so many busy units' worth of a service."""
        self._call("POST", "/let_in", json={"service": service, "busy_units": busy_units})

    def lead(self, fence: int) -> None:
        """Refuse the orders of earlier leaders from now on."""
        self._call("POST", "/lead", json={"fence": fence})

    def prewarm(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Order `units` more units; return their ids (the same for the same `order_key`)."""
        return self._order("/prewarm", service, units, reason, order_key, fence)

    def drain(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Drain the `units` emptiest units (warming ones first); return their ids."""
        return self._order("/drain", service, units, reason, order_key, fence)

    def drain_unit(self, unit_id: str, *, reason: str) -> None:
        """Drain one unit by name; `UnitGoneError` when it is already gone."""
        self._call("POST", "/drain_unit", json={"unit_id": unit_id, "reason": reason})

    def events_after(self, seq: int, limit: int = 1000) -> Sequence[UnitEvent]:
        """Return unit events numbered above `seq`, in order."""
        rows = self._call("GET", "/events", params={"after": seq, "limit": limit})
        for row in rows:
            row["pool"] = Pool(row["pool"])
            row["before"], row["after"] = UnitState(row["before"]), UnitState(row["after"])
        return [UnitEvent(**row) for row in rows]

    def requests_after(self, seq: int, limit: int = 10000) -> Sequence[RequestRecord]:
        """Return logged requests numbered above `seq`, in order."""
        rows = self._call("GET", "/requests", params={"after": seq, "limit": limit})
        for row in rows:
            for name in ("ttft_s", "tpot_s", "latency_s"):
                if row[name] is None:  # JSON has no NaN
                    row[name] = math.nan
        return [RequestRecord(**row) for row in rows]

    def orders_after(self, seq: int, limit: int = 10000) -> Sequence[HeardOrder]:
        """Return the orders that the tier heard, numbered above `seq`, in order."""
        rows = self._call("GET", "/orders", params={"after": seq, "limit": limit})
        return [HeardOrder(**row | {"unit_ids": tuple(row["unit_ids"])}) for row in rows]

    def stats(self) -> dict[str, Any]:
        """Return the tier's counters: queue lengths, requests in flight, public address, identity."""
        data = self._call("GET", "/stats")
        assert isinstance(data, dict)
        return data

    def shutdown(self, grace_s: float | None = None) -> None:
        """Ask the tier to finish its requests and exit; it answers before it does."""
        self._call("POST", "/shutdown", json={"grace_s": grace_s})

    def _knock(self) -> None:
        """Fail early where nobody listens: httpcore leaves the socket of such an attempt open."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(TIMEOUT_S)
            probe.connect(str(self._socket))

    def _order(
        self, path: str, service: str, units: int, reason: str, order_key: str, fence: int
    ) -> tuple[str, ...]:
        order = {"service": service, "units": units, "reason": reason, "order_key": order_key}
        order["fence"] = fence
        return tuple(self._call("POST", path, json=order))

    def _call(self, method: str, path: str, **fields: Any) -> Any:
        try:
            self._knock()
            response = self._http.request(method, path, **fields)
        except (OSError, httpx.TransportError) as error:
            raise ActuatorUnavailableError(
                f"the serving tier at {self._socket} cannot be reached: {error or type(error).__name__}",
                "it may be starting or stopping; the order is repeated",
            ) from error
        data = orjson.loads(response.content)
        if response.status_code != httpx.codes.OK:
            _refuse(response.status_code, data)
        return data


def _refuse(status: int, data: dict[str, str]) -> NoReturn:
    kind = _ERRORS.get(status, ActuatorError)
    raise kind(data["problem"], data["remedy"])
