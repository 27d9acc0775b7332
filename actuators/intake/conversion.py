"""Models that are not ONNX yet: found by their name, written as what `deploy` goes on with."""

from __future__ import annotations

import json
from pathlib import Path

from actuators.intake.checks import available_bytes, check_memory
from actuators.intake.gguf_file import SUFFIX, GgufFile
from actuators.intake.gguf_llama import genai_config, read_llama, write_llama
from actuators.intake.gguf_text import write_text
from actuators.onnx_tier.tokenizer_files import GENAI_CONFIG
from forecaster.domain.errors import ModelError


def gguf_in(source: Path) -> Path | None:
    """Return the GGUF file of a path: itself, or the one of a folder without ONNX; None for others.

    Raises
    ------
    ModelError
        When a folder holds more than one.
    """
    if not source.is_dir():
        return source if source.suffix.lower() == SUFFIX and source.exists() else None
    found = sorted(source.glob(f"*{SUFFIX}"))
    if not found or any(source.glob("*.onnx")):
        return None
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise ModelError(f"{source} must hold one GGUF file; it holds {names}", "name the file")
    return found[0]


def convert(path: Path, folder: Path) -> Path:
    """Write a GGUF model as ONNX with tokenizer files into `folder`; return the model's path.

    Raises
    ------
    ModelError
        When it is not whole, is no Llama, or does not fit.
    """
    file = GgufFile(path)
    llama = read_llama(file)
    check_memory(llama.weight_bytes, available_bytes())
    ids = write_text(file, folder, llama.layout.vocabulary)
    (folder / GENAI_CONFIG).write_text(json.dumps(genai_config(llama, ids), indent=2), "utf-8")
    return write_llama(file, llama, folder)
