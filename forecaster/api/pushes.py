"""Load that is pushed: Prometheus remote write, OTLP metrics and traces over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from forecaster.api.problems import problem
from forecaster.domain.errors import DataError, TidegateError

BODY_BYTES_MOST = 8 << 20
AT_ONCE = 4
"""Bodies that are decoded and stored at the same time."""
WAITING_MOST = 64
PROTOBUF, JSON = "application/x-protobuf", "application/json"


class Body(NamedTuple):
    """What was sent."""

    data: bytes
    content_type: str
    encoding: str


class Taken(NamedTuple):
    """What became of it.

    Attributes
    ----------
    samples : int
        That were sent, of any series.
    refused : int
        That a service is told by and that were not kept.
    why : str
    """

    samples: int
    refused: int
    why: str


class Intake(Protocol):
    """Takes load; what it returns from is stored."""

    def remote_write(self, body: Body) -> Taken:
        """Samples of Prometheus."""
        ...

    def otlp(self, signal: str, body: Body) -> bytes:
        """OTLP `metrics` or `traces`; the response in the language of the body."""
        ...


class _Turns:
    """Lets a few bodies in at a time, and no queue grow."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def take(self, request: Request, work: Callable[[Body], Response]) -> Response:
        """Read a body, then let it be stored.

        A sender tries again after 5xx and gives up what is answered 4xx: only a body that can never
        be taken gets one.
        """
        if self._waiting >= WAITING_MOST:
            return problem(503, "Busy", "too many bodies wait", "send again in a moment")
        self._waiting += 1
        try:
            data = await _body(request)
            if data is None:
                most = f"at most {BODY_BYTES_MOST >> 20} MiB"
                return problem(413, "Body", "the body is too long", f"send {most} at once")
            headers = request.headers
            sent = Body(
                data, headers.get("content-type", ""), headers.get("content-encoding", "").lower()
            )
            async with self._free:
                return await run_in_threadpool(work, sent)
        except DataError as error:
            return problem(400, "Body", error.problem, error.remedy)
        except TidegateError as error:
            return problem(503, type(error).__name__, error.problem, error.remedy)
        finally:
            self._waiting -= 1


def push_routes(app: FastAPI, intake: Intake) -> None:
    """Add the routes."""
    turns = _Turns()

    def written(body: Body) -> Response:
        taken = intake.remote_write(body)
        counts = {
            "X-Prometheus-Remote-Write-Samples-Written": str(taken.samples - taken.refused),
            "X-Prometheus-Remote-Write-Histograms-Written": "0",
            "X-Prometheus-Remote-Write-Exemplars-Written": "0",
        }
        if not taken.refused:
            return Response(status_code=204, headers=counts)
        refusal = problem(
            400, "Samples", f"{taken.refused} samples {taken.why}", "the others are kept"
        )
        refusal.headers.update(counts)
        return refusal

    def answered(signal: str) -> Callable[[Body], Response]:
        def answer(body: Body) -> Response:
            kind = JSON if JSON in body.content_type else PROTOBUF
            return Response(intake.otlp(signal, body), media_type=kind)

        return answer

    @app.post(
        "/api/v1/write", tags=["push"], status_code=204, openapi_extra=_sends(PROTOBUF),
        responses=_REFUSALS,
    )  # fmt: skip
    async def write(request: Request) -> Response:
        """Prometheus remote write, 1.0 and 2.0: counters of services with `source = "push"`."""
        return await turns.take(request, written)

    @app.post(
        "/otlp/v1/metrics", tags=["push"], response_class=Response,
        openapi_extra=_sends(PROTOBUF, JSON), responses=_REFUSALS | _ANSWERS,
    )  # fmt: skip
    async def otlp_metrics(request: Request) -> Response:
        """OTLP metrics: counters of services with `source = "push"`."""
        return await turns.take(request, answered("metrics"))

    @app.post(
        "/otlp/v1/traces", tags=["push"], response_class=Response,
        openapi_extra=_sends(PROTOBUF, JSON), responses=_REFUSALS | _ANSWERS,
    )  # fmt: skip
    async def otlp_traces(request: Request) -> Response:
        """OTLP traces: model calls of services with `source = "spans"`, each span once."""
        return await turns.take(request, answered("traces"))


_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "It will never be taken: do not send it again"},
    413: {"description": "Too long"},
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Taken",
        "content": {PROTOBUF: _BYTES, JSON: {"schema": {"type": "object"}}},
    }
}


def _sends(*kinds: str) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": dict.fromkeys(kinds, _BYTES)}}


async def _body(request: Request) -> bytes | None:
    """The body; None when it is too long, which is seen before it is read."""
    found = bytearray()
    if int(request.headers.get("content-length") or 0) > BODY_BYTES_MOST:
        return None
    async for piece in request.stream():
        found += piece
        if len(found) > BODY_BYTES_MOST:
            return None
    return bytes(found)
