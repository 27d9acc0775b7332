"""Bodies of remote write as a sender makes them."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import pyarrow as pa

from forecaster.domain.samples import Stream
from forecaster.ingest import remote_write


def wire(*streams: Stream, version: int = 1) -> bytes:
    """The body of one request."""
    message = _first(streams) if version == 1 else _second(streams)
    return bytes(pa.compress(message.SerializeToString(), "snappy", asbytes=True))


def _first(streams: tuple[Stream, ...]) -> Any:
    series = [
        {
            "labels": [{"name": key, "value": value} for key, value in _labels(each)],
            "samples": _samples(each),
        }
        for each in streams
    ]
    return remote_write._ONE["WriteRequest"](timeseries=series)


def _second(streams: tuple[Stream, ...]) -> Any:
    symbols, rows = [""], []
    for each in streams:
        texts = list(chain.from_iterable(_labels(each)))
        refs = list(range(len(symbols), len(symbols) + len(texts)))
        symbols += texts
        began_s = each.points[0].began_s
        created = 0 if math.isnan(began_s) else round(began_s * 1000)
        row = {"labels_refs": refs, "samples": _samples(each), "created_timestamp": created}
        rows.append(row)
    return remote_write._TWO["Request"](symbols=symbols, timeseries=rows)


def _labels(stream: Stream) -> list[tuple[str, str]]:
    return sorted(({"__name__": stream.name} | dict(stream.labels)).items())


def _samples(stream: Stream) -> list[dict[str, float]]:
    return [{"value": p.value, "timestamp": round(p.at_s * 1000)} for p in stream.points]
