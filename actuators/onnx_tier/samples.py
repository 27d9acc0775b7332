"""Inputs made up for a model: what it is warmed, measured and compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from actuators.onnx_tier.session import ModelSignature, TensorSpec
from actuators.onnx_tier.texts import tensor_of
from actuators.onnx_tier.wire import Tensor

SHAPES_KEY = "tidegate.sample_shapes"
"""Metadata of a deployed model: a JSON object of input names to shapes that it accepts."""

VALUES_KEY = "tidegate.sample_values"
"""Metadata of a deployed model: a JSON object of input names to the one number that fills them."""

_WORDS = ("ebb", "flow", "spring tide", "")

Shapes = Mapping[str, tuple[int, ...]]


def stated_shapes(signature: ModelSignature) -> Shapes:
    """Return the sample shapes that a deployed model carries; empty for others."""
    stated = json.loads(signature.metadata.get(SHAPES_KEY, "{}"))
    return {name: tuple(shape) for name, shape in stated.items()}


def stated_values(signature: ModelSignature) -> Mapping[str, float]:
    """Return what inputs must hold, as a deployed model carries it; empty for others."""
    return {k: float(v) for k, v in json.loads(signature.metadata.get(VALUES_KEY, "{}")).items()}


def sample_shape(spec: TensorSpec, rows: int, shapes: Shapes) -> tuple[int, ...]:
    """Return a shape of `rows` rows where the first axis is free; other free axes as stated, or 1.

    Examples
    --------
    >>> sample_shape(TensorSpec("x", "float32", (-1, 64, -1)), 4, {"x": (1, 64, 16)})
    (4, 64, 16)
    """
    stated = shapes.get(spec.name, ())
    sizes = [
        size if size >= 0 else (stated[axis] if axis < len(stated) else 1)
        for axis, size in enumerate(spec.shape)
    ]
    if spec.shape and spec.shape[0] == -1:
        sizes[0] = rows
    return tuple(sizes)


def sample_inputs(
    signature: ModelSignature, rows: int, shapes: Shapes | None = None, seed: int = 7
) -> list[tuple[str, Tensor]]:
    """Make seeded inputs: normal floats, small whole numbers, truths, words.

    Parameters
    ----------
    signature : ModelSignature
        What the model takes.
    rows : int
        Length of the first axis where it is free.
    shapes : mapping of str to tuple of int, optional
        Shapes that the model accepts; what it carries when absent.
    seed : int
        Another seed, other inputs.
    """
    random = np.random.default_rng(seed)
    known = stated_shapes(signature) if shapes is None else shapes
    values = stated_values(signature)
    named: list[tuple[str, Tensor]] = []
    for spec in signature.inputs:
        shape, dtype = sample_shape(spec, rows, known), np.dtype(spec.dtype)
        if spec.name in values:
            value: Tensor = np.full(shape, values[spec.name]).astype(dtype)
        elif dtype.kind == "O":
            value = tensor_of(random.choice(_WORDS, shape).ravel().tolist(), shape)
        elif dtype.kind in "fV":
            value = random.standard_normal(shape).astype(dtype)
        elif dtype.kind == "b" or "mask" in spec.name:
            value = np.ones(shape, dtype)
        else:
            value = random.integers(0, 2, shape).astype(dtype)
        named.append((spec.name, value))
    return named
