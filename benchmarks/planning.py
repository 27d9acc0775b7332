"""Planning a day ahead for a thousand services: seconds of one core.

Each service: quantiles of 288 slots through a capacity curve of 1..64 units, then the exact
schedule; and the whole tide table as the daemon makes it, 1,440 slots with their reasons and the
week's peak. ``python -m benchmarks.planning``.
"""

from __future__ import annotations

import time

import numpy as np
from threadpoolctl import threadpool_limits

from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.plan import Binding
from forecaster.domain.service import Limits
from forecaster.planning.layers import Costs, schedule
from forecaster.planning.policy import Policy
from forecaster.planning.risk import expected_outside_rps, tabulate
from forecaster.planning.tide import Capacity, Present, tide_table
from forecaster.seasonal.calibration import LEVELS

SERVICES, SLOTS, UNITS = 1000, 288, 64
TABLES = 100


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
        core_s = time.process_time() - begin
        return {"services": SERVICES, "cpu_s": core_s, "table_ms": tables_ms(loads)}


def tables_ms(loads: list[np.ndarray]) -> float:
    """CPU milliseconds of one tide table of 24 h from a forecast of a week."""
    capacity = Capacity(tabulate(Saturating(), 0.5, 80.0, UNITS), (Binding.NONE,) * UNITS, 0.1)
    policy = Policy(Limits(1, UNITS), price_s=3.0, lead_time_s=180.0)
    begin = time.process_time()
    for load in loads[:TABLES]:
        week = np.tile(load, (7, 1))
        forecast = QuantileForecast("s", 0.0, 300.0, LEVELS, week, week * 0.1, 0.0, "pool")
        tide_table(forecast, capacity, policy, Present(10))
    return 1000 * (time.process_time() - begin) / TABLES


def markdown() -> str:
    found = measured()
    return (
        "## Planning\n\n"
        f"{SERVICES:,} services, 24 h in {SLOTS} slots, 1..{UNITS} units: {found['cpu_s']:.2f} CPU-s"
        f" (aim: 2 s). The daemon's whole tide table (1,440 slots with reasons, the week's peak):"
        f" {found['table_ms']:.1f} ms of CPU each. `python -m benchmarks.planning`\n"
    )


if __name__ == "__main__":
    print(markdown())
