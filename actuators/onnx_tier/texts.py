"""Tensors of texts as bytes: each element is its length, ``u32`` in little-endian order, and its UTF-8.

That is what the Open Inference Protocol calls BYTES, and what our own frames carry.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

_LENGTH = struct.Struct("<I")

Texts = npt.NDArray[Any]
"""Of dtype ``object``; its elements are ``str``."""


def pack_texts(texts: Texts) -> bytes:
    """Return the bytes of a tensor of texts, row by row.

    Examples
    --------
    >>> pack_texts(np.array(["ebb", ""], object))
    b'\\x03\\x00\\x00\\x00ebb\\x00\\x00\\x00\\x00'
    """
    parts: list[bytes] = []
    for text in texts.ravel():
        data = text.encode()
        parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


def unpack_texts(packed: bytes, count: int, at: int = 0) -> tuple[list[str], int]:
    """Read `count` texts from byte `at` on; return them and where they end.

    Raises
    ------
    ValueError
        When the bytes end early, or are not UTF-8.

    Examples
    --------
    >>> unpack_texts(b"\\x03\\x00\\x00\\x00ebb\\x00\\x00\\x00\\x00", 2)
    (['ebb', ''], 11)
    """
    texts: list[str] = []
    for _ in range(count):
        start = at + _LENGTH.size
        if start > len(packed):
            raise ValueError(f"its bytes end after {len(texts)} of {count} texts")
        at = start + _LENGTH.unpack_from(packed, at)[0]
        if at > len(packed):
            raise ValueError(f"its bytes end after {len(texts)} of {count} texts")
        texts.append(packed[start:at].decode())
    return texts, at


def tensor_of(texts: Iterable[str], shape: Iterable[int]) -> Texts:
    """Return texts as a tensor."""
    return np.array([*texts], object).reshape(tuple(shape))
