"""How the board shows a forecast, a plan and an order that waits: plain values for the API."""

from __future__ import annotations

import math
from typing import Any

from forecaster.daemon.pilot import Pilot
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.plan import TideTable


def waiting(pilot: Pilot) -> dict[str, Any] | None:
    """The order that waits for somebody's word."""
    found = pilot.gate.waiting
    if found is None:
        return None
    return {
        "order_id": found.order_id,
        "since_s": found.since_s,
        "declined": found.declined,
        "verb": found.decision.verb.value,
        "units": found.decision.units,
        "why": found.decision.explanation,
    }


def budget(pilot: Pilot) -> dict[str, Any]:
    """What was kept of the SLO in the budget's days, whoever measured it, and what that makes of the plan."""
    found = pilot.planner.budget
    return {
        "kept": {"requests": found.kept.requests, "attainment": found.kept.attainment},
        "load_factor": found.load_factor(pilot.planner.feed.day_requests),
    }


def at(forecast: QuantileForecast | None, time_s: float, level: float) -> float | None:
    """The forecast rate at a moment, requests/s; None where there is none."""
    if forecast is None:
        return None
    value = float(forecast.at_level(level)[forecast.row_at(time_s)])
    return value if math.isfinite(value) else None


def band(forecast: QuantileForecast, coming_s: float) -> dict[str, Any]:
    """Median and band of the forecast, in columns."""
    count = int(coming_s // forecast.slot_s)
    return {
        "start_s": forecast.start_s,
        "step_s": forecast.slot_s,
        **{
            f"q{level:g}": forecast.at_level(level)[:count].tolist()
            for level in (0.05, 0.5, 0.95, 0.99)
        },
    }


def blocks(table: TideTable, now_s: float) -> dict[str, Any]:
    """The coming holds as runs: start, units, need, reason."""
    runs: list[dict[str, Any]] = []
    for slot in table.slots:
        if slot.start_s + table.slot_s <= now_s:
            continue
        key = (slot.hold_units, slot.reason.value)
        if not runs or (runs[-1]["hold"], runs[-1]["reason"]) != key:
            runs.append(
                {
                    "start_s": slot.start_s,
                    "hold": slot.hold_units,
                    "need": slot.need_units,
                    "reason": slot.reason.value,
                    "binding": slot.binding.value,
                    "rate_rps": slot.arrival_rate_rps,
                    "high_rate_rps": slot.high_rate_rps,
                    "outside_share": slot.outside_share,
                }
            )
    end_s = table.slots[-1].start_s + table.slot_s
    return {"runs": runs, "end_s": end_s, "peak_units": table.peak_units}
