"""HTTP connections that cannot be held or flooded: bounded heads, bounded time to send a request."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 64 << 10
BODY_WITHIN_FACTOR = 12
"""A body may take this many times as long as a head."""

_STATUS_LINES = {
    408: b"HTTP/1.1 408 Request Timeout\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
}


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits; a request that arrives in one piece meets none of them."""

    head_within_s = 10.0

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._receiving_head = True
        self._complete = False
        self._timer: asyncio.TimerHandle | None = None
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count a head's bytes; watch the clock while a request is incomplete."""
        if self._complete:
            self._complete, self._receiving_head, self._head_bytes = False, True, 0
        if self._receiving_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._receiving_head and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(431, f"the request's head exceeds {HEAD_BYTES_MAX} bytes")
        elif self._complete:
            self._disarm()
        elif self._timer is None:
            self._watch()

    def on_headers_complete(self) -> None:
        """Go on to the body."""
        self._receiving_head = False
        self._disarm()
        self.begin_request()

    def begin_request(self) -> None:
        """Start on a request whose head is known."""
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._complete = True
        self.end_request()

    def end_request(self) -> None:
        """Go on with a request whose body is whole."""
        super().on_message_complete()

    def _watch(self) -> None:
        head = self._receiving_head
        within_s = self.head_within_s * (1 if head else BODY_WITHIN_FACTOR)
        what = f"the request's {'head' if head else 'body'} did not come within {within_s:g} s"
        self._timer = self.loop.call_later(within_s, self._refuse, 408, what)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, message: str) -> None:
        """Answer in one line and close; the answer is left out where one is under way."""
        self._disarm()
        if self.transport.is_closing():
            return
        if self._receiving_head:
            body = orjson.dumps({"error": {"message": message, "type": "invalid_request_error"}})
            head = (
                b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            )
            self.transport.write(_STATUS_LINES[status] + head % len(body) + body)
        self.transport.close()


def guarded(head_within_s: float) -> type[GuardedProtocol]:
    """Return the protocol with another time limit."""
    return type("GuardedProtocol", (GuardedProtocol,), {"head_within_s": head_within_s})
