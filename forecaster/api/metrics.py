"""Prometheus metrics, rendered from the overview."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector


class _Overview(Collector):
    def __init__(self, overview: dict[str, Any]) -> None:
        self.services: list[dict[str, Any]] = overview["services"]

    def collect(self) -> Iterator[Metric]:
        """One family a meaning, one sample a service."""
        yield self._gauge(
            "forecast_arrival_rate_rps", "Median forecast, requests/s", "forecast_rps"
        )
        yield self._gauge(
            "planned_arrival_rate_rps", "Planning quantile, requests/s", "planned_rps"
        )
        yield self._gauge("need_units", "Fewest units that keep the SLO now", "need_units")
        yield self._gauge("hold_units", "Units to have ready now", "hold_units")
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

    def _gauge(self, name: str, text: str, key: str) -> Metric:
        family = GaugeMetricFamily(f"tidegate_{name}", text, labels=["service"])
        for each in self.services:
            if each[key] is not None:
                family.add_metric([each["name"]], each[key])
        return family


def render(overview: dict[str, Any]) -> tuple[bytes, str]:
    """Return (body, content type) in the Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Overview(overview))
    return generate_latest(registry), CONTENT_TYPE_LATEST
