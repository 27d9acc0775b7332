"""The formulas against a real unit: measured TTFT and TPOT under Poisson load over predicted ones.

python -m benchmarks.unit_model [seconds at each load]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np

from actuators.onnx_tier.demo_models import build_demo_models
from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.profiler import measure
from actuators.onnx_tier.spec import TierService, TierSpec
from forecaster.capacity import generative
from forecaster.capacity.generative import Load
from forecaster.capacity.sizing import Question, size
from forecaster.config import load_unit_type
from forecaster.domain.demand import TokenMix
from forecaster.domain.service import Slo

MODELS = Path(__file__).resolve().parents[1] / "models"
LOADS = (0.3, 0.5, 0.7)
PROMPT, OUTPUT, SCV = 48, 24, 0.5


def lengths(rng: np.random.Generator, mean: float, count: int, most: int) -> np.ndarray:
    sigma2 = np.log1p(SCV)
    drawn = rng.lognormal(np.log(mean) - sigma2 / 2, np.sqrt(sigma2), count)
    return np.clip(np.rint(drawn), 2, most).astype(int)


async def play(url: str, rate: float, seconds: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    count = rng.poisson(rate * seconds)
    at = np.sort(rng.random(count) * seconds)
    prompt, output = lengths(rng, PROMPT, count, 160), lengths(rng, OUTPUT, count, 96)
    letters = rng.integers(97, 123, (count, 160), dtype=np.uint8)

    async def one(client: httpx.AsyncClient, i: int) -> None:
        await asyncio.sleep(float(at[i]))
        # Prompts that begin alike would be read once: the profile counts reading.
        text = letters[i, : prompt[i]].tobytes().decode()
        body = {"model": "chat", "prompt": text, "max_tokens": int(output[i])}
        (await client.post("/v1/completions", json=body)).raise_for_status()

    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*(one(client, i) for i in range(count)))
    return prompt, output


def wait_ready(actuator: object) -> None:
    while actuator.observe("chat").ready < 1:  # type: ignore[attr-defined]
        pass


def main(seconds: float) -> str:
    build_demo_models(MODELS)
    declared = load_unit_type(MODELS, "tiny-llama")
    model = MODELS / "tiny-llama" / declared.model_file
    found = measure(declared, model, 3.0)
    unit = replace(declared, profile=found.profile)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        spec = TierSpec(Path(folder), (TierService("chat", unit, model),))
        with start_tier(spec, Path(folder) / "log") as tier, tier.actuator() as actuator:
            actuator.prewarm("chat", 1, reason="benchmark", order_key="one")
            wait_ready(actuator)
            seq = 0
            for rho in LOADS:
                mix = TokenMix.of(PROMPT, OUTPUT, SCV)
                per_request = generative.mean_state(unit.profile, Load(1.0, 1, mix)).rho
                rate = rho / per_request
                prompt, output = asyncio.run(play(tier.url, rate, seconds, seed=round(100 * rho)))
                records = actuator.requests_after(seq)
                seq = records[-1].seq
                mix = TokenMix(prompt.mean(), output.mean(), (prompt**2).mean(), (output**2).mean(),
                               (prompt * output).mean())  # fmt: skip
                rate = len(records) / seconds
                predicted = size_one(Question(unit, Slo(60.0, 60.0), mix), rate)
                ttft = [r.ttft_s for r in records]
                tpot = [r.tpot_s for r in records if np.isfinite(r.tpot_s)]
                ratios = [
                    np.quantile(ttft, 0.5) / predicted.ttft_s[0],
                    np.quantile(ttft, 0.99) / predicted.ttft_s[1],
                    np.quantile(tpot, 0.5) / predicted.tpot_s[0],
                    np.quantile(tpot, 0.99) / predicted.tpot_s[1],
                ]
                rows.append((rho, rate, len(records), *ratios))
    lines = [
        "## A real unit against the formulas",
        "",
        f"tiny-llama at compute share {unit.compute_share}, Poisson arrivals, measured / predicted;"
        f" fit error of the profile {found.fit_error:.0%}. `python -m benchmarks.unit_model {seconds:g}`",
        "",
        "| rho | requests/s | requests | TTFT p50 | TTFT p99 | TPOT p50 | TPOT p99 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rho, rate, count, *ratios in rows:
        cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        lines.append(f"| {rho:g} | {rate:.1f} | {count} | {cells} |")
    return "\n".join(lines) + "\n"


def size_one(question: Question, rate: float):  # type: ignore[no-untyped-def]
    found = size(question, rate)
    assert found.units == 1
    return found


if __name__ == "__main__":
    print(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
