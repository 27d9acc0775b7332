"""Whatever is pushed, decoders answer with values or with one refusal."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forecaster.domain.errors import DataError
from forecaster.ingest import otlp, remote_write

TRACES = otlp._MESSAGES["TraceRequest"](
    resource_spans=[{"scope_spans": [{"spans": [{
        "trace_id": b"t" * 16, "span_id": b"s" * 8, "kind": 99, "start_time_unix_nano": 2**63,
        "attributes": [{"key": otlp.PROMPT_TOKENS[0], "value": {"int_value": 5}}],
    }]}]}]
).SerializeToString()  # fmt: skip
METRICS = otlp._MESSAGES["MetricsRequest"](
    resource_metrics=[{"scope_metrics": [{"metrics": [{
        "name": "a.b\0c", "unit": "s", "histogram": {"data_points": [{"count": 2**63, "sum": 1e308}]},
    }]}]}]
).SerializeToString()  # fmt: skip
WRITE = remote_write._ONE["WriteRequest"](
    timeseries=[
        {"labels": [{"name": "__name__", "value": "up"}], "samples": [{"timestamp": -(2**63)}]}
    ]
).SerializeToString()
KEYS = st.sampled_from(
    ["resourceSpans", "resourceMetrics", "scopeSpans", "scopeMetrics", "spans", "metrics", "traceId",
     "spanId", "kind", "startTimeUnixNano", "attributes", "key", "value", "intValue", "stringValue",
     "histogram", "sum", "dataPoints", "count", "name", "gauge", "asInt"]
)  # fmt: skip
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "9" * 30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)  # fmt: skip


@st.composite
def bent(draw: st.DrawFn, body: bytes) -> bytes:
    """A good body with a few bytes changed."""
    found = bytearray(body)
    for at in draw(st.lists(st.integers(0, len(body) - 1), max_size=4)):
        found[at] = draw(st.integers(0, 255))
    return bytes(found[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else found)


def taken(body: bytes, content_type: str, encoding: str = "") -> None:
    for decode in (otlp.metric_streams, otlp.calls):
        try:
            decode(body, content_type, encoding)
        except DataError:
            continue


@given(st.binary(max_size=200) | bent(TRACES) | bent(METRICS), st.sampled_from(["", "gzip"]))
@example(TRACES, "")
@example(METRICS, "")
def test_bytes_over_otlp(body: bytes, encoding: str) -> None:
    taken(body, "application/x-protobuf", encoding)
    taken(gzip.compress(body), "application/x-protobuf", "gzip")


@given(NONSENSE)
def test_json_over_otlp(document: object) -> None:
    taken(json.dumps(document).encode(), otlp.JSON)


@given(st.binary(max_size=200) | bent(WRITE), st.sampled_from(["", remote_write.V2]))
@example(WRITE, "")
def test_bytes_over_remote_write(body: bytes, kind: str) -> None:
    for sent in (body, bytes(pa.compress(body, "snappy", asbytes=True))):
        try:
            remote_write.streams(sent, kind)
        except DataError:
            continue


def test_what_would_be_too_long_is_refused_unopened() -> None:
    bomb = bytes(pa.compress(bytes(remote_write.DECODED_BYTES_MOST + 1), "snappy", asbytes=True))
    with pytest.raises(DataError, match="would be 33,554,433 bytes long"):
        remote_write.unpacked(bomb)
