"""Decoding steps as CUDA graphs: every address and every shape stays, only what lies there changes.

A graph is captured for each number of rows, the second time that it comes, and replayed from then on.
Its mask has the row's full length; what is not cached yet is masked out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from actuators.onnx_tier.kv_memory import KvMemory
from actuators.onnx_tier.session import TensorSpec

Tokens = npt.NDArray[np.int64]
_GRAPH = "gpu_graph_id"


@dataclass(frozen=True, slots=True)
class _Step:
    """What one number of rows is decoded with."""

    binding: Any
    options: Any
    inputs: dict[str, Any]
    logits: Any


class GraphDecoder:
    """Decodes rows 0..n-1 with buffers that stay where they are.

    Parameters
    ----------
    memory : KvMemory
        The rows.
    logits : TensorSpec
        The model's output.
    row_tokens : int
        Tokens that one row holds: the length of every mask.
    positions : bool
        Whether the model takes ``position_ids``.
    """

    def __init__(
        self, memory: KvMemory, logits: TensorSpec, row_tokens: int, positions: bool
    ) -> None:
        self._memory = memory
        self._logits = logits
        self._positions = positions
        self._arange = np.arange(row_tokens)
        self._steps: dict[int, _Step] = {}

    def decode(
        self, session: Any, tokens: Tokens, lengths: Tokens
    ) -> npt.NDArray[np.floating[Any]]:
        """Append one token to each row; return float[n, vocabulary] logits, as `KvRows.decode`."""
        step = self._steps.get(tokens.size)
        if step is None:
            step = self._steps[tokens.size] = self._step(session, tokens.size)
        step.inputs["input_ids"].update_inplace(np.ascontiguousarray(tokens[:, None]))
        mask = (self._arange <= lengths[:, None]).astype(np.int64)
        step.inputs["attention_mask"].update_inplace(mask)
        if self._positions:
            step.inputs["position_ids"].update_inplace(np.ascontiguousarray(lengths[:, None]))
        session.run_with_iobinding(step.binding, step.options)
        return np.asarray(step.logits.numpy()[:, 0, :])

    def _step(self, session: Any, rows: int) -> _Step:
        widths = {"input_ids": 1, "attention_mask": self._arange.size}
        if self._positions:
            widths["position_ids"] = 1
        inputs = {
            name: self._value((rows, width), np.dtype(np.int64)) for name, width in widths.items()
        }
        logits = self._value((rows, 1, self._logits.shape[-1]), np.dtype(self._logits.dtype))
        binding = session.io_binding()
        self._memory.bind(binding, 0, rows)
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output("logits", logits)
        return _Step(binding, _graph_of(rows), inputs, logits)

    def _value(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        return ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype), self._memory.device, 0)


def no_graph() -> Any:
    """Return the options of a run whose shapes change: it is neither captured nor replayed."""
    return _graph_of(-1)


def _graph_of(number: int) -> Any:
    options = ort.RunOptions()
    options.add_run_config_entry(_GRAPH, str(number))
    return options
