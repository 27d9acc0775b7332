"""The first request of every unit: a unit is ready when it has answered this one, not before."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np

from actuators.onnx_tier.samples import sample_shape, stated_shapes, stated_values
from actuators.onnx_tier.sampling import GREEDY
from actuators.onnx_tier.session import ModelSignature, signature_of
from actuators.onnx_tier.wire import Header, Tensor, pack_tensors
from forecaster.domain.profile import GenerativeProfile, UnitType

WARM_UP_ID = 0
"""The router numbers requests from 1."""

_PROMPT = np.full(8, 65, np.int64)


def warm_up_frame(unit_type: UnitType, inputs: list[Header]) -> tuple[Header, bytes]:
    """Return a request of the unit's kind.

    Parameters
    ----------
    unit_type : UnitType
        Tells the kind.
    inputs : list of dict
        From `warm_up_inputs`.

    Raises
    ------
    TypeError
        When an input has a type that no tensor of ours has.
    """
    if isinstance(unit_type.profile, GenerativeProfile):
        header = {"t": "generate", "max_tokens": 2, "sampling": list(astuple(GREEDY)), "stop": []}
        return header | {"id": WARM_UP_ID}, _PROMPT.tobytes()
    filled = [(each["name"], _filled(**each)) for each in inputs]
    entries, body = pack_tensors(filled)
    return {"t": "infer", "id": WARM_UP_ID, "inputs": entries, "outputs": []}, body


def _filled(shape: list[int], dtype: str, value: float, **_name: str) -> Tensor:
    return np.full(shape, "", object) if dtype == "object" else np.full(shape, value).astype(dtype)


def warm_up_for(unit_type: UnitType, session: Any) -> tuple[Header, bytes]:
    """Return the warm-up request of an open session."""
    return warm_up_frame(unit_type, warm_up_inputs(signature_of(session)))


def warm_up_inputs(signature: ModelSignature) -> list[Header]:
    """Return ``name``, ``dtype``, and a shape and ``value`` that the model accepts, of each input."""
    shapes, values = stated_shapes(signature), stated_values(signature)
    return [
        {
            "name": each.name,
            "dtype": each.dtype,
            "shape": list(sample_shape(each, 1, shapes)),
            "value": values.get(each.name, 0.0),
        }
        for each in signature.inputs
    ]


def warm_up_answer(header: Header) -> str | None:
    """Read a frame that a warming unit sent.

    Returns
    -------
    str or None
        Empty when the warm-up is answered, a reason when it was refused, None when it goes on.
    """
    if header["t"] == "refused":
        return f"warm-up request refused: {header['error']}"
    if header["t"] == "answer" or (header["t"] == "tokens" and header["r"][-1][2]):
        return ""
    return None
