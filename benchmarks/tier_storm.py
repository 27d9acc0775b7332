"""A storm over a real tier: units come, go, are killed and hang while clients send, leave and err.

python -m benchmarks.tier_storm [requests]
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from actuators.onnx_tier.client import OnnxTierActuator
from actuators.onnx_tier.demo_models import build_demo_models
from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.spec import TierService, TierSpec
from forecaster.domain.errors import ActuatorError
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType

LLAMA = UnitType(
    "tiny-llama",
    GenerativeProfile(4e-4, 5e-5, 5e-7, 5e-5, max_batch=16, chunk_tokens=64, kv_tokens=8192),
    drain_deadline_s=60.0,
)
MLP = UnitType("mlp", ClassicProfile(((1, 0.001), (32, 0.004))), drain_deadline_s=30.0)
CLIENTS = 24
UNITS = (1, 4)
KINDS = ("infer",) * 10 + ("complete",) * 4 + ("stream",) * 4 + ("leave", "malformed")


@dataclass
class Storm:
    """What was sent and how it ended."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    blows: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def sent(self) -> int:
        return sum(self.outcomes.values())


class Clients:
    """Clients that know what a right answer looks like."""

    def __init__(self, url: str, storm: Storm, seed: int) -> None:
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        self.http = httpx.AsyncClient(base_url=url, timeout=120, limits=limits)
        self.storm = storm
        self.random = random.Random(seed)
        self.right: dict[str, str] = {}

    async def run(self, count: int) -> None:
        orders = iter([self.random.choice(KINDS) for _ in range(count)])
        await asyncio.gather(*(self._client(orders) for _ in range(CLIENTS)))
        await self.http.aclose()

    async def _client(self, orders: Any) -> None:
        for kind in orders:
            try:
                outcome = await getattr(self, f"_{kind}")()
            except httpx.HTTPError as error:
                outcome = f"{kind}: {type(error).__name__}"
                self.storm.wrong.append(f"{kind} got no answer: {error!r}")
            self.storm.outcomes[outcome] += 1

    async def _infer(self) -> str:
        row = [float(self.random.randrange(8))] * 64
        tensor = {"name": "features", "datatype": "FP32", "shape": [1, 64], "data": row}
        answer = await self.http.post("/v2/models/mlp/infer", json={"inputs": [tensor]})
        if answer.status_code == 200:
            self._same(f"infer {row[0]}", f"{max(answer.json()['outputs'][0]['data']):.3f}")
        return self._named("infer", answer.status_code, answer.text)

    async def _complete(self) -> str:
        prompt, body = self._order()
        answer = await self.http.post("/v1/completions", json=body)
        if answer.status_code == 200:
            self._same(prompt, answer.json()["choices"][0]["text"])
        return self._named("complete", answer.status_code, answer.text)

    async def _stream(self) -> str:
        prompt, body = self._order()
        lines: list[str] = []
        async with self.http.stream("POST", "/v1/completions", json=body | {"stream": True}) as got:
            lines = [line[6:] async for line in got.aiter_lines() if line]
        if got.status_code != 200:
            return self._named("stream", got.status_code, lines[-1] if lines else "")
        if lines[-1] != "[DONE]":
            return self._named("stream", 502, lines[-1])
        import orjson

        self._same(prompt, "".join(orjson.loads(x)["choices"][0]["text"] for x in lines[:-1]))
        return "stream 200"

    async def _leave(self) -> str:
        _, body = self._order(400)
        async with self.http.stream("POST", "/v1/completions", json=body | {"stream": True}) as got:
            async for _ in got.aiter_lines():
                break
        return "left"

    async def _malformed(self) -> str:
        content = self.random.choice([b"{", b"[" * 5000, b'{"model": "chat"}', b"\xff"])
        path = self.random.choice(["/v1/completions", "/v2/models/mlp/infer"])
        answer = await self.http.post(path, content=content)
        if answer.status_code not in {400, 404}:
            self.storm.wrong.append(f"malformed: {answer.status_code}")
        return "refused"

    def _order(self, tokens: int = 0) -> tuple[str, dict[str, Any]]:
        number = self.random.randrange(40)
        prompt = f"vessel {number} asks for a berth " * (1 + number % 3)
        tokens = tokens or 8 + number
        return prompt, {"model": "chat", "prompt": prompt, "max_tokens": tokens, "temperature": 0}

    def _same(self, question: str, answer: str) -> None:
        if self.right.setdefault(question, answer) != answer:
            self.storm.wrong.append(f"{question!r}: two answers")

    def _named(self, kind: str, status: int, text: str) -> str:
        """One clear error is an end; anything else is wrong."""
        if status not in {200, 502, 503} or (status == 502 and "unit" not in text):
            self.storm.wrong.append(f"{kind}: {status} {text[:200]}")
        return f"{kind} {status}"


