"""A KV cache that stays on the unit's device: made, cut and moved there by graphs of one operator.

ONNX Runtime's Python API hands memory of a device out and takes addresses in, but copies no slices. Its
operators do, on any provider: ``ConstantOfShape`` makes a buffer, ``Slice`` reads tokens, ``ScatterND``
bound to one buffer as input and output writes them in place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from actuators.onnx_tier.devices import GpuLimits
from actuators.onnx_tier.kv_memory import Array, KvBlock, bind_cache
from actuators.onnx_tier.session import CPU, CUDA, TensorSpec

_OPSET, _IR = 17, 10


class DeviceMemory:
    """Caches in the memory of a device; `KvMemory` says what its methods do.

    Parameters
    ----------
    pasts : sequence of TensorSpec
        The model's caches.
    rows, row_tokens : int
        Sequences at once, and the tokens that each may have.
    device : str
        ``cuda``, or ``cpu`` for the same way through host memory.
    """

    def __init__(
        self, pasts: Sequence[TensorSpec], rows: int, row_tokens: int, device: str
    ) -> None:
        self.device = device
        self._pasts = tuple(pasts)
        self._row_tokens = row_tokens
        # The memory is theirs: they live as long as it does.
        self._makers = {dtype: _maker(dtype, device) for dtype in {each.dtype for each in pasts}}
        self._buffers = [
            _make(
                self._makers[each.dtype], (rows, each.shape[1], row_tokens, each.shape[3]), device
            )
            for each in pasts
        ]
        self._reader, self._writer = _reader(self._pasts, device), _writer(self._pasts, device)

    def bind(self, binding: Any, row: int, rows: int) -> None:
        """Bind rows; see `KvMemory`."""
        for past, shape, at in self._rows_at(row):
            bind_cache(binding, past, self.device, (rows, *shape), at)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row; see `KvMemory`."""
        self.write(target, 0, self.read(source, 0, length))

    def read(self, row: int, start: int, end: int) -> KvBlock:
        """Copy tokens out, on the device; see `KvMemory`."""
        binding = self._reader.io_binding()
        for past, shape, at in self._rows_at(row):
            binding.bind_input(past.name, self.device, 0, _type(past), shape, at)
            binding.bind_output(_block(past), self.device, 0)
        span = {"start": np.array([start]), "end": np.array([end])}
        for name, at_token in span.items():
            binding.bind_cpu_input(name, at_token)
        self._reader.run_with_iobinding(binding)
        return list(binding.get_outputs())

    def write(self, row: int, start: int, block: KvBlock) -> None:
        """Copy tokens in, on the device; see `KvMemory`."""
        binding = self._writer.io_binding()
        places: dict[str, npt.NDArray[np.int64]] = {}
        for (past, shape, at), part in zip(self._rows_at(row), block, strict=True):
            tokens = np.arange(start, start + part.shape()[1])
            grid = np.meshgrid(np.arange(shape[0]), tokens, indexing="ij")
            places[_places(past)] = np.ascontiguousarray(np.stack(grid, axis=-1))
            binding.bind_input(past.name, self.device, 0, _type(past), shape, at)
            binding.bind_ortvalue_input(_block(past), part)
            binding.bind_output(_written(past), self.device, 0, _type(past), shape, at)
        for name, place in places.items():
            binding.bind_cpu_input(name, place)
        self._writer.run_with_iobinding(binding)

    def out(self, block: KvBlock) -> list[Array]:
        """Copy a block to the host; see `KvMemory`."""
        return [np.ascontiguousarray(part.numpy()) for part in block]

    def home(self, arrays: Sequence[Array]) -> KvBlock:
        """Copy arrays to the device; see `KvMemory`."""
        return [ort.OrtValue.ortvalue_from_numpy(each, self.device, 0) for each in arrays]

    def _rows_at(self, row: int) -> list[tuple[TensorSpec, tuple[int, int, int], int]]:
        """Return each cache with the shape and the address of one of its rows."""
        found = []
        for past, buffer in zip(self._pasts, self._buffers, strict=True):
            shape = (past.shape[1], self._row_tokens, past.shape[3])
            size = math.prod(shape) * np.dtype(past.dtype).itemsize
            found.append((past, shape, int(buffer.data_ptr()) + row * size))
        return found


