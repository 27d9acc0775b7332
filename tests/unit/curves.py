"""Capacity curves for planner tests: each unit carries so much, and what is above that is outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.domain.plan import Binding
from forecaster.planning.risk import tabulate
from forecaster.planning.tide import Capacity

WORK_S = 0.05


@dataclass(frozen=True)
class Sharp:
    """Nothing is outside up to `per_unit_rps` a unit, everything above it."""

    per_unit_rps: float

    def violation_share(self, units: int, rate_rps: FloatArray) -> FloatArray:
        over = 1.0 - units * self.per_unit_rps / np.maximum(rate_rps, 1e-12)
        return np.clip(over, 0.0, 1.0)


def sharp(per_unit_rps: float, units: int) -> Capacity:
    """Capacity of up to `units` such units; TTFT binds all but the first."""
    grid = tabulate(Sharp(per_unit_rps), 0.01 * per_unit_rps, 2 * units * per_unit_rps, units)
    bindings = (Binding.NONE, *[Binding.TTFT] * (units - 1))
    carried_erl = WORK_S * per_unit_rps * np.arange(units + 1.0)
    return Capacity(grid, bindings, WORK_S, carried_erl=carried_erl)
