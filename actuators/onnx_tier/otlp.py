"""The tier's metrics pushed to an OpenTelemetry collector: what `/metrics` says, under OTLP's names.

Needs the extra ``otlp``. Headers, certificates and compression of the exporter are set by its own
environment variables (``OTEL_EXPORTER_OTLP_HEADERS`` and so on).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, cast

from prometheus_client import Metric as Family
from prometheus_client.samples import Sample

from actuators.onnx_tier.meters import Meters
from forecaster.domain.errors import SettingError

try:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import export
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
except ImportError as error:
    raise SettingError(
        "tier.otlp_endpoint",
        "set",
        f"the OpenTelemetry packages are not here ({error.name})",
        "pip install 'tidegate[otlp]'",
    ) from error

_TIMEOUT_S = 3.0

NAMES = {
    "gen_ai_server_request_duration_seconds": ("gen_ai.server.request.duration", "s"),
    "gen_ai_server_time_to_first_token_seconds": ("gen_ai.server.time_to_first_token", "s"),
    "gen_ai_server_time_per_output_token_seconds": ("gen_ai.server.time_per_output_token", "s"),
    "gen_ai_client_token_usage": ("gen_ai.client.token.usage", "{token}"),
    "tidegate_tier_requests_uncounted": ("tidegate.tier.requests.uncounted", "{request}"),
    "tidegate_tier_units": ("tidegate.tier.units", "{unit}"),
    "tidegate_tier_requests_waiting": ("tidegate.tier.requests.waiting", "{request}"),
    "tidegate_tier_requests_held": ("tidegate.tier.requests.held", "{request}"),
    "tidegate_tier_lead_time_seconds": ("tidegate.tier.lead_time", "s"),
    "tidegate_tier_batch_requests_left": ("tidegate.tier.batch.requests.left", "{request}"),
    "tidegate_unit_busy_seconds": ("tidegate.unit.busy", "s"),
    "tidegate_unit_profiled_seconds": ("tidegate.unit.profiled", "s"),
    "tidegate_tier_handovers": ("tidegate.tier.handovers", "{handover}"),
    "tidegate_tier_handover_bytes": ("tidegate.tier.handover.size", "By"),
    "tidegate_tier_handovers_taken": ("tidegate.tier.handovers.taken", "{handover}"),
    "tidegate_tier_handover_wait_seconds": ("tidegate.tier.handover.wait", "s"),
}
"""Prometheus' names to OpenTelemetry's, and their units."""

_ATTRIBUTES = {
    "gen_ai_request_model": "gen_ai.request.model",
    "gen_ai_operation_name": "gen_ai.operation.name",
    "gen_ai_token_type": "gen_ai.token.type",
    "error_type": "error.type",
}

Attributes = dict[str, str]


class OtlpPush:
    """Sends every metric to a collector, again and again, and once more at the end.

    Parameters
    ----------
    meters : Meters
        What is told.
    endpoint : str
        The collector's base address, as ``http://localhost:4318``.
    every_s : float
        Time between two pushes.
    tier : str
        Tells this tier's numbers from those of others: ``service.instance.id``.

    Raises
    ------
    SettingError
        When the extra is not installed.
    """

    def __init__(self, meters: Meters, endpoint: str, every_s: float, tier: str) -> None:
        self._meters = meters
        self._every_s = every_s
        self._resource = Resource({"service.name": "tidegate", "service.instance.id": tier})
        url = f"{endpoint.rstrip('/')}/v1/metrics"
        self._exporter = OTLPMetricExporter(endpoint=url, timeout=_TIMEOUT_S)
        self._began_ns = time.time_ns()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; a collector that is away is tried again at the next turn."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Send what is left, and end."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._push()
        await asyncio.to_thread(self._exporter.shutdown)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._push()

    async def _push(self) -> None:
        data = metrics_data(self._meters.collect(), self._resource, self._began_ns, time.time_ns())
        # It logs why it failed; cumulative numbers lose nothing by one push.
        await asyncio.to_thread(self._exporter.export, data)


def metrics_data(
    families: Iterable[Family], resource: Any, began_ns: int, now_ns: int
) -> export.MetricsData:
    """Return Prometheus' families as OpenTelemetry's metrics, cumulative since `began_ns`."""
    metrics = [_metric(each, began_ns, now_ns) for each in families]
    scope = export.ScopeMetrics(InstrumentationScope("tidegate.tier"), metrics, "")
    return export.MetricsData([export.ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, began_ns: int, now_ns: int) -> export.Metric:
    name, unit = NAMES[family.name]
    cumulative = export.AggregationTemporality.CUMULATIVE
    data: export.Histogram | export.Sum | export.Gauge
    if family.type == "histogram":
        data = export.Histogram(list(_histograms(family.samples, began_ns, now_ns)), cumulative)
    else:
        points = [
            export.NumberDataPoint(_attributes(each), began_ns, now_ns, each.value)
            for each in family.samples
            if not each.name.endswith("_created")
        ]
        is_sum = family.type == "counter"
        data = export.Sum(points, cumulative, True) if is_sum else export.Gauge(points)
    return export.Metric(name, family.documentation, unit, data)


def _histograms(
    samples: list[Sample], began_ns: int, now_ns: int
) -> Iterator[export.HistogramDataPoint]:
    """Put the samples of one family together again: buckets, sum and count of each set of labels."""
    found: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for sample in samples:
        labels = tuple(pair for pair in sorted(sample.labels.items()) if pair[0] != "le")
        key = sample.labels.get("le", sample.name.rpartition("_")[2])
        found.setdefault(labels, {})[key] = sample.value
    for labels, values in found.items():
        bounds = sorted((float(key), key) for key in values if _is_bound(key))
        up_to = [int(values[key]) for _, key in bounds]
        counts = [high - low for high, low in zip(up_to, [0, *up_to], strict=False)]
        yield export.HistogramDataPoint(
            attributes=_renamed(dict(labels)),
            start_time_unix_nano=began_ns,
            time_unix_nano=now_ns,
            count=up_to[-1],
            sum=values["sum"],
            bucket_counts=counts,
            explicit_bounds=[bound for bound, _ in bounds[:-1]],
            min=cast(float, None),  # not known, and left out of the message
            max=cast(float, None),
        )


def _is_bound(key: str) -> bool:
    return key not in {"sum", "count", "created"}


def _attributes(sample: Sample) -> Attributes:
    return _renamed(sample.labels)


def _renamed(labels: dict[str, str]) -> Attributes:
    """Return attributes: an error that there was not is none."""
    return {_ATTRIBUTES.get(name, name): value for name, value in labels.items() if value}
