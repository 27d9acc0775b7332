"""What can be said of a model before anything runs: is it whole, does it fit, can it be served."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actuators.onnx_tier.inference_tensors import DATATYPES
from actuators.onnx_tier.session import ModelSignature, check_model
from actuators.onnx_tier.tokenizer_files import GENAI_CONFIG, context_tokens
from forecaster.domain.errors import ModelError

KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
MEMORY_FACTOR = 2.0
"""Bytes a unit needs for one of weights: the file, and the copy that the kernels pack for speed."""

DEFAULT_CONTEXT_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A model that can be tried.

    Attributes
    ----------
    path : Path
        The ONNX file.
    signature : ModelSignature
        What it takes and gives.
    generative : bool
        Whether it generates tokens with a KV cache.
    opset : int
        Of the standard operators.
    weight_bytes : int
        Of the file and of what is beside it.
    external_files : tuple of Path
        Files beside it that hold weights.
    batches : bool
        Whether the first axis of every input and output is free.
    context_tokens : int
        Longest sequence of a generative model.
    branches : bool
        Whether it has graphs inside its graph, such as those of ``If``.
    """

    path: Path
    signature: ModelSignature
    generative: bool
    opset: int
    weight_bytes: int
    external_files: tuple[Path, ...]
    batches: bool
    context_tokens: int
    branches: bool

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values of one token."""
        pasts = [each for each in self.signature.inputs if each.name.startswith("past_key_values")]
        return sum(
            max(1, each.shape[1]) * max(1, each.shape[3]) * np.dtype(each.dtype).itemsize
            for each in pasts
        )


def find_model(source: Path) -> Path:
    """Return the ONNX file of a path: itself, or the one that a folder holds or names.

    Raises
    ------
    ModelError
        When there is none, or more than one.
    """
    if not source.exists():
        raise ModelError(
            f"{source} does not exist", "name an ONNX or GGUF file, or the folder it is in"
        )
    if source.is_file():
        return source
    import orjson

    genai = source / GENAI_CONFIG
    if genai.is_file():
        try:
            return source / str(orjson.loads(genai.read_bytes())["model"]["decoder"]["filename"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{genai} names no decoder file", "export it again") from error
    found = sorted(source.glob("*.onnx"))
    if len(found) == 1:
        return found[0]
    if (source / "model.onnx") in found:
        return source / "model.onnx"
    names = ", ".join(each.name for each in found) or "none"
    raise ModelError(f"{source} must hold one ONNX file; it holds {names}", "name the file")


def check(source: Path, memory_bytes: int | None = None) -> CheckedModel:
    """Check a model without running it.

    Parameters
    ----------
    source : Path
        ONNX file or folder.
    memory_bytes : int, optional
        Memory that a unit may take; what is available here when absent.

    Raises
    ------
    ModelError
        With the first thing that is wrong and what to do about it.
    """
    import onnx

    path = find_model(source)
    signature = check_model(path)
    model = onnx.load_model(path, load_external_data=False)
    opset = _check_operators(model)
    external = _external_files(model, path.parent)
    # What is not beside the file is in it: as initializers, or as constants of any depth.
    weight_bytes = sum(each.stat().st_size for each in (path, *external))
    for each in (*signature.inputs, *signature.outputs):
        _check_dtype(each.name, each.dtype)
    check_memory(weight_bytes, available_bytes() if memory_bytes is None else memory_bytes)
    shapes = [each.shape for each in (*signature.inputs, *signature.outputs)]
    stated = signature.metadata.get("context_tokens", "")
    context = int(stated) if stated.isdigit() else context_tokens(path.parent)
    return CheckedModel(
        path=path,
        signature=signature,
        generative=any(each.name.startswith("past_key_values.") for each in signature.inputs),
        opset=opset,
        weight_bytes=weight_bytes,
        external_files=external,
        batches=all(shape and shape[0] == -1 for shape in shapes),
        context_tokens=context or DEFAULT_CONTEXT_TOKENS,
        branches=any(each.HasField("g") for node in model.graph.node for each in node.attribute),
    )


def available_bytes() -> int:
    """Return the memory that a new process could take here, within its control group."""
    free = int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: what sysconf says
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        return free if limit == "max" else min(free, int(limit) - used)
    except (OSError, ValueError):
        return free


def _check_operators(model: Any) -> int:
    import onnx

    newest = int(onnx.defs.onnx_opset_version())
    opset = next((each.version for each in model.opset_import if each.domain in {"", "ai.onnx"}), 0)
    if opset > newest:
        raise ModelError(
            f"opset {opset} is not supported: the newest known here is {newest}",
            f"export the model with opset {newest} or older",
        )
    foreign = sorted(
        {
            f"{node.domain}:{node.op_type}"
            for node in model.graph.node
            if node.domain not in KNOWN_DOMAINS
        }
    )
    if foreign:
        raise ModelError(
            f"custom operators are not supported: {', '.join(foreign[:5])}",
            "export the model with standard operators",
        )
    return int(opset)


def _external_files(model: Any, folder: Path) -> tuple[Path, ...]:
    """Find the files that hold weights, and see that each is as long as the model says."""
    needed: dict[str, int] = {}
    for tensor in model.graph.initializer:
        entries = {each.key: each.value for each in tensor.external_data}
        if not entries:
            continue
        name = entries.get("location", "")
        end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
        needed[name] = max(end, needed.get(name, 0))
    for name, size in needed.items():
        path = folder / name
        if path.resolve().parent != folder.resolve():
            raise ModelError(
                f"external data {name!r} lies outside the model's folder",
                "save the model with its data beside it",
            )
        if not path.is_file():
            raise ModelError(
                f"external data {name!r} is missing in {folder}",
                "copy it beside the model, or save the model with its data inside",
            )
        if path.stat().st_size < size:
            raise ModelError(
                f"external data {name!r} has {path.stat().st_size} of {size} bytes",
                "download it again",
            )
    return tuple(folder / name for name in sorted(needed))


def _check_dtype(name: str, dtype: str) -> None:
    if dtype not in DATATYPES:
        raise ModelError(
            f"tensor {name!r} has type {dtype}, which cannot be served",
            "export the model with numbers or texts in and out",
        )


def check_memory(weight_bytes: int, memory_bytes: int) -> None:
    """Refuse weights that a unit could not hold.

    Raises
    ------
    ModelError
        When `MEMORY_FACTOR` times the weights are more than the memory.
    """
    need = MEMORY_FACTOR * weight_bytes
    if need > memory_bytes:
        raise ModelError(
            f"a unit needs about {need / 1e9:.1f} GB for {weight_bytes / 1e9:.1f} GB of weights, "
            f"{memory_bytes / 1e9:.1f} GB are available",
            "use a larger machine, or quantise the weights",
        )
