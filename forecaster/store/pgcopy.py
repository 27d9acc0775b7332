"""PostgreSQL's binary COPY format, rendered and read with numpy: millions of rows per second.

A row is a 16-bit field count and then, per field, a 32-bit length and the value, all big-endian.
With fixed-width fields and no NULL every row has the same length, so that a whole batch is one
structured array.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

EPOCH_2000_US = 946_684_800_000_000
"""PostgreSQL counts microseconds from 2000-01-01T00:00:00Z."""


def render(columns: Mapping[str, tuple[str, npt.NDArray[Any]]]) -> memoryview:
    """Render columns of equal length as one binary COPY stream.

    Parameters
    ----------
    columns : mapping of name to (format, values)
        Big-endian numpy formats such as ``>i4``, ``>i8``, ``>f8`` or ``V120`` (raw bytes).
    """
    rows = len(next(iter(columns.values()))[1])
    dtype = row_dtype({name: form for name, (form, _) in columns.items()})
    start, end = len(HEADER), len(HEADER) + rows * dtype.itemsize
    stream = np.empty(end + len(TRAILER), np.uint8)
    stream[:start] = np.frombuffer(HEADER, np.uint8)
    stream[end:] = np.frombuffer(TRAILER, np.uint8)
    table = stream[start:end].view(dtype)
    table["fields"] = len(columns)
    for name, (_, values) in columns.items():
        table[f"{name}_bytes"] = dtype[name].itemsize
        table[name] = values
    return stream.data


def parse(stream: bytes | bytearray, formats: Mapping[str, str]) -> npt.NDArray[np.void]:
    """Read a binary COPY stream of fixed-width fields without NULL as a structured array."""
    dtype = row_dtype(formats)
    body = len(stream) - len(HEADER) - len(TRAILER)
    return np.frombuffer(stream, dtype, body // dtype.itemsize, len(HEADER))


def row_dtype(formats: Mapping[str, str]) -> np.dtype[np.void]:
    """Layout of one row, lengths included."""
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, form in formats.items():
        fields += [(f"{name}_bytes", ">i4"), (name, form)]
    return np.dtype(fields)


def microseconds(epoch_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Epoch seconds → microseconds since 2000-01-01, rounded."""
    return np.rint(epoch_s * 1e6).astype(np.int64) - EPOCH_2000_US


def epoch_seconds(microseconds_2000: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
    """Microseconds since 2000-01-01 → epoch seconds."""
    return (microseconds_2000.astype(np.int64) + EPOCH_2000_US) / 1e6
