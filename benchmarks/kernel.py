"""Speed of the discrete-event kernel: simulated requests/s and how much faster than real time.

python -m benchmarks.kernel [requests]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from forecaster.capacity import generative
from forecaster.capacity.generative import Load
from forecaster.capacity.kernel import Routing, Simulation
from forecaster.capacity.kernel.arrivals import chat
from forecaster.config import load_unit_type
from forecaster.domain.demand import TokenMix
from forecaster.domain.profile import GenerativeProfile

MODELS = Path(__file__).resolve().parents[1] / "models"
MIX = (1000.0, 200.0, 1.0)
CASES = [
    (16, 0.6, Routing.LEAST_WORK),
    (16, 0.6, Routing.ROUND_ROBIN),
    (16, 0.6, Routing.POWER_OF_TWO),
    (16, 0.2, Routing.LEAST_WORK),
    (64, 0.6, Routing.LEAST_WORK),
]
REPEATS = 3


def measure(units: int, rho: float, rule: Routing, count: int) -> tuple[float, float]:
    """Return (requests/s, x real time) of the best of three runs, by the wall clock."""
    profile = load_unit_type(MODELS, "llama70b-h100x8").profile
    assert isinstance(profile, GenerativeProfile)
    one = generative.mean_state(profile, Load(1.0, 1, TokenMix.of(*MIX))).rho
    trace = chat(np.random.default_rng(7), units * rho / one, count, MIX)
    best_s = np.inf
    for _ in range(REPEATS):
        sim = Simulation(profile, units, rule)
        began = time.perf_counter()
        sim.run(trace, last=True)
        best_s = min(best_s, time.perf_counter() - began)
    return count / best_s, float(trace.arrival_s[-1]) / best_s


def markdown(count: int = 1_000_000) -> str:
    measure(2, 0.5, Routing.LEAST_WORK, 1_000)  # compile
    lines = [
        "## Discrete-event kernel",
        "",
        f"llama70b-h100x8, lognormal 1000 + 200 tokens (scv 1), Poisson, {count:,} requests, one core,"
        f" compiled before; best of {REPEATS} by the wall clock. Issue 3 asks for 1.0 M requests/s in"
        " the first row. `python -m benchmarks.kernel`",
        "",
        "| units | rho | router | requests/s | x real time |",
        "| --- | --- | --- | --- | --- |",
    ]
    for units, rho, rule in CASES:
        rate, speed = measure(units, rho, rule, count)
        name = rule.name.lower().replace("_", " ")
        lines.append(f"| {units} | {rho:g} | {name} | {rate / 1e6:.2f} M | {speed:,.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
