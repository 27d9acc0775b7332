"""Planning a day ahead for a thousand services: seconds of one core.

Each service: quantiles of 288 slots through a capacity curve of 1..64 units, then the exact
schedule. ``python -m benchmarks.planning``.
"""

from __future__ import annotations

import time

import numpy as np
from threadpoolctl import threadpool_limits

from forecaster.planning.layers import Costs, schedule
from forecaster.planning.risk import expected_outside_rps, tabulate
from forecaster.seasonal.calibration import LEVELS

SERVICES, SLOTS, UNITS = 1000, 288, 64


class Saturating:
    """A curve in closed form: nothing outside below 0.8 of a unit's rate, everything above 1.1."""

    def violation_share(self, units: int, rate_rps: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-40 * (rate_rps / max(units, 1e-9) - 0.95)))


def measured() -> dict[str, float]:
    random = np.random.default_rng(7)
    grid = tabulate(Saturating(), 0.5, 80.0, UNITS)
    day = 20 * (1.2 + np.sin(2 * np.pi * np.arange(SLOTS) / SLOTS))
    spread = np.exp(0.15 * np.linspace(-2.5, 2.5, len(LEVELS)))
    loads = [day[:, None] * spread * random.uniform(0.5, 1.2) for _ in range(SERVICES)]
    costs = Costs(300.0, 300.0, 120.0, 3.0, lead_slots=2)
    schedule(expected_outside_rps(loads[0], LEVELS, grid)[0], costs, 5)  # compiled before the clock
    with threadpool_limits(limits=1):
        begin = time.process_time()
        for load in loads:
            outside, _ = expected_outside_rps(load, LEVELS, grid)
            schedule(outside, costs, present=10)
        return {"services": SERVICES, "cpu_s": time.process_time() - begin}


def markdown() -> str:
    found = measured()
    return (
        "## Planning\n\n"
        f"{SERVICES:,} services, 24 h in {SLOTS} slots, 1..{UNITS} units: {found['cpu_s']:.2f} CPU-s"
        " (aim: 2 s). `python -m benchmarks.planning`\n"
    )


if __name__ == "__main__":
    print(markdown())
