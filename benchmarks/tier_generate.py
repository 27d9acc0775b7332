"""Continuous against static batching on the real engine, in real time.

python -m benchmarks.tier_generate [seconds]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import numpy as np

from actuators.onnx_tier.demo_models import build_demo_models
from actuators.onnx_tier.engine_generate import GenerateEngine, GenerateRequest
from actuators.onnx_tier.session import open_session
from forecaster.domain.profile import GenerativeProfile

RATES_RPS = (15.0, 40.0)
SLOTS = 8
LIMITS = GenerativeProfile(0, 0, 0, 0, max_batch=SLOTS, chunk_tokens=128, kv_tokens=16384)


def play(
    path: Path, seconds: float, rate_rps: float, *, static: bool
) -> tuple[float, float, float, float]:
    """Poisson arrivals; static: whoever arrives waits until the whole batch has ended."""
    engine = GenerateEngine(open_session(path, "cpu", 1), LIMITS, prefix_share=0.0)
    random = np.random.default_rng(4)
    count = int(rate_rps * seconds)
    due_s = np.cumsum(random.exponential(1 / rate_rps, count))
    prompts = [random.integers(32, 127, random.integers(16, 129)) for _ in range(count)]
    outputs = random.integers(8, 85, count)
    waiting: deque[int] = deque()
    first, last = np.full(count, np.nan), np.full(count, np.nan)
    began_s, sent, left = time.perf_counter(), 0, count
    while left:
        now_s = time.perf_counter() - began_s
        while sent < count and due_s[sent] <= now_s:
            waiting.append(sent)
            sent += 1
        if not static or not engine.has_work:
            for _ in range(min(len(waiting), SLOTS if static else count)):
                number = waiting.popleft()
                engine.submit(GenerateRequest(number, prompts[number], int(outputs[number])))
        for out in engine.step() if engine.has_work else []:
            at_s = time.perf_counter() - began_s
            if np.isnan(first[out.request_id]):
                first[out.request_id] = at_s
            if out.finish:
                last[out.request_id] = at_s
                left -= 1
    ttft_s = first - due_s
    tpot_s = (last - first) / np.maximum(outputs - 1, 1)
    return (
        *(float(np.quantile(ttft_s, q)) for q in (0.5, 0.99)),
        *(float(np.quantile(tpot_s, q)) for q in (0.5, 0.99)),
    )


def main(seconds: float) -> str:
    lines = [
        "## Continuous batching",
        "",
        f"The tiny Llama on the real engine, Poisson arrivals, prompts of 16-128 tokens, 8-84 out,"
        f" {SLOTS} slots, one thread, {seconds:g} s each. `python -m benchmarks.tier_generate {seconds:g}`",
        "",
        "| requests/s | batching | TTFT p50 / p99 ms | TPOT p50 / p99 ms |",
        "| ---: | --- | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        build_demo_models(Path(folder))
        path = Path(folder) / "tiny-llama" / "model.onnx"
        for rate_rps in RATES_RPS:
            for name, static in (("static", True), ("continuous", False)):
                a, b, c, d = (1e3 * each for each in play(path, seconds, rate_rps, static=static))
                lines.append(f"| {rate_rps:g} | {name} | {a:.1f} / {b:.1f} | {c:.2f} / {d:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0))
