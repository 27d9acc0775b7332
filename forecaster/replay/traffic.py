"""A traffic generator: plays a request log against a real tier, each request at its own time.

Runs as its own process (``python -m forecaster.replay.traffic SPEC.json``) so that it loads neither
the daemon nor the router. Stops sending on SIGTERM, waits for what was accepted, prints one JSON
line with what it saw.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from forecaster.clock import ScaledClock
from forecaster.replay.sample import DAY_S, Sample, day

MAX_OUTSTANDING = 512
ANSWER_TIMEOUT_S = 30.0
ALPHABET = "the tide turns before the morning and the units are ready "


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request to send: when, to whom, how long."""

    arrival_s: float
    service: str
    prompt_tokens: int
    output_tokens: int


@dataclass(slots=True)
class Tally:
    """What the generator saw."""

    sent: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)


def arrivals(samples: list[Sample], from_s: float) -> Iterator[Arrival]:
    """Requests of all samples from `from_s` on, in time order, without end."""
    number = int(from_s // DAY_S)
    while True:
        rows: list[Arrival] = []
        for sample in samples:
            batch = day(sample, number)
            columns = (batch.arrival_s, batch.prompt_tokens, batch.output_tokens)
            rows += [
                Arrival(float(t), sample.service, int(p), int(n))
                for t, p, n in zip(*columns, strict=True)
                if t >= from_s
            ]
        yield from sorted(rows, key=lambda row: row.arrival_s)
        number += 1


class Generator:
    """Sends each arrival at its time on the compressed clock."""

    def __init__(self, url: str, clock: ScaledClock) -> None:
        self.clock = clock
        self.tally = Tally()
        self.stopping = asyncio.Event()
        self.outstanding: set[asyncio.Task[None]] = set()
        limits = httpx.Limits(max_connections=MAX_OUTSTANDING, max_keepalive_connections=64)
        self.client = httpx.AsyncClient(base_url=url, timeout=ANSWER_TIMEOUT_S, limits=limits)

    async def run(self, stream: Iterator[Arrival]) -> None:
        """Send until told to stop, then wait for every answer."""
        for arrival in stream:
            if not await self._wait_until(arrival.arrival_s):
                break
            if len(self.outstanding) >= MAX_OUTSTANDING:
                self.tally.failed["not sent: too many outstanding"] += 1
                continue
            task = asyncio.create_task(self._send(arrival))
            self.outstanding.add(task)
            task.add_done_callback(self.outstanding.discard)
        if self.outstanding:
            await asyncio.wait(self.outstanding, timeout=ANSWER_TIMEOUT_S)
        await self.client.aclose()

    async def _wait_until(self, time_s: float) -> bool:
        delay_s = (time_s - self.clock.now_s()) / self.clock.speed
        if delay_s > 0:
            try:
                await asyncio.wait_for(self.stopping.wait(), delay_s)
            except TimeoutError:
                return True
        return not self.stopping.is_set()

    async def _send(self, arrival: Arrival) -> None:
        self.tally.sent += 1
        try:
            if arrival.output_tokens:
                await self._complete(arrival)
            else:
                await self._infer(arrival)
            self.tally.answered += 1
        except httpx.HTTPStatusError as error:
            self.tally.failed[str(error.response.status_code)] += 1
        except (httpx.HTTPError, OSError, ValueError) as error:
            self.tally.failed[type(error).__name__] += 1

    async def _complete(self, arrival: Arrival) -> None:
        # Each prompt begins in its own way: units read what begins alike only once.
        text = f"{self.tally.sent} " + ALPHABET * (arrival.prompt_tokens // len(ALPHABET) + 1)
        body = {
            "model": arrival.service,
            "prompt": text[: arrival.prompt_tokens],
            "max_tokens": arrival.output_tokens,
            "stream": True,
        }
        done = False
        async with self.client.stream("POST", "/v1/completions", json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                done = done or line == "data: [DONE]"
        if not done:
            raise ValueError("the stream ended early")

    async def _infer(self, arrival: Arrival) -> None:
        row = [((arrival.arrival_s * 1000 + i) % 7) / 7 for i in range(64)]
        inputs = [{"name": "features", "shape": [1, 64], "datatype": "FP32", "data": row}]
        path = f"/v2/models/{arrival.service}/infer"
        response = await self.client.post(path, json={"inputs": inputs})
        response.raise_for_status()


async def main(spec: dict[str, Any]) -> Tally:
    """Run a generator from its spec: url, clock, samples, from_s."""
    generator = Generator(spec["url"], ScaledClock(**spec["clock"]))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, generator.stopping.set)
    samples = [Sample(**values) for values in spec["samples"]]
    watch = asyncio.create_task(_stop_without_parent(generator))
    await generator.run(arrivals(samples, spec["from_s"]))
    watch.cancel()
    return generator.tally


async def _stop_without_parent(generator: Generator) -> None:
    """Standard input is a pipe from the parent: its end is the parent's end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    generator.stopping.set()


if __name__ == "__main__":
    started = time.monotonic()
    tally = asyncio.run(main(orjson.loads(Path(sys.argv[1]).read_bytes())))
    report = {
        "sent": tally.sent,
        "answered": tally.answered,
        "failed": dict(tally.failed),
        "seconds": round(time.monotonic() - started, 1),
    }
    sys.stdout.write(orjson.dumps(report).decode() + "\n")
