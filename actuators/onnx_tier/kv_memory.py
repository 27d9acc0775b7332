"""Where keys and values lie: the memory behind the rows of a KV cache, and what is done to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from actuators.onnx_tier.session import TensorSpec

Array = npt.NDArray[Any]
KvBlock = list[Any]
"""Keys and values of some tokens: one array, or one value on the device, for each cache."""


class KvMemory(Protocol):
    """The caches of one unit, each ``[rows, heads, row_tokens, width]``."""

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``, as bindings name it."""
        ...

    def bind(self, binding: Any, row: int, rows: int) -> None:
        """Bind `rows` rows from `row` on as past and as present: one buffer, nothing copies."""
        ...

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of row `source` over row `target`."""
        ...

    def read(self, row: int, start: int, end: int) -> KvBlock:
        """Return a copy of tokens `start` to `end` of a row."""
        ...

    def write(self, row: int, start: int, block: KvBlock) -> None:
        """Put a block into a row from token `start` on."""
        ...

    def out(self, block: KvBlock) -> list[Array]:
        """Return a block that was read as contiguous arrays of numpy's."""
        ...

    def home(self, arrays: Sequence[Array]) -> KvBlock:
        """Inverse of `out`: a block that `write` takes."""
        ...


def bind_cache(binding: Any, past: TensorSpec, device: str, shape: Sequence[int], at: int) -> None:
    """Bind the memory at address `at` as a past and as its present."""
    dtype = np.dtype(past.dtype).type
    present = past.name.replace("past_key_values", "present")
    binding.bind_input(past.name, device, 0, dtype, shape, at)
    binding.bind_output(present, device, 0, dtype, shape, at)


class HostMemory:
    """Caches in numpy arrays.

    Parameters
    ----------
    pasts : sequence of TensorSpec
        The model's caches.
    rows, row_tokens : int
        Sequences at once, and the tokens that each may have.
    """

    device = "cpu"

    def __init__(self, pasts: Sequence[TensorSpec], rows: int, row_tokens: int) -> None:
        # Zero pages cost nothing until a sequence grows into them.
        self._buffers = [
            (each, np.zeros((rows, each.shape[1], row_tokens, each.shape[3]), each.dtype))
            for each in pasts
        ]

    def bind(self, binding: Any, row: int, rows: int) -> None:
        """Bind rows; see `KvMemory`."""
        for past, buffer in self._buffers:
            shape = (rows, *buffer.shape[1:])
            bind_cache(binding, past, self.device, shape, buffer[row:].ctypes.data)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row; see `KvMemory`."""
        for _, buffer in self._buffers:
            buffer[target, :, :length] = buffer[source, :, :length]

    def read(self, row: int, start: int, end: int) -> KvBlock:
        """Copy tokens out; see `KvMemory`."""
        return [buffer[row, :, start:end].copy() for _, buffer in self._buffers]

    def write(self, row: int, start: int, block: KvBlock) -> None:
        """Copy tokens in; see `KvMemory`."""
        for (_, buffer), part in zip(self._buffers, block, strict=True):
            buffer[row, :, start : start + part.shape[1]] = part

    def out(self, block: KvBlock) -> list[Array]:
        """It is arrays already; see `KvMemory`."""
        return block

    def home(self, arrays: Sequence[Array]) -> KvBlock:
        """As it is; see `KvMemory`."""
        return list(arrays)
