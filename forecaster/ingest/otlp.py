"""OTLP over HTTP: metrics become streams of samples, spans of model calls become requests."""

from __future__ import annotations

import base64
import binascii
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import orjson
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from forecaster.domain.answers import NOT_TOLD, SERVER_ERROR
from forecaster.domain.errors import DataError
from forecaster.domain.proto_table import message_classes
from forecaster.domain.samples import Point, Stream

DECODED_BYTES_MOST = 32 << 20
JSON = "application/json"
DELTA = 1
NO_VALUE = 1
"""Flag of a point: the series ended."""
PROMPT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
"""The conventions' names, and those that they had before."""
FIRST_TOKEN = ("gen_ai.response.time_to_first_chunk", "gen_ai.latency.time_to_first_token")
"""The conventions' name, and vLLM's."""
STATUS = ("http.response.status_code", "http.status_code", "error.type")
FAILED = 2
"""A span's status."""
OF_MANY_CALLS = frozenset({"invoke_agent", "create_agent", "execute_tool", "invoke_workflow"})
"""Operations whose usage is that of the calls inside them: these are counted by themselves."""
KINDS = ("", "internal", "server", "client", "producer", "consumer")

_MESSAGES = message_classes(
    "opentelemetry.proto",
    "otlp.proto",
    """
MetricsRequest: 1 ResourceMetrics* resource_metrics
ResourceMetrics: 1 Resource resource, 2 ScopeMetrics* scope_metrics
ScopeMetrics: 2 Metric* metrics
Metric: 1 string name, 3 string unit, 5 Numbers gauge, 7 Numbers sum, 9 Histogram histogram,
  10 Exponential exponential_histogram
Numbers: 1 Number* data_points, 2 int32 aggregation_temporality, 3 bool is_monotonic
Histogram: 1 Bucketed* data_points, 2 int32 aggregation_temporality
Exponential: 1 Scaled* data_points, 2 int32 aggregation_temporality
Number: 7 KeyValue* attributes, 2 fixed64 start_time_unix_nano, 3 fixed64 time_unix_nano,
  4 double as_double, 6 sfixed64 as_int, 8 uint32 flags
Bucketed: 9 KeyValue* attributes, 2 fixed64 start_time_unix_nano, 3 fixed64 time_unix_nano,
  4 fixed64 count, 5 double sum, 6 fixed64* bucket_counts, 7 double* explicit_bounds, 10 uint32 flags
Scaled: 1 KeyValue* attributes, 2 fixed64 start_time_unix_nano, 3 fixed64 time_unix_nano,
  4 fixed64 count, 5 double sum, 10 uint32 flags
Resource: 1 KeyValue* attributes
KeyValue: 1 string key, 2 Value value
Value: 1 string string_value, 2 bool bool_value, 3 int64 int_value, 4 double double_value | value
TraceRequest: 1 ResourceSpans* resource_spans
ResourceSpans: 1 Resource resource, 2 ScopeSpans* scope_spans
ScopeSpans: 2 Span* spans
Span: 1 bytes trace_id, 2 bytes span_id, 6 int32 kind, 7 fixed64 start_time_unix_nano,
  8 fixed64 end_time_unix_nano, 9 KeyValue* attributes, 15 Status status
Status: 3 int32 code
MetricsResponse: 1 MetricsPartial partial_success
MetricsPartial: 1 int64 rejected_data_points, 2 string error_message
TraceResponse: 1 TracePartial partial_success
TracePartial: 1 int64 rejected_spans, 2 string error_message
""",
)


@dataclass(frozen=True, slots=True)
class Call:
    """A span that is a model call.

    Attributes
    ----------
    span : bytes
        Trace and span: the call's identity.
    labels : mapping
        Attributes of span and resource by Prometheus' names, and `span_kind`.
    ttft_s, latency_s : float
        Until the first token, `NOT_TOLD` where no attribute says so; until the end, NaN without one.
    status : int
        HTTP status of what failed, else 200.
    """

    span: bytes
    labels: Mapping[str, str]
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    ttft_s: float
    latency_s: float
    status: int


