"""KV cache in rows, bound to the session by pointer: past and present are one buffer, nothing copies.

A row is one sequence. Decoding runs over rows 0..n-1 at once; a prompt is read into one row. The
attention operator takes each row's length from the attention mask.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from actuators.onnx_tier.session import ModelSignature, TensorSpec
from forecaster.domain.errors import ModelError

Tokens = npt.NDArray[np.int64]
KvBlock = list[npt.NDArray[Any]]
"""Keys and values of some tokens: one array for each cache of the model."""

_PAST = re.compile(r"^past_key_values\.(\d+)\.(key|value)$")


class KvRows:
    """The cache of one unit and the two ways to run the model over it.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        A model with genai's graph layout.
    signature : ModelSignature
        Its inputs and outputs.
    rows : int
        Sequences at once.
    row_tokens : int
        Tokens that one row holds.
    """

    def __init__(self, session: Any, signature: ModelSignature, rows: int, row_tokens: int) -> None:
        self._session = session
        self.row_tokens = row_tokens
        pasts = [each for each in signature.inputs if _PAST.match(each.name)]
        names = {each.name for each in signature.inputs} - {each.name for each in pasts}
        self._positions = "position_ids" in names
        if not pasts or names - {"position_ids"} != {"input_ids", "attention_mask"}:
            raise ModelError(
                "the model is not a decoder with a KV cache: its inputs are "
                + ", ".join(sorted(names)),
                "export it with onnxruntime-genai's builder, or serve it as kind = 'classic'",
            )
        # Zero pages cost nothing until a sequence grows into them.
        self._buffers = [(each.name, _buffer(each, rows, row_tokens)) for each in pasts]
        logits = next(each for each in signature.outputs if each.name == "logits")
        self._logits_dtype = np.dtype(logits.dtype)
        self._vocabulary = logits.shape[-1]
        self._bindings: dict[tuple[int, int], Any] = {}
        self._arange = np.arange(row_tokens)

    def use(self, session: Any) -> None:
        """Go on with another session of the same model: the cache stays as it is."""
        self._session = session
        self._bindings.clear()

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self._vocabulary

    def decode(self, tokens: Tokens, lengths: Tokens) -> npt.NDArray[np.floating[Any]]:
        """Append one token to each of rows 0..n-1.

        Parameters
        ----------
        tokens : int64[n]
            The tokens to append.
        lengths : int64[n]
            Cached tokens of each row before this call.

        Returns
        -------
        float[n, vocabulary]
            Logits of each row's next token.
        """
        after = lengths + 1
        mask = (self._arange[: int(after.max())] < after[:, None]).astype(np.int64)
        return self._run(0, tokens[:, None], mask)[:, 0, :]

    def prefill(self, row: int, tokens: Tokens, cached: int) -> npt.NDArray[np.floating[Any]]:
        """Read `tokens` into `row` behind its `cached` tokens; return the last logits, float[v]."""
        mask = np.ones((1, cached + tokens.size), np.int64)
        return np.asarray(self._run(row, tokens[None, :], mask)[0, -1, :])

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of row `source` over row `target`."""
        for _, buffer in self._buffers:
            buffer[target, :, :length] = buffer[source, :, :length]

    def read(self, row: int, start: int, end: int) -> KvBlock:
        """Return a copy of tokens `start` to `end` of a row."""
        return [buffer[row, :, start:end].copy() for _, buffer in self._buffers]

    def write(self, row: int, start: int, block: KvBlock) -> None:
        """Put a block into a row from token `start` on."""
        for (_, buffer), part in zip(self._buffers, block, strict=True):
            buffer[row, :, start : start + part.shape[1]] = part

    def _run(self, row: int, ids: Tokens, mask: Tokens) -> npt.NDArray[np.floating[Any]]:
        rows = ids.shape[0]
        binding = self._binding(row, rows)
        ids = np.ascontiguousarray(ids)
        logits = np.empty((rows, ids.shape[1], self._vocabulary), self._logits_dtype)
        binding.bind_input("input_ids", "cpu", 0, np.int64, ids.shape, ids.ctypes.data)
        binding.bind_input("attention_mask", "cpu", 0, np.int64, mask.shape, mask.ctypes.data)
        if self._positions:
            places = mask.sum(1, keepdims=True) - ids.shape[1] + np.arange(ids.shape[1])
            binding.bind_input("position_ids", "cpu", 0, np.int64, places.shape, places.ctypes.data)
        binding.bind_output(
            "logits", "cpu", 0, self._logits_dtype.type, logits.shape, logits.ctypes.data
        )
        self._session.run_with_iobinding(binding)
        return logits

    def _binding(self, row: int, rows: int) -> Any:
        """Return the binding of `rows` rows from `row` on; each is made once and kept."""
        found = self._bindings.get((row, rows))
        if found is not None:
            return found
        binding = self._session.io_binding()
        for name, buffer in self._buffers:
            shape = (rows, *buffer.shape[1:])
            address = buffer[row:].ctypes.data
            present = name.replace("past_key_values", "present")
            binding.bind_input(name, "cpu", 0, buffer.dtype.type, shape, address)
            binding.bind_output(present, "cpu", 0, buffer.dtype.type, shape, address)
        self._bindings[row, rows] = binding
        return binding


def _buffer(past: TensorSpec, rows: int, row_tokens: int) -> npt.NDArray[Any]:
    return np.zeros((rows, past.shape[1], row_tokens, past.shape[3]), past.dtype)
