"""Prometheus remote write, 1.0 and 2.0: a snappy block of protocol buffers becomes streams of samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from google.protobuf.message import DecodeError

from forecaster.domain.errors import DataError
from forecaster.domain.proto_table import message_classes
from forecaster.domain.samples import Point, Stream

DECODED_BYTES_MOST = 32 << 20
V2 = "io.prometheus.write.v2.Request"
"""The `proto` parameter of the content type of 2.0."""

_ONE = message_classes(
    "prometheus",
    "remote.proto",
    """
WriteRequest: 1 TimeSeries* timeseries
TimeSeries: 1 Label* labels, 2 Sample* samples
Label: 1 string name, 2 string value
Sample: 1 double value, 2 int64 timestamp
""",
)
_TWO = message_classes(
    "io.prometheus.write.v2",
    "types.proto",
    """
Request: 4 string* symbols, 5 TimeSeries* timeseries
TimeSeries: 1 uint32* labels_refs, 2 Sample* samples, 6 int64 created_timestamp
Sample: 1 double value, 2 int64 timestamp
""",
)


def streams(body: bytes, content_type: str) -> list[Stream]:
    """Decode a request.

    Raises
    ------
    DataError
        For what is no such request: sending it again would not help.
    """
    data = unpacked(body)
    try:
        if V2 in content_type:
            return list(_second(_TWO["Request"].FromString(data)))
        return list(_first(_ONE["WriteRequest"].FromString(data)))
    except (DecodeError, IndexError, UnicodeDecodeError) as error:
        raise _refused("is no WriteRequest") from error


def unpacked(body: bytes) -> bytes:
    """Decompress a snappy block; its length stands in front, so that a bomb is refused unopened.

    Raises
    ------
    DataError
        For anything else, and for what would be too long.
    """
    length = shift = 0
    for byte in body[:5]:
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise _refused("is no snappy block")
    if length > DECODED_BYTES_MOST:
        raise _refused(f"would be {length:,} bytes long")
    try:
        return bytes(pa.decompress(body, length, "snappy", asbytes=True))
    except (OSError, ValueError) as error:
        raise _refused("is no snappy block") from error


def _first(request: Any) -> Iterator[Stream]:
    for series in request.timeseries:
        labels = {each.name: each.value for each in series.labels}
        yield _stream(labels, series.samples, math.nan)


def _second(request: Any) -> Iterator[Stream]:
    symbols = request.symbols
    for series in request.timeseries:
        texts = [symbols[ref] for ref in series.labels_refs]
        began_s = series.created_timestamp / 1e3 if series.created_timestamp else math.nan
        yield _stream(dict(zip(texts[::2], texts[1::2], strict=False)), series.samples, began_s)


def _stream(labels: dict[str, str], samples: Any, began_s: float) -> Stream:
    name = labels.pop("__name__", "")
    points = (Point(each.timestamp / 1e3, each.value, began_s) for each in samples)
    return Stream(name, labels, tuple(points))


def _refused(why: str) -> DataError:
    most = DECODED_BYTES_MOST >> 20
    return DataError(
        f"remote write: the body {why}", f"send protobuf in snappy blocks of at most {most} MiB"
    )
