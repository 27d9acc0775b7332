"""What the tier pushes over OTLP is what it tells Prometheus: read by OpenTelemetry's own messages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from prometheus_client import CollectorRegistry, Histogram

from actuators.onnx_tier.otlp import NAMES, metrics_data
from actuators.onnx_tier.spec import TierSpec
from forecaster.domain.errors import SettingError
from tests.integration.tier_helpers import CHAT, CLASSIFIER, running, services, until
from tests.local_server import listening


class Collector:
    """A receiver of OTLP over HTTP; refuses its first `refusals` requests."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.requests: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []

    def handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/metrics"
                collector.headers.append({k.lower(): v for k, v in self.headers.items()})
                answer = ExportMetricsServiceResponse().SerializeToString()
                if collector.refusals:
                    collector.refusals -= 1
                    self.send_response(400)
                else:
                    collector.requests.append(ExportMetricsServiceRequest.FromString(body))
                    self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def latest(self) -> dict[str, Any]:
        (resource,) = self.requests[-1].resource_metrics
        (scope,) = resource.scope_metrics
        return {each.name: each for each in scope.metrics}


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    made = Collector(refusals=1)
    with listening(made.handler()) as port:
        yield made, f"http://127.0.0.1:{port}"


def _labels(point: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in point.attributes}


def test_what_was_served_is_pushed_and_the_last_of_it_at_the_end(
    tmp_path: Path, collector: tuple[Collector, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, endpoint = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=harbour")
    fields = {"otlp_endpoint": endpoint, "otlp_every_s": 0.1}
    with running(tmp_path / "home", services(tmp_path / "models"), **fields) as tier:
        tier.ready(CHAT, 1)
        body = {"model": CHAT, "prompt": "abcd", "max_tokens": 3}
        httpx.post(f"{tier.url}/v1/completions", json=body)
        until(lambda: made.requests, "the collector that refused is asked again")
        httpx.post(f"{tier.url}/v1/completions", json=body | {"prompt": [300]})
        scraped = httpx.get(f"{tier.url}/metrics").text
        tier_id = tier.handle.tier
    found = made.latest()
    assert found.keys() <= {name for name, _ in NAMES.values()}
    assert {each.unit for each in found.values()} <= {unit for _, unit in NAMES.values()}
    durations = found["gen_ai.server.request.duration"]
    assert durations.unit == "s"
    assert durations.histogram.aggregation_temporality == 2, "cumulative"
    points = {_labels(each).get("error.type", ""): each for each in durations.histogram.data_points}
    assert {kind: each.count for kind, each in points.items()} == {"": 1, "400": 1}
    assert _labels(points[""]) == {
        "gen_ai.request.model": CHAT,
        "gen_ai.operation.name": "text_completion",
    }
    for point in points.values():
        assert sum(point.bucket_counts) == point.count
        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
        assert 0 < point.start_time_unix_nano < point.time_unix_nano
        assert not point.HasField("min")
    tokens = found["gen_ai.client.token.usage"].histogram.data_points
    assert {_labels(each)["gen_ai.token.type"]: each.sum for each in tokens} == {
        "input": 4.0,
        "output": 3.0,
    }
    units = found["tidegate.tier.units"].gauge.data_points
    assert {(_labels(each)["service"], _labels(each)["state"]) for each in units} > {
        (CHAT, "ready"),
        (CLASSIFIER, "ready"),
    }
    uncounted = found["tidegate.tier.requests.uncounted"].sum
    assert (uncounted.is_monotonic, uncounted.data_points[0].as_double) == (True, 0.0)
    resource = made.requests[-1].resource_metrics[0].resource
    assert _labels(resource)["service.instance.id"] == tier_id
    assert made.headers[-1]["x-tenant"] == "harbour"
    assert 'error_type="400"' in scraped, "the same count answers both"


def test_a_histogram_is_put_together_again() -> None:
    registry = CollectorRegistry()
    name = "gen_ai_client_token_usage"
    usage = Histogram(name, "Tokens", ("error_type",), buckets=(1, 4), registry=registry)
    for kind, values in (("", (0.5, 2, 3, 9)), ("400", (1,))):
        for value in values:
            usage.labels(kind).observe(value)
    data = metrics_data(registry.collect(), None, 1, 2)
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    points = metric.data.data_points
    assert [(each.attributes, list(each.bucket_counts), each.sum) for each in points] == [
        ({}, [1, 2, 1], 14.5),
        ({"error.type": "400"}, [1, 0, 0], 1.0),
    ]
    assert list(points[0].explicit_bounds) == [1.0, 4.0]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = "opentelemetry.exporter.otlp.proto.http.metric_exporter"
    monkeypatch.setitem(sys.modules, exporter, None)
    monkeypatch.delitem(sys.modules, "actuators.onnx_tier.otlp")
    with pytest.raises(SettingError, match=r"not here .*; pip install 'tidegate\[otlp\]'"):
        importlib.import_module("actuators.onnx_tier.otlp")


@pytest.mark.parametrize("fields", [{"otlp_endpoint": "localhost:4317"}, {"otlp_every_s": 0.0}])
def test_what_is_no_collector_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"tier\.otlp_"):
        TierSpec(tmp_path, (), **fields)