def metric_streams(body: bytes, content_type: str, encoding: str = "") -> list[Stream]:
    """Decode ``/v1/metrics``; names and labels are those that Prometheus would give them.

    Raises
    ------
    DataError
        For what is no such request: sending it again would not help.
    """
    request = _decoded("MetricsRequest", body, content_type, encoding)
    found: list[Stream] = []
    for resource in request.resource_metrics:
        about = _about(resource.resource.attributes)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found += _streams(metric, about)
    return found


def calls(body: bytes, content_type: str, encoding: str = "") -> tuple[list[Call], int]:
    """Decode ``/v1/traces``: the model calls among the spans, and how many of those had no identity.

    Raises
    ------
    DataError
        For what is no such request.
    """
    request = _decoded("TraceRequest", body, content_type, encoding)
    found, nameless = [], 0
    for resource in request.resource_spans:
        about = _about(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                call = _call(span, about)
                if call is not None and len(call.span) == 24 and call.arrival_s > 0:
                    found.append(call)
                elif call is not None:
                    nameless += 1
    return found, nameless


def answer(signal: str, rejected: int, why: str, content_type: str) -> bytes:
    """The response to ``metrics`` or ``traces``."""
    traces = signal == "traces"
    response = _MESSAGES["TraceResponse" if traces else "MetricsResponse"]()
    if rejected:
        partial = response.partial_success
        setattr(partial, "rejected_spans" if traces else "rejected_data_points", rejected)
        partial.error_message = why
    if JSON in content_type:
        return json_format.MessageToJson(response, indent=None).encode()
    return bytes(response.SerializeToString())


def label(name: str) -> str:
    """A name as Prometheus writes it.

    Examples
    --------
    >>> label("gen_ai.request.model")
    'gen_ai_request_model'
    """
    return re.sub(r"[^\w:]", "_", name, flags=re.ASCII)


def _streams(metric: Any, about: Mapping[str, str]) -> Iterator[Stream]:
    name = label(metric.name)
    if metric.unit == "s" and not name.endswith("_seconds"):
        name += "_seconds"
    for kind in ("histogram", "exponential_histogram"):
        data = getattr(metric, kind)
        delta = data.aggregation_temporality == DELTA
        for point in data.data_points:
            yield _one(f"{name}_count", point, float(point.count), about, delta)
            yield _one(f"{name}_sum", point, float(point.sum), about, delta)
            if kind == "histogram":
                yield from _buckets(name, point, about, delta)
    for point in metric.gauge.data_points:
        yield _one(name, point, point.as_double + point.as_int, about, False)
    if metric.sum.is_monotonic and not name.endswith("_total"):
        name += "_total"
    delta = metric.sum.aggregation_temporality == DELTA
    for point in metric.sum.data_points:
        yield _one(name, point, point.as_double + point.as_int, about, delta)


def _buckets(name: str, point: Any, about: Mapping[str, str], delta: bool) -> Iterator[Stream]:
    """The buckets of a histogram as Prometheus has them: each counts those below it, too."""
    bounds = [f"{bound:g}" for bound in point.explicit_bounds]
    if len(point.bucket_counts) != len(bounds) + 1:
        return
    for le, count in zip([*bounds, "+Inf"], accumulate(point.bucket_counts), strict=True):
        yield _one(f"{name}_bucket", point, float(count), {**about, "le": le}, delta)


def _one(name: str, point: Any, value: float, about: Mapping[str, str], delta: bool) -> Stream:
    """One sample; a counter that began anew is another series: what counted before may still speak."""
    began_ns = point.start_time_unix_nano
    labels = {**about, **_labels(point.attributes)}
    if began_ns and not delta:
        labels["__start__"] = str(began_ns)
    value = math.nan if point.flags & NO_VALUE else value
    began_s = began_ns / 1e9 if began_ns else math.nan
    return Stream(name, labels, (Point(point.time_unix_nano / 1e9, value, began_s),), delta)


def _call(span: Any, about: Mapping[str, str]) -> Call | None:
    values = {each.key: each.value for each in span.attributes}
    prompt, output = _tokens(values, PROMPT_TOKENS), _tokens(values, OUTPUT_TOKENS)
    labels = {**about, **_labels(span.attributes)}
    if prompt is None and output is None:
        return None
    if labels.get("gen_ai_operation_name") in OF_MANY_CALLS:
        return None
    labels["span_kind"] = KINDS[span.kind] if 0 <= span.kind < len(KINDS) else ""
    took_s = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    return Call(
        span.trace_id + span.span_id, labels, span.start_time_unix_nano / 1e9, prompt or 0, output or 0,
        _ttft_s(values), took_s if took_s >= 0 else math.nan, _status(span, values),
    )  # fmt: skip


def _ttft_s(values: Mapping[str, Any]) -> float:
    """Seconds until the first token; one chunk usually holds one."""
    for name in FIRST_TOKEN:
        if name in values:
            found_s = values[name].double_value + values[name].int_value
            return found_s if found_s >= 0 else math.nan
    return NOT_TOLD


def _status(span: Any, values: Mapping[str, Any]) -> int:
    """What the span says of its end: an HTTP status, else whether it failed."""
    for name in STATUS:
        if name in values:
            said = _text(values[name])
            if said.isdecimal() and 100 <= int(said) < 600:
                return int(said)
    return SERVER_ERROR if span.status.code == FAILED else 200


def _tokens(values: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        if name in values:
            said = values[name]
            count = getattr(said, said.WhichOneof("value") or "int_value")
            if isinstance(count, (int, float)) and 0 <= count < 2**31:
                return int(count)
    return None


def _about(attributes: Any) -> dict[str, str]:
    """Labels of a resource; its service and instance are Prometheus' job and instance."""
    labels = _labels(attributes)
    parts = (labels.get("service_namespace", ""), labels.get("service_name", ""))
    labels["job"] = "/".join(filter(None, parts))
    labels["instance"] = labels.get("service_instance_id", "")
    return {name: value for name, value in labels.items() if value}


def _labels(attributes: Any) -> dict[str, str]:
    return {label(each.key): _text(each.value) for each in attributes}


def _text(value: Any) -> str:
    kind = value.WhichOneof("value")
    found = getattr(value, kind) if kind else ""
    return str(found).lower() if isinstance(found, bool) else str(found)


def _decoded(kind: str, body: bytes, content_type: str, encoding: str) -> Any:
    data = _inflated(body) if encoding == "gzip" else body
    try:
        if JSON not in content_type:
            return _MESSAGES[kind].FromString(data)
        document = orjson.loads(data)
        _hex_ids(document)
        return json_format.ParseDict(document, _MESSAGES[kind](), ignore_unknown_fields=True)
    except (DecodeError, ValueError, TypeError, AttributeError, json_format.ParseError) as error:
        raise _refused(f"is no {kind}") from error


def _hex_ids(document: Any) -> None:
    """Trace and span are hexadecimal in OTLP's JSON, where other bytes are base64."""
    for resource in document.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                for key in ("traceId", "spanId"):
                    try:
                        raw = binascii.unhexlify(span.get(key, ""))
                    except binascii.Error:
                        raw = b""
                    span[key] = base64.b64encode(raw).decode()


def _inflated(body: bytes) -> bytes:
    inflate = zlib.decompressobj(wbits=31)
    try:
        data = inflate.decompress(body, DECODED_BYTES_MOST)
    except zlib.error as error:
        raise _refused("is not gzip") from error
    if inflate.unconsumed_tail or not inflate.eof:
        raise _refused("is cut short, or too long")
    return data


def _refused(why: str) -> DataError:
    most = DECODED_BYTES_MOST >> 20
    return DataError(
        f"OTLP: the body {why}", f"send protobuf or JSON, plain or gzip, of at most {most} MiB"
    )
