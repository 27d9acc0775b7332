"""Prometheus metrics, rendered from the overview."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector


class Gauges(Protocol):
    """What is told of one service beyond the overview, see `daemon.gauges`; NaN is left out."""

    @property
    def service(self) -> str:
        """Its name."""
        ...

    @property
    def foreseen(self) -> Sequence[tuple[str, float, float, float]]:
        """Moment, level, requests/s, erlangs."""
        ...

    @property
    def labels(self) -> dict[str, str]:
        """What decided, in words."""
        ...


NUMBERS = {
    "desired_units": ("desired_units", "Ready and warming units after the decision in force"),
    "slo_target_ratio": ("target", "Share of requests that must be inside the SLO"),
    "attainment_ratio": ("attainment", "Share of requests inside the SLO, last seven days"),
    "error_budget_remaining_ratio": (
        "budget_left", "Share of the error budget of the last seven days that is not spent"
    ),
    "data_age_seconds": ("data_age_s", "Since the last measured slot ended"),
    "plan_age_seconds": ("plan_age_s", "Since the plan in force was made"),
    "capacity_believed_ratio": ("believed", "Measured over predicted capacity of a unit"),
    "failing_jobs": ("failing", "Jobs of the service that failed the last time"),
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What `/metrics` is made of.

    Attributes
    ----------
    leads : bool or None
        Whether this daemon orders; None where that is not known.
    """

    gauges: Sequence[Gauges] = ()
    leads: bool | None = None


NOTHING = Told()


class _Overview(Collector):
    def __init__(self, overview: dict[str, Any], told: Told) -> None:
        self.services: list[dict[str, Any]] = overview["services"]
        self.away = bool(overview["away"])
        self.told = told

    def collect(self) -> Iterator[Metric]:
        """One family a meaning, one sample a service."""
        database = GaugeMetricFamily(
            "tidegate_database_up", "0 while the database is away: counts and money stand still"
        )
        database.add_metric([], float(not self.away))
        yield database
        yield from self._told()
        yield self._gauge(
            "forecast_arrival_rate_rps", "Median forecast, requests/s", "forecast_rps"
        )
        yield self._gauge(
            "planned_arrival_rate_rps", "Planning quantile, requests/s", "planned_rps"
        )
        yield self._gauge("need_units", "Fewest units that keep the SLO now", "need_units")
        yield self._gauge("hold_units", "Units to have ready now", "hold_units")
        yield self._gauge(
            "refused_units", "Units of a shared quota that others have now", "refused_units"
        )
        yield self._gauge("lead_time_seconds", "Order to ready, p90", "lead_time_s")
        units = GaugeMetricFamily("tidegate_units", "Units by state", labels=["service", "state"])
        requests = CounterMetricFamily(
            "tidegate_requests", "Requests by outcome", labels=["service", "outcome"]
        )
        paid = CounterMetricFamily(
            "tidegate_unit_seconds", "Unit-seconds paid", labels=["service", "state"]
        )
        for each in self.services:
            for state, count in each["units"].items():
                units.add_metric([each["name"], state], count)
                paid.add_metric([each["name"], state], each["ledger"][f"{state}_s"])
            served = each["served"]
            late = served["requests"] - served["inside"] - served["refused"]
            for outcome, count in (
                ("inside_slo", served["inside"]),
                ("outside_slo", late),
                ("refused", served["refused"]),
            ):
                requests.add_metric([each["name"], outcome], count)
        yield units
        yield requests
        yield paid

    def _told(self) -> Iterator[Metric]:
        if self.told.leads is not None:
            leads = GaugeMetricFamily("tidegate_leader", "1 where this daemon orders")
            leads.add_metric([], float(self.told.leads))
            yield leads
        if not self.told.gauges:
            return
        rates, loads = (
            GaugeMetricFamily(name, text, labels=["service", "ahead", "level"])
            for name, text in (
                ("tidegate_forecast_rps", "Quantiles of the load, requests/s"),
                ("tidegate_forecast_load_erlangs", "Quantiles of the load, busy units"),
            )
        )
        names = ("reason", "verb", "binding", "mode", "champion")
        decided = GaugeMetricFamily(
            "tidegate_decision_info", "What decided", labels=["service", *names]
        )
        for each in self.told.gauges:
            for ahead, level, rate_rps, load_erl in each.foreseen:
                for family, value in ((rates, rate_rps), (loads, load_erl)):
                    if math.isfinite(value):
                        family.add_metric([each.service, ahead, f"{level:g}"], value)
            decided.add_metric([each.service, *(each.labels[name] for name in names)], 1.0)
        yield from (rates, loads, decided)
        for name, (key, text) in NUMBERS.items():
            family = GaugeMetricFamily(f"tidegate_{name}", text, labels=["service"])
            for each in self.told.gauges:
                if math.isfinite(value := getattr(each, key)):
                    family.add_metric([each.service], value)
            yield family

    def _gauge(self, name: str, text: str, key: str) -> Metric:
        family = GaugeMetricFamily(f"tidegate_{name}", text, labels=["service"])
        for each in self.services:
            if each[key] is not None:
                family.add_metric([each["name"]], each[key])
        return family


def families(overview: dict[str, Any], told: Told = NOTHING) -> Iterator[Metric]:
    """Everything that is told, by meaning."""
    return _Overview(overview, told).collect()


def render(overview: dict[str, Any], told: Told = NOTHING) -> tuple[bytes, str]:
    """Return (body, content type) in the Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Overview(overview, told))
    return generate_latest(registry), CONTENT_TYPE_LATEST
