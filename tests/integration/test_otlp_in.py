"""OTLP in: what OpenTelemetry's own SDK sends becomes requests, each span once, and counted demand."""

from __future__ import annotations

import gzip
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from forecaster.config import Settings
from forecaster.config.settings import ApiSettings, ServiceSettings
from forecaster.domain.answers import NOT_TOLD
from forecaster.domain.samples import Point, Stream
from forecaster.ingest import otlp
from forecaster.ingest.latencies import Histograms
from forecaster.ingest.presets import PRESETS, Counters
from forecaster.ingest.pushed import PushedMeter
from forecaster.store import Store
from forecaster.wiring.meters import judge_pushed
from forecaster.wiring.pushes import Intake
from forecaster.wiring.running import serve_api
from tests.integration.tier_helpers import CHAT, running, services

NOW_S = time.time()
FAR = (0.0, 4e9)
ASKED = {
    "talk": {"source": "spans"},
    "web": {"source": "push", "preset": "gen_ai_client"},
    CHAT: {"source": "push", "preset": "gen_ai"},
}
WEB = ServiceSettings(
    name="web",
    unit="tiny-llama",
    slo={"ttft_p99_s": None, "latency_p99_s": 5.0},
    metrics=ASKED["web"],
)
BUCKETS = "gen_ai_client_operation_duration_seconds_bucket"


