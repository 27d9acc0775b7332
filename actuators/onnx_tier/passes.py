"""One pass of a session over named tensors, bfloat16 among them.

numpy has bfloat16 from ml_dtypes, which ONNX Runtime does not know: such tensors go in as values of
ONNX's type over the same bytes, and come out as bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime as ort

from actuators.onnx_tier.session import ModelSignature
from actuators.onnx_tier.wire import Tensor

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_ONNX_BFLOAT16 = 16
"""``TensorProto.BFLOAT16``."""


def has_bfloat16(signature: ModelSignature) -> bool:
    """Whether any input or output of a model is bfloat16."""
    return "bfloat16" in {each.dtype for each in (*signature.inputs, *signature.outputs)}


def run_pass(session: Any, feed: Mapping[str, Tensor], brain_floats: bool) -> list[Tensor]:
    """Return the outputs of one pass, in the model's order.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The model.
    feed : mapping of str to ndarray
        Its inputs.
    brain_floats : bool
        From `has_bfloat16`: such a model takes no tensors of texts beside them.
    """
    if not brain_floats:
        outputs: list[Tensor] = session.run(None, feed)
        return outputs
    kept = {name: np.ascontiguousarray(tensor) for name, tensor in feed.items()}
    values = {name: _value(tensor) for name, tensor in kept.items()}
    return [_array(each) for each in session.run_with_ort_values(None, values)]


def _value(tensor: Tensor) -> Any:
    if tensor.dtype != BFLOAT16:
        return ort.OrtValue.ortvalue_from_numpy(tensor)
    bits = tensor.view(np.uint16)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _ONNX_BFLOAT16)


def _array(value: Any) -> Tensor:
    if value.element_type() != _ONNX_BFLOAT16:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    data = ctypes.string_at(value.data_ptr(), int(np.prod(shape)) * BFLOAT16.itemsize)
    return np.frombuffer(data, BFLOAT16).reshape(shape)
