"""`tidegate profile` against engines whose step time is known: what was found over what is true.

The engine is a server of its own process that speaks the OpenAI API and sleeps for each step as long as its
profile says: prefill fused with decoding as vLLM does it, or each prompt in a pass of its own. Run
``python -m benchmarks.engine_probe``.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, StreamingResponse

from actuators.probe.measure import Grid
from forecaster.domain.profile import GenerativeProfile
from forecaster.wiring.probe import Target, probe

ENGINES = {
    "fused, 70B on eight H100": GenerativeProfile(
        0.0298, 2.08e-4, 1.7e-7, 9.1e-5, max_batch=48, chunk_tokens=2048, kv_tokens=400_000
    ),
    "fused, 8B on one": GenerativeProfile(
        0.008, 1.5e-4, 3e-7, 3e-5, max_batch=32, chunk_tokens=1024, kv_tokens=200_000
    ),
    "passes of their own": GenerativeProfile(
        0.012, 3e-4, 2e-7, 6e-5, delta_s=0.006, max_batch=16, chunk_tokens=1024, kv_tokens=100_000
    ),
}


@dataclass(eq=False)
class Sequence:
    """A request in the engine."""

    prompt: int
    output: int
    unread: int
    made: int = 0
    pieces: asyncio.Queue[bool] = field(default_factory=asyncio.Queue)


class Paced:
    """Continuous batching that takes the time which a profile says."""

    def __init__(self, profile: GenerativeProfile) -> None:
        self.profile = profile
        self.waiting: list[Sequence] = []
        self.batch: list[Sequence] = []
        self.due_s = time.perf_counter()

    async def run(self) -> None:
        """Step for ever."""
        while True:
            room = self.profile.max_batch - len(self.batch)
            self.batch += self.waiting[:room]
            del self.waiting[:room]
            if not self.batch:
                await asyncio.sleep(0.0005)
                self.due_s = time.perf_counter()
                continue
            await self._step()

    async def _step(self) -> None:
        profile, left = self.profile, self.profile.chunk_tokens
        decoding = [each for each in self.batch if not each.unread]
        cached = sum(each.prompt + each.made for each in decoding)
        read = reads = 0
        for each in self.batch:
            part = min(each.unread, left)
            each.unread -= part
            read, left, reads = read + part, left - part, reads + (part > 0)
        self.due_s += profile.step_s(len(decoding), cached, reads, read)
        await asyncio.sleep(max(self.due_s - time.perf_counter(), 0.0))
        for each in [each for each in self.batch if not each.unread]:
            each.made += 1
            each.pieces.put_nowait(each.made == each.output)
            if each.made == each.output:
                self.batch.remove(each)


def serve(profile: GenerativeProfile, port: int) -> None:
    """Serve until killed."""
    app, engine, running = FastAPI(), Paced(profile), set()

    @app.on_event("startup")
    async def begin() -> None:
        running.add(asyncio.create_task(engine.run()))

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"data": [{"id": "paced"}]}

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        blocks = profile.kv_tokens // 16
        text = f'vllm:cache_config_info{{block_size="16",num_gpu_blocks="{blocks}"}} 1.0\n'
        return PlainTextResponse(f"# TYPE vllm:cache_config_info gauge\n{text}")

    @app.post("/v1/completions")
    async def complete(body: dict[str, Any]) -> StreamingResponse:
        prompt = len(body["prompt"].split()) * 2
        one = Sequence(prompt, body["max_tokens"], prompt)
        engine.waiting.append(one)

        async def pieces() -> AsyncIterator[str]:
            last = False
            while not last:
                last = await one.pieces.get()
                yield 'data: {"choices": [{"text": "x", "finish_reason": null}]}\n\n'
            usage = {"prompt_tokens": prompt, "completion_tokens": one.made}
            yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n"

        return StreamingResponse(pieces(), media_type="text/event-stream")

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def measured(profile: GenerativeProfile) -> dict[str, Any]:
    """What `tidegate profile` finds of an engine that does as the profile says."""
    port = free_port()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(profile, port))
    server.start()
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.1)
        target = Target("paced", f"http://127.0.0.1:{port}", "", "", 1, 180.0, 1.0)
        grid = Grid(64, 1024, profile.chunk_tokens, 0, 3)
        with tempfile.TemporaryDirectory() as folder:
            return probe(target, grid, 60.0, Path(folder), replace=False, say=lambda _: None)
    finally:
        server.kill()
        server.join()


def row(name: str, profile: GenerativeProfile) -> str:
    """One line of the table."""
    found = measured(profile)
    ratios = [
        f"{found['profile'][each] / getattr(profile, each):.2f}"
        if getattr(profile, each)
        else f"{1000 * found['profile'][each]:.2f} ms (0)"
        for each in ("alpha_s", "beta_s", "kappa_s", "gamma_s", "delta_s")
    ]
    limits = [f"{found['profile'][each]:,}" for each in ("max_batch", "kv_tokens")]
    check = [f"{found['check'][f'{each}_ratio']:.2f}"
             for each in ("ttft_p50", "ttft_p99", "tpot_p50", "tpot_p99")]  # fmt: skip
    cells = [name, *ratios, *limits, f"{1000 * found['overhead_s']:.1f}", *check]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    print("| engine | alpha | beta | kappa | gamma | delta | batch | KV tokens | overhead ms "
          "| TTFT p50 | p99 | TPOT p50 | p99 |")  # fmt: skip
    print("| --- |" + " ---: |" * 12)
    for name, profile in ENGINES.items():
        print(row(name, profile), flush=True)


if __name__ == "__main__":
    main()
