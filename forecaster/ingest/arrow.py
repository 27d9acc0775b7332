"""Arrow arrays out of Python and numpy values, and back.

`pyarrow.array`, `pyarrow.scalar` and `to_numpy` import pandas on their first call, which costs a start-up of more than
a second and tens of megabytes for nothing; these do the same with buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def text_array(values: Sequence[str]) -> pa.Array:
    """Strings."""
    encoded = [value.encode(errors="replace") for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    data = pa.py_buffer(b"".join(encoded))
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), data)


def integer_array(values: npt.NDArray[np.int64]) -> pa.Array:
    """64-bit integers."""
    data = np.ascontiguousarray(values, np.int64)
    return pa.Array.from_buffers(pa.int64(), data.size, [None, pa.py_buffer(data)])


def float_scalar(value: float) -> pa.Scalar:
    """One number."""
    data = np.array([value], np.float64)
    return pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer(data)])[0]


def text_scalar(value: str) -> pa.Scalar:
    """One string."""
    return text_array([value])[0]


def mask_array(values: npt.NDArray[np.bool_]) -> pa.Array:
    """Booleans."""
    bits = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), values.size, [None, pa.py_buffer(bits)])


def values_of(array: pa.Array, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """View a fixed-width array without NULL (its type as wide as `dtype`) as numpy."""
    data = array.buffers()[1]
    if not len(array) or data is None:
        return np.zeros(0, dtype)
    return np.frombuffer(data, dtype)[array.offset : array.offset + len(array)]


def mask_of(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Copy an array of booleans without NULL."""
    data = array.buffers()[1]
    if not len(array) or data is None:
        return np.zeros(0, np.bool_)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)].astype(np.bool_)
