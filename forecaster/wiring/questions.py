"""What the one-shot commands ask: a forecast or a plan of one service, from the store alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.capacity.sizing import Question
from forecaster.config import Settings, load_unit_type
from forecaster.demand import offered_work_s
from forecaster.domain.demand import DemandSeries
from forecaster.domain.errors import ModelError, SettingError
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.plan import TideTable
from forecaster.domain.profile import UnitType
from forecaster.domain.service import Service, Slo
from forecaster.planning.policy import Policy
from forecaster.planning.tide import ladder, rounded, tide_table
from forecaster.seasonal.champion import Calibrated
from forecaster.seasonal.live import LiveForecaster
from forecaster.seasonal.training import last_days
from forecaster.store import ModelRow, Store

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """A forecast with what it was made from."""

    forecast: QuantileForecast
    series: DemandSeries
    model: ModelRow


def service_named(settings: Settings, name: str) -> Service:
    """The configured service, or one with defaults for a name that only the log knows."""
    for each in settings.service:
        if each.name == name:
            return each.service()
    return Service(name=name, unit="", slo=Slo())


def outlook(
    store: Store, settings: Settings, service: Service, horizon_s: float, levels: Sequence[float]
) -> Outlook:
    """Forecast from the end of the service's log with the stored champion.

    Raises
    ------
    ModelError
        When nothing was trained yet.
    DataError
        For an unknown service.
    """
    series = store.demand(
        service.name, slot_s=settings.retrain.slot_s, log_sample=service.log_sample
    )
    row = store.live_model(service.name)
    if row is None:
        raise ModelError(
            f"service {service.name!r} has no champion", f"run `tidegate retrain {service.name}`"
        )
    if row.slot_s != series.slot_s:
        series = store.demand(service.name, slot_s=row.slot_s, log_sample=service.log_sample)
    series = last_days(series, settings.retrain.history_days)
    live = LiveForecaster(Calibrated.from_dict(row.calibration), series, service.calendar)
    slots = max(round(horizon_s / live.slot_s), 1)
    return Outlook(live.forecast(slots, levels, made_s=live.end_s), series, row)


def unit_of(settings: Settings, service: Service) -> UnitType:
    """Unit type of a service.

    Raises
    ------
    SettingError
        When the service is not configured.
    """
    if not service.unit:
        known = ", ".join(each.name for each in settings.service) or "none"
        raise SettingError(
            "service",
            service.name,
            f"has no unit type (configured services: {known})",
            "give --unit and --ttft-p99, or add a [[service]] table to tidegate.toml",
        )
    return load_unit_type(settings.models, service.unit)


def plan_once(
    found: Outlook, service: Service, unit: UnitType, settings: Settings, horizon_s: float
) -> TideTable:
    """Tide table from an outlook of a week, as the daemon would make it with no unit running."""
    planner = settings.planner
    question = rounded(
        Question(unit, service.slo, found.series.mix, max(found.series.dispersion, 1.0))
    )
    work_s = offered_work_s(found.series.mix, unit.profile)
    policy = Policy(
        limits=service.limits,
        elasticity=service.elasticity,
        level=planner.level,
        lead_time_s=unit.lead_time_s + planner.tick_s,
        drain_window_s=planner.drain_window_s,
        stale_s=planner.stale_s,
        horizon_s=horizon_s,
        timezone=service.calendar.timezone,
        believed=planner.believed,
    )
    steps = ladder(question, service.limits.max_units, work_s)
    measured = np.flatnonzero(np.isfinite(found.series.arrivals))
    until_s = found.series.start_s + found.series.slot_s * float(measured[-1] + 1)
    return tide_table(found.forecast, steps, policy, 0, until_s)