@pytest.fixture
def url(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Our API, named to the SDK the way its users name a collector."""
    named = [
        {"name": k, "unit": "tiny-llama", "metrics": v} for k, v in ASKED.items() if k != "web"
    ]
    named.append(WEB)
    settings = Settings(service=tuple(named), api=ApiSettings(port=0, token="all", push_token="p"))
    board: Any = SimpleNamespace(desk=None)
    with serve_api(settings, board, None, Intake(settings, store)) as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{found}/otlp")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer p")
        yield found


def send_spans(exporter: OTLPSpanExporter, **each: Any) -> TracerProvider:
    provider = TracerProvider(resource=Resource({"service.name": "gateway"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("gateway")
    for number in range(40):
        began_ns = int((NOW_S - 600 + number) * 1e9)
        span = tracer.start_span("chat talk", kind=SpanKind.CLIENT, start_time=began_ns)
        span.set_attributes({
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "talk",
            "gen_ai.usage.input_tokens": 100 + number, "gen_ai.usage.output_tokens": number, **each,
        })  # fmt: skip
        span.end(began_ns + 10**9)
    assert provider.force_flush()
    return provider


class Twice(OTLPSpanExporter):
    """Sends everything again, as after an answer that was lost."""

    def export(self, spans: Any) -> Any:
        super().export(spans)
        return super().export(spans)


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_spans_of_the_sdk_are_requests_once(
    store: Store, url: str, compression: Compression
) -> None:
    del url
    send_spans(Twice(compression=compression)).shutdown()
    rows = store.request_rows("talk", *FAR)
    assert rows.prompt_tokens.tolist() == [100 + number for number in range(40)]
    assert rows.output_tokens.tolist() == list(range(40))
    assert rows.arrival_s.tolist() == pytest.approx([NOW_S - 600 + n for n in range(40)])
    assert store.slots("talk").arrivals.sum() == store.services()[0].requests == 40
    assert rows.answers is not None
    assert rows.answers.latency_s.tolist() == pytest.approx([1.0] * 40)
    assert set(rows.answers.ttft_s) == set(rows.answers.tpot_s) == {NOT_TOLD}


@pytest.mark.parametrize(
    "name", ["gen_ai.response.time_to_first_chunk", "gen_ai.latency.time_to_first_token"]
)
def test_spans_tell_what_became_of_a_call(store: Store, url: str, name: str) -> None:
    """The conventions' attribute, and vLLM's."""
    del url
    send_spans(OTLPSpanExporter(), **{name: 0.25, "error.type": "429"}).shutdown()
    answers = store.request_rows("talk", *FAR).answers
    assert answers is not None
    assert answers.ttft_s.tolist() == [0.25] * 40
    assert answers.tpot_s[[1, 4]].tolist() == pytest.approx([0.0, 0.25])
    assert answers.refused.all()


def test_other_spans_and_sums_over_calls_are_no_requests(store: Store, url: str) -> None:
    del url
    for more in (
        {"gen_ai.operation.name": "invoke_agent"}, {"gen_ai.request.model": "other"},
        {"gen_ai.usage.input_tokens": "many", "gen_ai.usage.output_tokens": -1},
    ):  # fmt: skip
        send_spans(OTLPSpanExporter(), **more).shutdown()
    assert store.services() == []


def trace_json(span_id: str, began_s: float, **attributes: Any) -> dict[str, Any]:
    values = [
        {"key": key, "value": {"intValue": str(v)} if isinstance(v, int) else {"stringValue": v}}
        for key, v in attributes.items()
    ]
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": span_id, "name": "llm_request",
        "kind": 2, "startTimeUnixNano": str(int(began_s * 1e9)), "attributes": values,
        "futureField": {"x": 1},
    }  # fmt: skip
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def test_json_spans_are_taken_and_what_cannot_be_told_apart_is_said(store: Store, url: str) -> None:
    usage = {"gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.completion_tokens": 3,
             "gen_ai.request.model": "talk"}  # fmt: skip
    with httpx.Client(base_url=url, headers={"Authorization": "Bearer p"}) as http:

        def post(document: Any, path: str = "traces", **headers: str) -> httpx.Response:
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            kind = {"Content-Type": "application/json"} | headers
            return http.post(f"/otlp/v1/{path}", content=body, headers=kind)

        good = trace_json("eee19b7ec3c1b174", NOW_S, **usage)
        for _ in range(2):
            assert post(good).json() == {}
        packed = gzip.compress(json.dumps(good).encode())
        assert post(packed, **{"Content-Encoding": "gzip"}).json() == {}
        rows = store.request_rows("talk", *FAR)
        assert (rows.prompt_tokens.tolist(), rows.output_tokens.tolist()) == ([7], [3])
        for bad in (
            trace_json("eee19b7ec3c1b175", NOW_S - 90_000, **usage),
            trace_json("eee19b7ec3c1b176", NOW_S + 90_000, **usage),
            trace_json("ee", NOW_S, **usage),
            trace_json("no hex", NOW_S, **usage),
        ):
            said = post(bad)
            assert said.status_code == 200
            assert said.json()["partialSuccess"]["rejectedSpans"] == "1"
        for nonsense in (
            b"[]",
            b"{",
            b'{"resourceSpans": 5}',
            b'{"resourceSpans": [{"scopeSpans": 1}]}',
        ):
            assert post(nonsense).status_code == 400, nonsense
        assert post(b"\xff\xff", **{"Content-Type": "application/x-protobuf"}).status_code == 400
        assert post(b"no gzip", **{"Content-Encoding": "gzip"}).status_code == 400
        bomb = gzip.compress(bytes(40 << 20))
        assert post(bomb, **{"Content-Encoding": "gzip"}).status_code == 400
        assert post({}, "logs").status_code == 403, "there is no such thing to push"
        assert post(good, Authorization="Bearer q").status_code == 401
    assert len(store.request_rows("talk", *FAR)) == 1


@pytest.mark.parametrize("delta", [False, True])
def test_instruments_of_the_sdk_are_counted(store: Store, url: str, delta: bool) -> None:
    del url
    wanted = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
    exporter = OTLPMetricExporter(preferred_temporality={Histogram: wanted, Counter: wanted})
    reader = PeriodicExportingMetricReader(exporter, math.inf)
    about = Resource({"service.name": "app", "service.instance.id": "a"})
    provider = MeterProvider([reader], about)
    meter = provider.get_meter("app")
    duration = meter.create_histogram("gen_ai.client.operation.duration", unit="s")
    usage = meter.create_histogram("gen_ai.client.token.usage", unit="{token}")
    model = {"gen_ai.request.model": "web"}
    for count in (3, 2):
        for number in range(count):
            duration.record(8.0 if (count, number) == (2, 1) else 0.5, model)
            usage.record(50, model | {"gen_ai.token.type": "input"})
            usage.record(5, model | {"gen_ai.token.type": "output"})
        assert provider.force_flush()
    provider.shutdown()
    counters = Counters(PRESETS["gen_ai_client"], 'gen_ai_request_model="web"')
    daemon: Any = SimpleNamespace(pilots={"web": SimpleNamespace(service=WEB.service())})
    judge = judge_pushed("web", Histograms(counters), store, daemon)
    PushedMeter("web", counters, store.pushed, store.meters, judge).read(time.time() + 120)
    slots = store.slots("web")
    sums = slots.arrivals.sum(), slots.prompt_tokens.sum(), slots.output_tokens.sum()
    assert sums == (5, 250, 25)
    said = store.meters.reported("web", *FAR)
    assert (said.requests.sum(), said.outside.sum()) == (5, pytest.approx(1))
    edges = {each.labels["le"] for each in store.pushed.kept("web", BUCKETS, *FAR)}
    assert edges == {"5", "10", "+Inf"}, "of fifteen buckets those that the bound needs"


def test_increments_are_added_once_each(store: Store) -> None:
    def pushed(*points: tuple[float, float, float]) -> None:
        streams = [Stream("n_total", {"job": "a"}, (Point(float(to), float(value), float(since)),), True)
                   for since, to, value in points]  # fmt: skip
        store.pushed.put("web", streams)

    pushed((0, 30, 4), (30, 60, 5))
    pushed((30, 60, 5))  # the answer was lost
    pushed((90, 120, 1), (0, 30, 4))
    (kept,) = store.pushed.kept("web", "n_total", 0, 600)
    assert kept.minute_s.tolist() == [0, 60, 120]
    assert kept.value.tolist() == [0, 9, 10]
    pushed((6000, 6030, 2))  # nothing came for long, and nothing was sent
    (kept,) = store.pushed.kept("web", "n_total", 5900, 6600)
    assert kept.value.tolist() == [10, 12]


def test_names_and_labels_are_those_that_prometheus_gives() -> None:
    point = {"timeUnixNano": "60000000000", "startTimeUnixNano": "30000000000",
             "attributes": [{"key": "error.type", "value": {"boolValue": True}}]}  # fmt: skip
    metrics = [
        {"name": "gen_ai.x", "unit": "s", "histogram": {"dataPoints": [point | {"count": "3", "sum": 1.5}]}},
        {"name": "vllm:num_requests_running", "gauge": {"dataPoints": [point | {"asInt": "4"}]}},
        {"name": "done", "sum": {"isMonotonic": True, "aggregationTemporality": 1,
                                 "dataPoints": [point | {"asDouble": 2.5}]}},
        {"name": "e", "exponentialHistogram": {"dataPoints": [point | {"count": 1, "flags": 1}]}},
    ]  # fmt: skip
    about = [{"key": "service.name", "value": {"stringValue": "s"}},
             {"key": "service.namespace", "value": {"stringValue": "n"}}]  # fmt: skip
    body = {
        "resourceMetrics": [
            {"resource": {"attributes": about}, "scopeMetrics": [{"metrics": metrics}]}
        ]
    }
    found = otlp.metric_streams(json.dumps(body).encode(), "application/json")
    values = {each.name: each.points[0].value for each in found}
    assert {name: value for name, value in values.items() if not math.isnan(value)} == {
        "gen_ai_x_seconds_count": 3, "gen_ai_x_seconds_sum": 1.5, "vllm:num_requests_running": 4,
        "done_total": 2.5,
    }  # fmt: skip
    assert math.isnan(values["e_count"]), "the series ended"
    assert [each.delta for each in found] == [False, False, False, True, False, False]
    assert found[3].labels == {
        "service_name": "s", "service_namespace": "n", "job": "n/s", "error_type": "true",
    }  # fmt: skip
    assert found[0].labels["__start__"] == "30000000000", "a counter that began anew is another"


def test_our_own_tier_pushes_into_our_own_receiver(store: Store, url: str, tmp_path: Path) -> None:
    fields = {"otlp_endpoint": f"{url}/otlp", "otlp_every_s": 60.0}
    with running(tmp_path / "home", services(tmp_path / "models"), **fields) as tier:
        tier.ready(CHAT, 1)
        for _ in range(3):
            body = {"model": CHAT, "prompt": "abcd", "max_tokens": 2}
            httpx.post(f"{tier.url}/v1/completions", json=body).raise_for_status()
    counters = Counters(PRESETS["gen_ai"], f'gen_ai_request_model="{CHAT}"')
    PushedMeter(CHAT, counters, store.pushed, store.meters).read(time.time() + 120)
    slots = store.slots(CHAT)
    sums = slots.arrivals.sum(), slots.prompt_tokens.sum(), slots.output_tokens.sum()
    assert sums == (3, 12, 6)
