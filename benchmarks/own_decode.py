"""Decoding steps of our engine in a process of its own, told on standard input as `benchmarks.peers.genai_decode` is.

Reads lines ``batch tokens`` and answers each, as JSON, with the mean step behind the prompts: its seconds of the
wall and of the processor.

python -m benchmarks.own_decode MODEL PROMPT
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from actuators.onnx_tier.engine_generate import GenerateEngine, GenerateRequest
from actuators.onnx_tier.session import open_session
from forecaster.domain.profile import GenerativeProfile


def main(model: Path, prompt: list[int]) -> None:
    session = open_session(model, "cpu", 1)
    print("ready", flush=True)
    for line in sys.stdin:
        batch, tokens = map(int, line.split())
        limits = GenerativeProfile(
            0, 0, 0, 0, max_batch=batch, chunk_tokens=4096, kv_tokens=batch * 512
        )
        engine = GenerateEngine(session, limits, prefix_share=0.0)
        for number in range(batch):
            engine.submit(GenerateRequest(number, np.array(prompt), tokens))
        made = [each.token for each in engine.step() if each.request_id == 0]
        wall_s, busy_s, steps = time.perf_counter(), time.process_time(), 0
        while engine.has_work:
            made += [each.token for each in engine.step() if each.request_id == 0]
            steps += 1
        spent = (time.perf_counter() - wall_s, time.process_time() - busy_s)
        answer = {"step_s": [each / steps for each in spent], "tokens": made}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
