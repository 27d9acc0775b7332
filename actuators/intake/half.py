"""A model in float16: weights, passes and KV cache take half the memory; what a GPU computes fastest."""

from __future__ import annotations

from pathlib import Path

from actuators.intake.optimise import DATA_FILE, MODEL_FILE
from actuators.onnx_tier.session import open_session
from forecaster.domain.errors import ModelError


def save_half(source: Path, folder: Path, provider: str) -> Path:
    """Write a model with its floats in 16 bits; return its path.

    Clients see no difference: a classic model's inputs and outputs, and a generative one's logits,
    keep their types. Keys and values become float16.

    Parameters
    ----------
    source : Path
        A float32 model.
    folder : Path
        Gets the model and its weights.
    provider : str
        Where it must run, as in `open_session`.

    Raises
    ------
    ModelError
        When the converter is missing, or an operator does not run in float16.
    """
    import onnx

    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise ModelError(
            f"this ONNX Runtime brings no float16 converter: {error}", "take --weights int8"
        ) from error
    model = onnx.load_model(source)
    names = [each.name for each in (*model.graph.input, *model.graph.output)]
    kept = [name for name in names if not name.startswith(("past_key_values.", "present."))]
    # Shapes are not needed, and inferring them fails at ONNX Runtime's own operators.
    half = convert_float_to_float16(model, keep_io_types=kept, disable_shape_infer=True)
    target = folder / MODEL_FILE
    onnx.save_model(half, target, save_as_external_data=True, location=DATA_FILE)
    try:
        open_session(target, provider, 1)
    except ModelError as error:
        raise ModelError(
            f"the model does not run in float16: {error.problem}", "keep its weights, or take int8"
        ) from error
    return target