class Weather:
    """Orders, kills and hangs units until told to stop."""

    def __init__(self, actuator: OnnxTierActuator, storm: Storm, seed: int, kills: bool) -> None:
        self.actuator = actuator
        self.storm = storm
        self.random = random.Random(seed)
        self.kills = kills
        self.number = 0

    async def rage(self) -> None:
        while True:
            await asyncio.to_thread(self._blow)
            await asyncio.sleep(self.random.uniform(0.01, 0.05))

    def _blow(self) -> None:
        self.number += 1
        service = self.random.choice(["chat", "mlp"])
        ready = [u for u in self.actuator.observe(service).units if u.state is UnitState.READY]
        kind = self.random.choice(["prewarm", "prewarm", "drain", "drain", "kill", "hang"])
        key = f"storm-{self.number}"
        if kind == "prewarm" and len(ready) < UNITS[1]:
            with suppress(ActuatorError):  # no room
                self.actuator.prewarm(service, 1, reason="storm", order_key=key)
        elif kind == "drain" and len(ready) > UNITS[0]:
            self.actuator.drain(service, 1, reason="storm", order_key=key)
        elif kind in {"kill", "hang"} and self.kills and len(ready) > 1 and self._seldom(kind):
            pid = self.actuator.stats()["pids"].get(self.random.choice(ready).unit_id, 0)
            with suppress(ProcessLookupError):
                if pid:
                    os.kill(pid, signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        else:
            return
        self.storm.blows[kind] += 1

    def _seldom(self, kind: str) -> bool:
        return self.random.random() < (0.2 if kind == "kill" else 0.05)


async def storm(
    url: str, actuator: OnnxTierActuator, count: int, seed: int = 1, kills: bool = True
) -> Storm:
    """Send `count` requests through a storm; both services need a ready unit before."""
    found = Storm()
    weather = Weather(actuator, found, seed, kills)
    began_s = time.monotonic()
    raging = asyncio.create_task(weather.rage())
    try:
        await Clients(url, found, seed).run(count)
    finally:
        raging.cancel()
        with suppress(asyncio.CancelledError):
            await raging
    found.seconds = time.monotonic() - began_s
    return found


def resources(pid: int) -> tuple[int, int, int]:
    """Open files, resident KiB and child processes of a process (Linux)."""
    folder = Path(f"/proc/{pid}")
    rss = next(
        int(line.split()[1])
        for line in (folder / "status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )
    children = (folder / "task" / str(pid) / "children").read_text().split()
    return len(list((folder / "fd").iterdir())), rss, len(children)


def main(count: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        home, models = Path(folder) / "home", Path(folder) / "models"
        build_demo_models(models)
        served = (
            TierService("chat", LLAMA, models / "tiny-llama" / "model.onnx", queue_limit=4096),
            TierService("mlp", MLP, models / "mlp-classifier" / "model.onnx", queue_limit=4096),
        )
        spec = TierSpec(home, served, max_units_total=9, heartbeat_timeout_s=3.0)
        with start_tier(spec, home / "log") as tier, tier.actuator() as actuator:
            for service in ("chat", "mlp"):
                actuator.prewarm(service, 1, reason="storm", order_key=service)
                while not actuator.observe(service).ready:
                    pass
            before = resources(tier.process.pid)
            found = asyncio.run(storm(tier.url, actuator, count))
            after = resources(tier.process.pid)
            edges = Counter(e.after for e in _all_events(actuator))
    lines = [
        "## The tier in a storm",
        "",
        f"{found.sent:,} requests of {CLIENTS} clients in {found.seconds:.0f} s on two cores while units are"
        f" pre-warmed, drained, killed (-9) and hung. `python -m benchmarks.tier_storm {count}`",
        "",
        "| outcome | requests |",
        "| --- | ---: |",
        *(f"| {name} | {number:,} |" for name, number in sorted(found.outcomes.items())),
        "",
        f"- blows: {', '.join(f'{name} {number}' for name, number in sorted(found.blows.items()))};"
        f" unit generations {edges[UnitState.READY]:,}, failed {edges[UnitState.FAILED]:,}",
        f"- wrong answers, lost connections, unclear errors: {len(found.wrong)}",
        f"- the tier's open files {before[0]} -> {after[0]}, memory {before[1] / 1024:.0f} ->"
        f" {after[1] / 1024:.0f} MB",
        *(f"  - {each}" for each in found.wrong[:10]),
    ]
    return "\n".join(lines) + "\n"


def _all_events(actuator: OnnxTierActuator) -> list[Any]:
    events: list[Any] = []
    while found := actuator.events_after(events[-1].seq if events else 0, 10_000):
        events += found
    return events


if __name__ == "__main__":
    print(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
