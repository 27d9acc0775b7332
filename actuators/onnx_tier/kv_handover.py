"""Keys and values of a prompt, from the unit that read it to the unit that goes on: one file in memory.

The file holds each cache's tokens as they lie in a row, one cache after another. Whoever takes it maps
it at once, so that it may lose its name at any time.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from actuators.onnx_tier.kv_rows import KvRows


class HeldCache:
    """The cache of one prompt that another unit has read, before it is put into a row.

    Parameters
    ----------
    path : str
        The file.
    kv : KvRows
        Whose rows it is for.
    tokens : int
        Length of the prompt.

    Raises
    ------
    ValueError
        When the file is gone or is not of such a prompt.
    """

    def __init__(self, path: str, kv: KvRows, tokens: int) -> None:
        self._kv, self._tokens = kv, tokens
        try:
            with Path(path).open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ValueError(f"the cache that was handed over is gone: {error.strerror}") from error
        if len(self._bytes) != (expected := tokens * kv.token_bytes):
            raise ValueError(f"{len(self._bytes)} bytes were handed over, not {expected}")

    def put(self, row: int) -> None:
        """Put it into a row, and forget it."""
        parts, at = [], 0
        for heads, width, dtype in self._kv.cache_shapes:
            count = heads * self._tokens * width
            part = np.frombuffer(self._bytes, dtype, count, at)
            parts.append(part.reshape(heads, self._tokens, width))
            at += count * dtype.itemsize
        self._kv.bring(row, parts)


def hand_over(kv: KvRows, row: int, tokens: int, path: str) -> int:
    """Write the first `tokens` tokens of a row to a file; return its length in bytes.

    Raises
    ------
    OSError
        When there is no room for it.
    """
    parts = kv.take(row, tokens)
    with Path(path).open("wb") as file:
        for part in parts:
            file.write(part.data)
    return sum(part.nbytes for part in parts)
