"""A request to an application in this process, as a client would make it over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from typing import Any

from starlette.types import ASGIApp

Headers = Sequence[tuple[bytes, bytes]]


async def ask(app: ASGIApp, path: str, body: bytes, headers: Headers = ()) -> tuple[int, bytes]:
    """Post `body` to `path`; return the status and the whole answer."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), *headers],
        "client": None,
        "server": None,
    }
    given = asyncio.Event()
    status, parts = 500, list[bytes]()

    async def receive() -> MutableMapping[str, Any]:
        if given.is_set():
            await asyncio.Event().wait()  # this client does not go away
        given.set()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return status, b"".join(parts)
