"""A model rewritten for serving: graph optimised once, weights beside the file so that units map them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort

from actuators.intake.checks import CheckedModel
from actuators.onnx_tier.session import CPU, reason_of
from forecaster.domain.errors import ModelError

MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"
_BESIDE_FROM_BYTES = "1024"


def save_optimised(model: CheckedModel, folder: Path, metadata: Mapping[str, str]) -> Path:
    """Write the model with its graph optimised, fusions that hold on any machine; return its path.

    Parameters
    ----------
    model : CheckedModel
        The original.
    folder : Path
        Gets `MODEL_FILE` and `DATA_FILE`.
    metadata : mapping
        Added to what the model says of itself.

    Raises
    ------
    ModelError
        When ONNX Runtime refuses the model.
    """
    target = folder / MODEL_FILE
    options = _options(model, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)
    return _save(model.path, target, options, metadata)


def save_plain(model: CheckedModel, folder: Path, metadata: Mapping[str, str]) -> Path:
    """Write the model as it is, its weights beside it; return its path."""
    options = _options(model, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    return _save(model.path, folder / MODEL_FILE, options, metadata)


def _options(model: CheckedModel, level: Any) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4  # errors are raised: no second telling
    # The session is made for the file that it writes: packing weights would double the memory.
    options.add_session_config_entry("session.disable_prepacking", "1")
    if model.branches:
        return options  # written beside the file, weights of inner graphs get the names of others
    name, size = "file_name", "min_size_in_bytes"
    prefix = "session.optimized_model_external_initializers_"
    options.add_session_config_entry(prefix + name, DATA_FILE)
    options.add_session_config_entry(prefix + size, _BESIDE_FROM_BYTES)
    return options


def _save(source: Path, target: Path, options: Any, metadata: Mapping[str, str]) -> Path:
    import onnx

    options.optimized_model_filepath = str(target)
    try:
        ort.InferenceSession(source, options, providers=[CPU])
    except Exception as error:  # ONNX Runtime's errors share no base class but Exception
        raise ModelError(
            f"model file {source} is refused by ONNX Runtime: {reason_of(error)}",
            "export or download it again",
        ) from error
    model = onnx.load_model(target, load_external_data=False)
    kept = {each.key: each.value for each in model.metadata_props}
    onnx.helper.set_model_props(model, kept | dict(metadata))
    target.write_bytes(model.SerializeToString())
    return target
