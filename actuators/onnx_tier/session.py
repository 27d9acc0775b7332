"""ONNX Runtime sessions: the provider that was truly got, and files checked before units are ordered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from actuators.onnx_tier.devices import GpuLimits
from forecaster.domain.errors import ModelError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint64)": "uint64",
    "tensor(uint32)": "uint32",
    "tensor(uint16)": "uint16",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
    "tensor(bfloat16)": "bfloat16",
    "tensor(string)": "object",
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, numpy dtype (texts are ``object``) and shape (-1 = any length) of one input or output."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelSignature:
    """What a model takes, what it gives, and what its file says about itself."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: dict[str, str]

    @property
    def context_tokens(self) -> int:
        """Longest sequence of a generative model, tokens."""
        return int(self.metadata.get("context_tokens", "2048"))

    @property
    def reads_bytes(self) -> bool:
        """Whether a token is a byte, so that text needs no tokenizer."""
        return self.metadata.get("tokenizer") == "bytes"


class WrongProviderError(ModelError):
    """The session did not land on the provider that the unit type demands."""


NO_LIMITS = GpuLimits()


def open_session(
    path: Path, provider: str, threads: int, *, packed: bool = True, gpu: GpuLimits = NO_LIMITS
) -> Any:
    """Create a session on the required provider.

    Parameters
    ----------
    path : Path
        ONNX file.
    provider : str
        ``cpu``, ``cuda`` (strict) or ``auto`` (CUDA where a device and its libraries are there).
    threads : int
        Intra-op threads. They never spin: units share a machine.
    packed : bool
        Whether weights are copied into the layout that kernels like best; False starts sooner.
    gpu : GpuLimits
        What the session may do on a GPU; nothing to a session on the CPU.

    Raises
    ------
    WrongProviderError
        When ``cuda`` was demanded and the session is on the CPU.
    ModelError
        When ONNX Runtime refuses the file.
    """
    wants_cuda = provider == "cuda" or (provider == "auto" and cuda_visible())
    if wants_cuda and cuda_visible():
        ort.preload_dlls()
    # Asking for a provider without a device prints C++ errors and gives a CPU session: ask first.
    on_gpu = wants_cuda and cuda_visible()
    chosen = [(CUDA, gpu.provider_options()), CPU] if on_gpu else [CPU]
    if provider == "cuda" and not on_gpu:
        raise WrongProviderError(
            "told cuda, session is on CPU: ONNX Runtime sees no CUDA device",
            "install the [cuda] extra and a driver, or set provider = 'auto' or 'cpu'",
        )
    try:
        session = ort.InferenceSession(path, _options(threads, packed), providers=chosen)
    except Exception as error:  # ONNX Runtime's errors share no base class but Exception
        raise ModelError(
            f"model file {path} is refused by ONNX Runtime: {reason_of(error)}",
            "export or download it again",
        ) from error
    if provider == "cuda" and session.get_providers()[0] != CUDA:
        raise WrongProviderError(
            f"told cuda, session is on {session.get_providers()[0]}",
            "install the [cuda] extra and a driver, or set provider = 'auto' or 'cpu'",
        )
    return session


def runs_on_cpu(provider: str) -> bool:
    """Whether a unit told `provider` will run on the CPU here."""
    return provider == "cpu" or (provider == "auto" and not cuda_visible())


def cuda_visible() -> bool:
    """Whether ONNX Runtime sees a CUDA device; ``get_available_providers`` only tells the build."""
    return any(device.ep_name == CUDA for device in ort.get_ep_devices()) or _gpu_hardware()


def _gpu_hardware() -> bool:
    """Whether a CUDA build meets an NVIDIA driver: EP devices are listed by plug-in builds only."""
    return CUDA in ort.get_available_providers() and Path("/proc/driver/nvidia/version").exists()


def provider_of(session: Any) -> str:
    """Return the execution provider that runs the session."""
    return str(session.get_providers()[0])


def captures(session: Any, wanted: bool) -> bool:
    """Whether a session's steps can be captured as wanted: where `auto` got a CPU, they cannot."""
    return wanted and provider_of(session) == CUDA


def signature_of(session: Any) -> ModelSignature:
    """Return the signature of an open session."""
    return ModelSignature(
        inputs=tuple(_spec(each) for each in session.get_inputs()),
        outputs=tuple(_spec(each) for each in session.get_outputs()),
        metadata=dict(session.get_modelmeta().custom_metadata_map),
    )


def check_model(path: Path) -> ModelSignature:
    """Read the head of an ONNX file without loading its external weights.

    Parameters
    ----------
    path : Path
        ONNX file.

    Raises
    ------
    ModelError
        When the file is missing or is not a whole ONNX model.
    """
    import onnx

    if not path.is_file():
        raise ModelError(
            f"model file {path} does not exist", "build it with `make run` or correct model_file"
        )
    try:
        model = onnx.load_model(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has no public home across its versions
        raise ModelError(
            f"model file {path} is not ONNX: {reason_of(error)}", "export or download it again"
        ) from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"model file {path} holds no graph", "export or download it again")
    weights = {each.name for each in model.graph.initializer}
    return ModelSignature(
        inputs=tuple(_proto_spec(each) for each in model.graph.input if each.name not in weights),
        outputs=tuple(_proto_spec(each) for each in model.graph.output),
        metadata={each.key: each.value for each in model.metadata_props},
    )


def _options(threads: int, packed: bool) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_prepacking", "0" if packed else "1")
    options.log_severity_level = 4  # errors are raised: no second telling
    return options


def _spec(value: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), shape)


def _proto_spec(value: Any) -> TensorSpec:
    import onnx

    kind = value.type.tensor_type
    sizes = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim)
    return TensorSpec(value.name, _numpy_name(onnx, kind.elem_type), sizes)


def _numpy_name(onnx: Any, kind: int) -> str:
    return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).name)


def reason_of(error: Exception) -> str:
    """Return what ONNX Runtime has to say in one line, without the place in its source."""
    line = str(error).strip().split("\n")[0]
    line = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", line)
    line = re.sub(r"^/onnxruntime_src/\S+ .*?\) (?=[A-Z])", "", line)
    return line[:300] or type(error).__name__
