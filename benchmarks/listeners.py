"""Clients of `/v1/events` in a process of their own: what they read must not cost the daemon's.

python -m benchmarks.listeners URL CLIENTS [EVENTS]

Prints ``listening`` once all are connected. With EVENTS it ends when each has had so many overviews, and prints
the slowest client's median of the seconds between two; without, it listens until it is stopped.
"""

from __future__ import annotations

import asyncio
import sys
import time

import numpy as np

MARK = b"event: overview"
PIECE = 1 << 16


async def listen(url: str, events: int, connected: asyncio.Semaphore) -> float:
    """Median seconds between the overviews that one client was sent."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=PIECE)
    writer.write(b"GET /v1/events HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n\r\n")
    seen: list[float] = []
    tail = b""
    while not events or len(seen) < events:
        piece = await reader.read(PIECE)
        if not piece:
            raise ConnectionError("the stream ended")
        if not tail and not seen:
            connected.release()
        found = tail + piece
        seen += [time.perf_counter()] * found.count(MARK)
        tail = found[-len(MARK) + 1 :]
    writer.close()
    return float(np.median(np.diff(seen)))


async def main(url: str, clients: int, events: int) -> None:
    connected = asyncio.Semaphore(0)
    listeners = [asyncio.create_task(listen(url, events, connected)) for _ in range(clients)]
    for _ in range(clients):
        await connected.acquire()
    print("listening", flush=True)
    print(max(await asyncio.gather(*listeners)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
