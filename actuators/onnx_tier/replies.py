"""HTTP answers: JSON by orjson, server-sent events, and error bodies in each API's own shape."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from actuators.onnx_tier.jobs import RefusedError

BODY_BYTES_MAX = 64 << 20


class JsonReply(Response):
    """A JSON answer; NaN becomes null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the bytes of `content`."""
        return orjson.dumps(content)


class EventReply:
    """Server-sent events, one ``data:`` line each; `on_end` runs however the stream ends."""

    def __init__(self, events: AsyncIterator[bytes], on_end: Callable[[], None]) -> None:
        self._events = events
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head and then every event as it comes."""
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for event in self._events:
                body = b"data: " + event + b"\n\n"
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._on_end()


async def read_body(request: Request) -> bytes:
    """Return the request's body.

    Raises
    ------
    RefusedError
        413 above `BODY_BYTES_MAX`.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise RefusedError(413, f"the body exceeds {BODY_BYTES_MAX} bytes", "too_large")
        parts.append(part)
    return b"".join(parts)


def openai_error(refusal: RefusedError) -> dict[str, Any]:
    """Return an error body as OpenAI shapes it."""
    kind = "invalid_request_error" if refusal.status < 500 else "server_error"
    return {
        "error": {
            "message": refusal.message,
            "type": kind,
            "param": None,
            "code": refusal.code,
        }
    }


def refusal_reply(path: str, refusal: RefusedError) -> JsonReply:
    """Return the answer to a refused request, in the shape of the API under `path`."""
    body = {"error": refusal.message} if path.startswith("/v2") else openai_error(refusal)
    headers = {"Retry-After": str(refusal.retry_after_s)} if refusal.retry_after_s else None
    return JsonReply(body, refusal.status, headers)
