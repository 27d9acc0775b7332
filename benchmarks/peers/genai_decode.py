"""Decoding steps of onnxruntime-genai: started in its own environment, told on standard input.

Reads lines ``batch tokens`` and answers each, as JSON, with the mean step behind the prompts: its seconds of the
wall and of the processor.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnxruntime_genai as og


def main(folder: str, prompt: list[int]) -> None:
    model = og.Model(folder)
    print("ready", flush=True)
    for line in sys.stdin:
        batch, tokens = map(int, line.split())
        params = og.GeneratorParams(model)
        length = len(prompt) + tokens
        params.set_search_options(
            batch_size=batch, max_length=length, min_length=length, do_sample=False
        )
        generator = og.Generator(model, params)
        generator.append_tokens(np.array([prompt] * batch, np.int32))
        generator.generate_next_token()
        wall_s, busy_s = time.perf_counter(), time.process_time()
        for _ in range(tokens - 1):
            generator.generate_next_token()
        steps = [(time.perf_counter() - wall_s), (time.process_time() - busy_s)]
        made = [int(each) for each in generator.get_sequence(0)[len(prompt) :]]
        answer = {"step_s": [each / (tokens - 1) for each in steps], "tokens": made}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
