"""Cost of the unit calculator, and what percentiles cost against means."""

from __future__ import annotations

import time
from pathlib import Path

from forecaster.capacity.sizing import Question, capacity_rps, capacity_table, size
from forecaster.config import load_unit_type
from forecaster.domain.demand import TokenMix
from forecaster.domain.service import Slo

MODELS = Path(__file__).resolve().parents[1] / "models"
QUESTION = Question(
    load_unit_type(MODELS, "llama70b-h100x8"), Slo(2.0, 0.08), TokenMix.of(1000, 200)
)


def markdown() -> str:
    began = time.perf_counter()
    capacity_rps.cache_clear()
    capacity_table(QUESTION, 64)
    cold_s = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(20):
        size(QUESTION, 40.0)
    one_s = (time.perf_counter() - began) / 20
    rows = [(rate, size(QUESTION, rate)) for rate in (5.0, 20.0, 80.0)]
    lines = [
        "## Unit calculator",
        "",
        "llama70b-h100x8, 1000 + 200 tokens, TTFT p99 2 s, TPOT p99 0.08 s. `python -m benchmarks.sizing`",
        "",
        f"A ladder of 64 units is built in {cold_s / one_s:.0f} x the time of one `size` answer"
        f" ({1000 * one_s:.0f} ms here).",
        "",
        "| requests/s | units | utilisation | TTFT p50 / p99 | TPOT p50 / p99 | binds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for rate, found in rows:
        ttft = f"{found.ttft_s[0]:.3f} / {found.ttft_s[1]:.3f} s"
        tpot = f"{1000 * found.tpot_s[0]:.1f} / {1000 * found.tpot_s[1]:.1f} ms"
        lines.append(
            f"| {rate:g} | {found.units} | {found.utilisation:.0%} | {ttft} | {tpot} | {found.binding.value} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown())
