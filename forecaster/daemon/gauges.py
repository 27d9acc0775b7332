"""What a monitoring system is told beyond the overview: the coming load, the order in force, the error budget."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from forecaster.daemon.error_budget import ErrorBudget
from forecaster.daemon.pilot import Pilot
from forecaster.daemon.service import Daemon
from forecaster.domain.forecast import QuantileForecast

LEVELS = (0.1, 0.5, 0.9, 0.99)


class Foreseen(NamedTuple):
    """One quantile of the load at one moment."""

    ahead: str
    """``now``, or ``lead``: one lead time from now, for which units are ordered now."""
    level: float
    arrival_rate_rps: float
    offered_load_erl: float


class Gauges(NamedTuple):
    """One service at this moment; NaN and empty where nothing is known.

    Attributes
    ----------
    desired_units : float
        Ready plus warming units after the decision in force.
    labels : dict
        Its reason, what bound the plan, the verb, the mode and the champion.
    attainment, budget_left : float
        Of the last days: the share inside the SLO, and the share of the error budget that is not
        spent; below 0 when more is.
    data_age_s, plan_age_s : float
    believed : float
        Measured over predicted capacity.
    failing : int
        Jobs of the service that failed the last time.
    """

    service: str
    foreseen: tuple[Foreseen, ...]
    desired_units: float
    labels: dict[str, str]
    target: float
    attainment: float
    budget_left: float
    data_age_s: float
    plan_age_s: float
    believed: float
    failing: int


def gauges(daemon: Daemon, now_s: float) -> list[Gauges]:
    """Every service."""
    failing = [key.rpartition(" ")[2] for key in dict(daemon.failures)]
    return [_gauges(pilot, now_s, failing.count(name)) for name, pilot in daemon.pilots.items()]


def _gauges(pilot: Pilot, now_s: float, failing: int) -> Gauges:
    state, budget = pilot.state, pilot.planner.budget
    table, decision, forecast = state.table, state.decision, state.forecast
    slot = table.at(now_s) if table else None
    foreseen = []
    if forecast is not None:
        for ahead, at_s in (("now", now_s), ("lead", now_s + state.lead_time_s)):
            foreseen += [Foreseen(ahead, *each) for each in _quantiles(forecast, at_s)]
    attainment, left = kept(budget)
    return Gauges(
        pilot.service.name,
        tuple(foreseen),
        math.nan if decision is None else decision.target_units,
        {
            "reason": decision.reason.value if decision else "",
            "verb": decision.verb.value if decision else "",
            "binding": slot.binding.value if slot else "",
            "mode": pilot.gate.mode.value,
            "champion": forecast.model if forecast else "",
        },
        budget.slo.attainment,
        attainment,
        left,
        now_s - table.data_until_s if table and table.data_until_s else math.nan,
        now_s - table.made_s if table else math.nan,
        pilot.planner.carrying.belief.factor,
        failing,
    )


def kept(budget: ErrorBudget) -> tuple[float, float]:
    """Share of the requests inside the SLO, and of the error budget that is left.

    Examples
    --------
    Half of what one in a hundred allows for was spent:

    >>> from forecaster.daemon.error_budget import Spent
    >>> from forecaster.domain.service import Slo
    >>> kept(ErrorBudget(Slo(ttft_p99_s=1.0, attainment=0.99), {0: Spent(5, 1000)}))
    (0.995, 0.5)
    """
    attainment = budget.kept.attainment
    if math.isnan(attainment):
        return math.nan, 1.0
    return attainment, round(1.0 - (1.0 - attainment) / (1.0 - budget.slo.attainment), 9)


def _quantiles(forecast: QuantileForecast, at_s: float) -> list[tuple[float, float, float]]:
    """Level, rate and load of the slot of a moment."""
    row = forecast.row_at(at_s)
    rates, loads = forecast.arrival_rate_rps[row], forecast.offered_load_erl[row]
    return [
        (each, float(np.interp(each, forecast.levels, rates)),
         float(np.interp(each, forecast.levels, loads)))
        for each in LEVELS
    ]  # fmt: skip
