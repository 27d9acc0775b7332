"""Weight-only quantisation: float32 matrices to blocks of 8 or 4 bits, read as such by the kernels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actuators.intake.optimise import DATA_FILE, MODEL_FILE
from forecaster.domain.errors import ModelError

BLOCK = 32
_INPUT_LEAST = 128
"""Smaller matrices are read as fast as they are."""

_PLAIN = {
    "transA": 0, "transB": 0, "transBatchA": 0, "transBatchB": 0, "alpha": 1.0, "beta": 1.0
}  # fmt: skip
"""What holds where a product does not say."""

_INTEGER_PRODUCTS = 4
"""ONNX Runtime's accuracy level that multiplies integers."""


def save_quantised(source: Path, folder: Path, bits: int) -> Path:
    """Write a model with the weights of its matrix products in `bits` bits; return its path.

    Parameters
    ----------
    source : Path
        A float32 model.
    folder : Path
        Gets the model and its weights.
    bits : int
        8 or 4.

    Raises
    ------
    ModelError
        When it has no weights that this concerns.
    """
    import onnx

    model = onnx.load_model(source)
    weights = {each.name: each for each in model.graph.initializer}
    uses = Counter(
        name for node in model.graph.node if node.op_type != "Gather" for name in node.input
    )
    looked_up = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    taken = 0
    for node in model.graph.node:
        tensor = weights.get(node.input[1]) if _is_product(node, weights) else None
        if tensor is None or not _worth(node, tensor) or uses[tensor.name] > 1:
            continue
        _replace(node, model.graph, tensor, bits)
        # An embedding that is the last matrix, too, is looked up as it was: rows, not products.
        if tensor.name not in looked_up:
            model.graph.initializer.remove(tensor)
        taken += 1
    if not taken:
        raise ModelError(
            f"it has no matrix products with float32 weights of {_INPUT_LEAST} rows or more",
            "deploy it with --weights keep",
        )
    if not any(each.domain == "com.microsoft" for each in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    target = folder / MODEL_FILE
    onnx.save_model(model, target, save_as_external_data=True, location=DATA_FILE)
    return target


def quantised(
    matrix: npt.NDArray[np.float32], bits: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Quantise float32[K, N] in blocks of `BLOCK` along K, symmetric about the middle.

    Returns
    -------
    uint8[N, blocks, BLOCK * bits / 8], float32[N, blocks]
        The values, low half first where two share a byte, and each block's scale.
    """
    rows, columns = matrix.shape
    blocks = -(-rows // BLOCK)
    padded = np.zeros((blocks * BLOCK, columns), np.float32)
    padded[:rows] = matrix
    cut = padded.T.reshape(columns, blocks, BLOCK)
    middle = 1 << (bits - 1)
    scales = np.abs(cut).max(axis=2) / (middle - 1)
    safe = np.where(scales > 0, scales, 1.0)[:, :, None]
    values = (np.rint(cut / safe) + middle).clip(0, 2 * middle - 1).astype(np.uint8)
    if bits == 4:
        values = values[:, :, 0::2] + values[:, :, 1::2] * np.uint8(16)
    return np.ascontiguousarray(values), scales.astype(np.float32)


def _is_product(node: Any, weights: dict[str, Any]) -> bool:
    """Whether a node is ``x @ w``, or ``x @ w + bias`` with a bias for each column."""
    if node.op_type not in {"MatMul", "FusedMatMul", "Gemm"}:
        return False
    fields = _fields(node)
    plain = fields["transA"] == 0 and fields["alpha"] == fields["beta"] == 1
    plain = plain and not (fields["transBatchA"] or fields["transBatchB"])
    bias = weights.get(node.input[2]) if len(node.input) > 2 else None
    return plain and (len(node.input) == 2 or (bias is not None and len(bias.dims) == 1))


def _fields(node: Any) -> dict[str, Any]:
    import onnx

    given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    return _PLAIN | given


def _worth(node: Any, tensor: Any) -> bool:
    import onnx

    is_matrix = len(tensor.dims) == 2 and tensor.data_type == onnx.TensorProto.FLOAT
    return is_matrix and tensor.dims[_fields(node)["transB"]] >= _INPUT_LEAST


def _replace(node: Any, graph: Any, tensor: Any, bits: int) -> None:
    import onnx

    matrix: npt.NDArray[np.float32] = onnx.numpy_helper.to_array(tensor)
    if _fields(node)["transB"]:
        matrix = matrix.T
    bias = ["", "", node.input[2]] if len(node.input) > 2 else []
    values, scales = quantised(matrix, bits)
    names = (f"{tensor.name}.q{bits}", f"{tensor.name}.scales")
    graph.initializer.append(onnx.numpy_helper.from_array(values, names[0]))
    graph.initializer.append(onnx.numpy_helper.from_array(scales.ravel(), names[1]))
    taken = onnx.helper.make_node(
        "MatMulNBits",
        [node.input[0], *names, *bias],
        list(node.output),
        name=node.name,
        domain="com.microsoft",
        K=matrix.shape[0],
        N=matrix.shape[1],
        bits=bits,
        block_size=BLOCK,
        accuracy_level=_INTEGER_PRODUCTS,
    )
    node.CopyFrom(taken)
