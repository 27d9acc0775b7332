"""A small client of the HTTP API: what a script or a notebook asks of a running Tidegate."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, Self

import httpx
import orjson

from forecaster.domain.errors import (
    ActuatorUnavailableError,
    BusyError,
    DataError,
    StoreUnavailableError,
    TidegateError,
)

TIMEOUT_S = 30.0


class Client:
    """Speaks to one Tidegate.

    Parameters
    ----------
    url : str
        Its address, as `tidegate run` prints it.
    token : str
        Bearer token; empty where none is asked for.
    user : str
        Who asks, for the audit log; nobody checks it.

    Examples
    --------
    >>> with Client("http://127.0.0.1:8780") as tidegate:  # doctest: +SKIP
    ...     tidegate.pin("chat", 6, seconds=7200, why="release night")
    """

    def __init__(self, url: str, token: str = "", user: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if user:
            headers["X-Tidegate-User"] = user
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def services(self) -> list[dict[str, Any]]:
        """Every service in a line each."""
        return list(self._ask("GET", "/v1/services")["services"])

    def service(self, name: str) -> dict[str, Any]:
        """One service."""
        return self._of(name, "")

    def plan(self, name: str) -> dict[str, Any]:
        """The tide table in force."""
        return self._of(name, "/plan")

    def forecast(self, name: str, horizon_s: float = 86_400.0) -> dict[str, Any]:
        """Quantiles of the coming load."""
        return self._of(name, f"/forecast?horizon_s={horizon_s:g}")

    def ledger(self, name: str) -> dict[str, Any]:
        """Accounts of the last 30 days, day by day."""
        return self._of(name, "/ledger")

    def statement(self, name: str, month: str = "") -> dict[str, Any]:
        """A month."""
        return self._of(name, f"/statement?month={month}")

    def report(self, name: str) -> dict[str, Any]:
        """What the last week would have been under Tidegate."""
        return self._of(name, "/report")

    def pin(self, name: str, units: int, seconds: float, why: str = "") -> dict[str, Any]:
        """Hold a number of units for a while."""
        return self._order("PUT", name, "/pin", {"units": units, "seconds": seconds, "why": why})

    def unpin(self, name: str) -> dict[str, Any]:
        """Let the plan decide again."""
        return self._order("DELETE", name, "/pin", None)

    def set_mode(self, name: str, mode: str, why: str = "") -> dict[str, Any]:
        """observe, approve or act."""
        return self._order("PUT", name, "/mode", {"mode": mode, "why": why})

    def approve(self, name: str, order_id: str, approved: bool = True) -> dict[str, Any]:
        """Say yes or no to the order that waits."""
        return self._order("POST", name, "/answer", {"order_id": order_id, "approved": approved})

    def freeze(self, on: bool, why: str = "") -> dict[str, Any]:
        """Stop every order, or let them go again."""
        found: dict[str, Any] = self._ask("PUT", "/v1/freeze", {"frozen": on, "why": why})
        return found

    def audit(self, page: int = 100) -> Iterator[dict[str, Any]]:
        """Every change by hand, newest first, `page` at a time."""
        yield from self._pages(f"/v1/audit?limit={page}", "changes", "before_id")

    def decisions(self, name: str, page: int = 100) -> Iterator[dict[str, Any]]:
        """Every decision that changed something, newest first, `page` at a time."""
        yield from self._pages(
            f"/v1/services/{name}/decisions?limit={page}", "decisions", "before_id"
        )

    def activity(self, name: str = "", page: int = 100) -> Iterator[dict[str, Any]]:
        """Alerts, changes by hand and orders, newest first; of one service or of all."""
        yield from self._pages(f"/v1/activity?service={name}&limit={page}", "entries", "before")

    def frontier(self, name: str) -> dict[str, Any]:
        """What was played last of elasticity and target, and the job under way."""
        return self._of(name, "/frontier")

    def events(self) -> Iterator[dict[str, Any]]:
        """The overview every second, without an end."""
        with self._http.stream("GET", "/v1/events") as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    found = orjson.loads(line[5:])
                    if isinstance(found, dict):
                        yield found

    def _pages(self, path: str, rows: str, cursor: str) -> Iterator[dict[str, Any]]:
        following = ""
        while True:
            found = self._ask("GET", path + following)
            yield from found[rows]
            if found[cursor] is None:
                return
            following = f"&{cursor}={found[cursor]}"

    def _of(self, name: str, tail: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("GET", f"/v1/services/{name}{tail}")
        return found

    def _order(self, method: str, name: str, tail: str, body: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(method, f"/v1/services/{name}{tail}", body)
        return found

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {} if method == "GET" else {"Idempotency-Key": uuid.uuid4().hex}
        try:
            answer = self._http.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise ActuatorUnavailableError(
                f"no Tidegate answers at {self._http.base_url}", "start `tidegate run`"
            ) from error
        if answer.is_success:
            return answer.json()
        raise _refusal(answer)


def _refusal(answer: httpx.Response) -> TidegateError:
    try:
        told = answer.json()
        detail, remedy = str(told["detail"]), str(told["remedy"])
    except (ValueError, KeyError, TypeError):
        return TidegateError(f"{answer.url} answered {answer.status_code}")
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return BusyError(detail, float(answer.headers.get("retry-after", "10")))
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return StoreUnavailableError(detail, remedy)
    kind = DataError if answer.status_code == httpx.codes.NOT_FOUND else TidegateError
    return kind(detail, remedy)
