"""The tier's Prometheus metrics, under OpenTelemetry's `gen_ai` names where it has one.

Requests are counted from the request log when somebody asks, so that no request pays for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from actuators.onnx_tier.batch_runner import BatchRunner
from actuators.onnx_tier.front_door import FrontDoor
from actuators.onnx_tier.statuses import CLIENT_CLOSED
from actuators.onnx_tier.supervisor import Supervisor
from forecaster.domain.lifecycle import LIVE_STATES, UnitState
from forecaster.domain.units import RequestRecord

# Buckets of the semantic conventions for generative AI.
DURATION_S = tuple(0.01 * 2**power for power in range(14))
TTFT_S = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
)
TPOT_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKENS = tuple(4**power for power in range(14))

_BATCH = 50_000


class Meters:
    """What a tier tells a Prometheus server.

    Parameters
    ----------
    door, supervisor, batches
        The tier.
    """

    def __init__(self, door: FrontDoor, supervisor: Supervisor, batches: BatchRunner) -> None:
        self._door = door
        self._seen = 0
        self._registry = CollectorRegistry()
        self._registry.register(_Now(door, supervisor, batches))
        of_model = ("gen_ai_request_model", "gen_ai_operation_name")
        self._duration = self._histogram(
            "gen_ai_server_request_duration_seconds",
            "Arrival to the last byte",
            (*of_model, "error_type"),
            DURATION_S,
        )
        self._ttft = self._histogram(
            "gen_ai_server_time_to_first_token_seconds", "Arrival to first token", of_model, TTFT_S
        )
        self._tpot = self._histogram(
            "gen_ai_server_time_per_output_token_seconds", "Between tokens", of_model, TPOT_S
        )
        self._tokens = self._histogram(
            "gen_ai_client_token_usage", "Tokens", (*of_model, "gen_ai_token_type"), TOKENS
        )
        self._uncounted = Counter(
            "tidegate_tier_requests_uncounted",
            "Requests that left the log before anybody asked",
            registry=self._registry,
        )

    def render(self) -> bytes:
        """Return everything as Prometheus reads it."""
        self._count_new()
        return generate_latest(self._registry)

    def collect(self) -> list[Metric]:
        """Return everything as it is by now."""
        self._count_new()
        return list(self._registry.collect())

    def _count_new(self) -> None:
        """Count what was logged since the last time."""
        ring = self._door.requests
        lost = max(0, ring.dropped - self._seen)
        self._uncounted.inc(lost)
        self._seen += lost
        while records := ring.after(self._seen, _BATCH):
            for record in records:
                self._count(record)
            self._seen = records[-1].seq

    async def answer(self, _request: Request) -> Response:
        """Answer ``GET /metrics``."""
        return Response(self.render(), media_type=CONTENT_TYPE_LATEST)

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)

    def _count(self, record: RequestRecord) -> None:
        generative = self._door.services[record.service].unit_type.generative
        labels = (record.service, "text_completion" if generative else "inference")
        self._duration.labels(*labels, _error_type(record.status)).observe(record.latency_s)
        if not generative or record.status != 200:
            return
        self._ttft.labels(*labels).observe(record.ttft_s)
        if not math.isnan(record.tpot_s):
            self._tpot.labels(*labels).observe(record.tpot_s)
        self._tokens.labels(*labels, "input").observe(record.prompt_tokens)
        self._tokens.labels(*labels, "output").observe(record.output_tokens)


def _error_type(status: int) -> str:
    """Return OpenTelemetry's kind of an error; empty for success."""
    if status == CLIENT_CLOSED:
        return "client_closed"
    return "" if status < 400 else str(status)


class _Now(Collector):
    """What is at this moment: units, queues, requests in flight."""

    def __init__(self, door: FrontDoor, supervisor: Supervisor, batches: BatchRunner) -> None:
        self._door = door
        self._supervisor = supervisor
        self._batches = batches

    def collect(self) -> Iterator[Metric]:
        units = GaugeMetricFamily(
            "tidegate_tier_units", "Units by state", labels=["service", "state"]
        )
        waiting = GaugeMetricFamily(
            "tidegate_tier_requests_waiting", "Requests that wait for a unit", labels=["service"]
        )
        held = GaugeMetricFamily(
            "tidegate_tier_requests_held", "Requests that units hold", labels=["service"]
        )
        lead = GaugeMetricFamily(
            "tidegate_tier_lead_time_seconds", "Latest start, order to ready", labels=["service"]
        )
        busy = CounterMetricFamily(
            "tidegate_unit_busy_seconds", "Steps of units, as they were", labels=["service"]
        )
        profiled = CounterMetricFamily(
            "tidegate_unit_profiled_seconds",
            "The same steps, as the unit type's profile has them",
            labels=["service"],
        )
        yield from self._handovers()
        batch = GaugeMetricFamily(
            "tidegate_tier_batch_requests_left",
            "Requests of open batches without a result",
            labels=["service"],
        )
        pace = self._supervisor.pace
        for service in self._supervisor.lanes:
            busy.add_metric([service], pace.busy_s.get(service, 0.0))
            profiled.add_metric([service], pace.profiled_s.get(service, 0.0))
            fleet = self._supervisor.observe(service)
            for state in (*sorted(LIVE_STATES), UnitState.FAILED):
                units.add_metric([service, state.value], fleet.count(state))
            held.add_metric([service], sum(each.in_flight for each in fleet.units))
            leads: list[Any] = [each for each in fleet.units if each.lead_time_s is not None]
            if leads:
                latest = max(leads, key=lambda each: each.ordered_s)
                lead.add_metric([service], latest.lead_time_s)
        for service in self._supervisor.services:
            batch.add_metric([service], self._batches.waiting(service))
        for service in self._supervisor.router.queues:
            waiting.add_metric([service], self._supervisor.router.waiting(service))
        yield from (units, waiting, held, lead, batch, busy, profiled)

    def _handovers(self) -> Iterator[Metric]:
        """Caches that prefill units handed over to decode units."""
        told = self._supervisor.router.handovers
        for name, text, sums in (
            ("tidegate_tier_handovers", "Caches handed over", told.count),
            ("tidegate_tier_handover_bytes", "Their bytes", told.cache_bytes),
            ("tidegate_tier_handovers_taken", "Those that decode units went on with", told.taken),
            ("tidegate_tier_handover_wait_seconds", "First to second token of those", told.wait_s),
        ):
            family = CounterMetricFamily(name, text, labels=["service"])
            for service, value in sums.items():
                family.add_metric([service], value)
            yield family
