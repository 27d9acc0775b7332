"""A load generator that costs little itself: keep-alive HTTP/1.1 on raw asyncio protocols."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import orjson
import uvloop


def infer_request(model: str, features: np.ndarray) -> bytes:
    """Return one binary V2 request."""
    raw = features.tobytes()
    tensor = {
        "name": "features",
        "datatype": "FP32",
        "shape": list(features.shape),
        "parameters": {"binary_data_size": len(raw)},
    }
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return (
        (
            f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: bench\r\n"
            f"inference-header-content-length: {len(head)}\r\n"
            f"content-length: {len(head) + len(raw)}\r\n\r\n"
        ).encode()
        + head
        + raw
    )


def post(path: str, body: object) -> bytes:
    """Return one JSON request."""
    raw = orjson.dumps(body)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"content-length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


class _Client(asyncio.Protocol):
    """Sends one request, waits for its answer, sends the next."""

    def __init__(self, request: bytes, until_s: float, done: asyncio.Future[None]) -> None:
        self.request = request
        self.until_s = until_s
        self.done = done
        self.latencies_s: list[float] = []
        self.failed = 0
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self.sent_s = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self.buffer[:end].lower().find(b"content-length: ") + 16
        length = int(self.buffer[at : self.buffer.find(b"\r", at)])
        if len(self.buffer) < end + 4 + length:
            return
        now_s = time.perf_counter()
        self.latencies_s.append(now_s - self.sent_s)
        self.failed += not self.buffer.startswith(b"HTTP/1.1 200")
        self.buffer = b""
        if now_s < self.until_s:
            self._send()
        else:
            self.transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _load(url: str, request: bytes, clients: int, seconds: float) -> list[_Client]:
    host, port = url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    until_s = time.perf_counter() + seconds
    made = []
    for _ in range(clients):
        client = _Client(request, until_s, loop.create_future())
        await loop.create_connection(lambda c=client: c, host, int(port))
        made.append(client)
    await asyncio.gather(*(each.done for each in made))
    return made


def load(url: str, request: bytes, clients: int, seconds: float) -> tuple[float, float, float]:
    """Return (p50 s, p99 s, requests/s) of `clients` that each wait for their answer."""
    made = uvloop.run(_load(url, request, clients, seconds))
    if failed := sum(each.failed for each in made):
        raise RuntimeError(f"{failed} requests failed")
    latencies = np.concatenate([each.latencies_s for each in made])
    return (
        float(np.median(latencies)),
        float(np.quantile(latencies, 0.99)),
        latencies.size / seconds,
    )


class _Player(asyncio.Protocol):
    """A connection that sends what it is given and hands itself back when it is answered."""

    def __init__(self, idle: list[_Player], answered: list[int]) -> None:
        self.idle, self.answered = idle, answered
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        if self in self.idle:  # the server closes what is idle for long
            self.idle.remove(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self.buffer[:end].lower().find(b"content-length: ") + 16
        if len(self.buffer) < end + 4 + int(self.buffer[at : self.buffer.find(b"\r", at)]):
            return
        self.answered.append(int(self.buffer[9:12]))
        self.buffer = b""
        self.idle.append(self)


async def _play(url: str, requests: list[bytes], at_s: np.ndarray) -> list[int]:
    host, port = url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    idle: list[_Player] = []
    answered: list[int] = []
    began_s = loop.time()
    for request, due_s in zip(requests, at_s, strict=True):
        await asyncio.sleep(max(0.0, began_s + float(due_s) - loop.time()))
        if not idle:
            _, player = await loop.create_connection(
                lambda: _Player(idle, answered), host, int(port)
            )
        else:
            player = idle.pop()
        player.transport.write(request)
    while len(answered) < len(requests):
        await asyncio.sleep(0.05)
    return answered


def play(url: str, requests: list[bytes], at_s: np.ndarray) -> None:
    """Send each request at its time, s from now, whatever became of those before it.

    Raises
    ------
    RuntimeError
        When one is not answered with 200.
    """
    answered = uvloop.run(_play(url, requests, at_s))
    if failed := sum(status != 200 for status in answered):
        raise RuntimeError(f"{failed} of {len(answered)} requests failed")