def last_logits(logits: TensorSpec, device: str) -> Any:
    """Return a session that cuts float[r, s, v] logits to the last position: less to bring home."""
    from onnx import helper

    constants = [("from", -1), ("to", 1 << 62), ("axis", 1)]
    return _session(
        [helper.make_node("Slice", ["logits", "from", "to", "axis"], ["last"])],
        [("logits", logits.dtype, 3)],
        [("last", logits.dtype, 3)],
        device,
        constants,
    )


def _maker(dtype: str, device: str) -> Any:
    from onnx import helper

    zero = helper.make_tensor("value", _kind(dtype), [1], [0])
    node = helper.make_node("ConstantOfShape", ["shape"], ["buffer"], value=zero)
    return _session([node], [("shape", "int64", 1)], [("buffer", dtype, 4)], device)


def _make(maker: Any, shape: Sequence[int], device: str) -> Any:
    binding, sizes = maker.io_binding(), np.array(shape, np.int64)
    binding.bind_cpu_input("shape", sizes)
    binding.bind_output("buffer", device, 0)
    maker.run_with_iobinding(binding)
    return binding.get_outputs()[0]


def _reader(pasts: Sequence[TensorSpec], device: str) -> Any:
    from onnx import helper

    nodes = [
        helper.make_node("Slice", [each.name, "start", "end", "axis"], [_block(each)])
        for each in pasts
    ]
    inputs = [(each.name, each.dtype, 3) for each in pasts]
    inputs += [("start", "int64", 1), ("end", "int64", 1)]
    outputs = [(_block(each), each.dtype, 3) for each in pasts]
    return _session(nodes, inputs, outputs, device, [("axis", 1)])


def _writer(pasts: Sequence[TensorSpec], device: str) -> Any:
    from onnx import helper

    nodes: list[Any] = []
    inputs: dict[str, str] = {}
    outputs: list[tuple[str, str, int]] = []
    for each in pasts:
        taken = [each.name, _places(each), _block(each)]
        nodes.append(helper.make_node("ScatterND", taken, [_written(each)]))
        inputs |= {each.name: each.dtype, _places(each): "int64", _block(each): each.dtype}
        outputs.append((_written(each), each.dtype, 3))
    return _session(nodes, [(name, dtype, 3) for name, dtype in inputs.items()], outputs, device)


def _session(
    nodes: list[Any],
    inputs: Sequence[tuple[str, str, int]],
    outputs: Sequence[tuple[str, str, int]],
    device: str,
    constants: Sequence[tuple[str, int]] = (),
) -> Any:
    """Open a graph whose tensors are given as name, type and number of axes."""
    import onnx
    from onnx import helper

    def declared(tensors: Sequence[tuple[str, str, int]]) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, _kind(dtype), [None] * axes)
            for name, dtype, axes in tensors
        ]

    weights = [onnx.numpy_helper.from_array(np.array([at]), name) for name, at in constants]
    graph = helper.make_graph(nodes, "kv", declared(inputs), declared(outputs), weights)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # No more than what is asked for: the model's own session has the rest of the device's share.
    chosen = GpuLimits().provider_options() | {"arena_extend_strategy": "kSameAsRequested"}
    providers = [(CUDA, chosen), CPU] if device == "cuda" else [CPU]
    return ort.InferenceSession(model.SerializeToString(), options, providers=providers)


def _kind(dtype: str) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _type(past: TensorSpec) -> Any:
    return np.dtype(past.dtype).type


def _block(past: TensorSpec) -> str:
    return f"{past.name}.block"


def _written(past: TensorSpec) -> str:
    return f"{past.name}.written"


def _places(past: TensorSpec) -> str:
    return f"places_{past.shape[1]}"
