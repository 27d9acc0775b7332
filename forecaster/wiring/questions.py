"""What the one-shot commands ask: a forecast or a plan of one service, from the store alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from forecaster.config import Settings, load_unit_type
from forecaster.daemon.feed import DemandFeed
from forecaster.domain.demand import DemandSeries, TokenMix
from forecaster.domain.errors import DataError, SettingError
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.plan import TideTable
from forecaster.domain.profile import Profile, UnitType
from forecaster.domain.service import Service, Slo
from forecaster.store import Store

if TYPE_CHECKING:
    from forecaster.capacity.sizing import Question
    from forecaster.capacity.sizing_table import SizingTable


@dataclass(frozen=True, slots=True)
class Outlook:
    """A forecast with the history that it was made from."""

    forecast: QuantileForecast
    series: DemandSeries


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

    A service too young for one is forecast from what is known of others, and one without any demand
    from the day that is drawn for it, from now on.

    Raises
    ------
    ModelError
        When nothing was trained yet.
    DataError
        For an unknown service without a drawn day.
    """
    profile = profile_of(settings, service)
    try:
        feed = DemandFeed(service, profile, settings.retrain, store)
        feed.reload()
    except DataError:
        if not service.day_shape:
            raise
        feed = DemandFeed(service, None, settings.retrain, store)
        feed.begin(nothing_yet(service.name, settings.retrain.slot_s, time.time()))
    assert feed.live is not None
    assert feed.asked is not None
    forecast = feed.forecast(horizon_s, feed.live.end_s, tuple(levels))
    return Outlook(forecast, feed.asked)


def nothing_yet(name: str, slot_s: float, now_s: float) -> DemandSeries:
    """The demand of a service before its first request."""
    none = np.zeros(0)
    mix = TokenMix(0.0, 0.0, 0.0, 0.0, 0.0)
    return DemandSeries(name, now_s // slot_s * slot_s, slot_s, none, none, none, mix, 1.0)


def profile_of(settings: Settings, service: Service) -> Profile | None:
    """Profile of the service's unit type; None for a service that is not configured."""
    return load_unit_type(settings.models, service.unit).profile if service.unit else None


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
    store: Store,
    settings: Settings,
    service: Service,
    tables: Callable[[str, Question, int], SizingTable],
    horizon_s: float,
    rate_scale: float = 1.0,
) -> TideTable:
    """Tide table from the end of the log, as the daemon would make it for a fleet that is in place.

    Parameters
    ----------
    tables : callable
        Sizing tables, built while the caller waits.
    rate_scale : float
        Plan for this many times the load.

    Raises
    ------
    ModelError, DataError
        As `outlook` does.
    SettingError
        When the service has no unit type.
    SloInfeasibleError
        When no number of units keeps the SLO.
    """
    from forecaster.daemon.planner import Planner  # the compiler takes a second to load

    unit = unit_of(settings, service)
    planner = settings.planner.model_copy(update={"horizon_s": horizon_s})
    settings = settings.model_copy(update={"planner": planner})
    planning = Planner(service, unit, settings, store=store, tables=tables)
    planning.feed.rate_scale = rate_scale
    planning.feed.reload()
    assert planning.feed.live is not None
    return planning.plan(planning.feed.live.end_s).table
