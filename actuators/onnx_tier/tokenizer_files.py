"""Text by the tokenizer files that come with a model: its vocabulary, its chat template, its ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from actuators.onnx_tier.jobs import RefusedError
from actuators.onnx_tier.kv_rows import Tokens
from actuators.onnx_tier.session import ModelSignature
from actuators.onnx_tier.text import ByteText, Messages, ModelText, NoText, Pieces
from forecaster.domain.errors import ModelError

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
GENERATION_CONFIG = "generation_config.json"
GENAI_CONFIG = "genai_config.json"
TEXT_FILES = (TOKENIZER, TOKENIZER_CONFIG, TEMPLATE, GENERATION_CONFIG, GENAI_CONFIG)
"""Files beside a model that this module reads."""


def text_of(folder: Path, signature: ModelSignature) -> ModelText:
    """Return how the model in `folder` reads and writes.

    Raises
    ------
    ModelError
        When one of its files is broken.
    """
    if signature.reads_bytes:
        return ByteText(_metadata_stops(signature))
    if not (folder / TOKENIZER).is_file():
        return NoText(_stop_tokens(folder) or _metadata_stops(signature))
    return FileText(folder, signature)


class FileText:
    """A model with a ``tokenizer.json``.

    Parameters
    ----------
    folder : Path
        Where its files are.
    signature : ModelSignature
        May name the end token where the files do not.
    """

    def __init__(self, folder: Path, signature: ModelSignature) -> None:
        from tokenizers import Tokenizer

        path = folder / TOKENIZER
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exceptions
            raise ModelError(f"{path} is no tokenizer: {error}", "download it again") from error
        config = _json(folder / TOKENIZER_CONFIG)
        self._specials = {
            key: _content(config.get(key)) for key in ("bos_token", "eos_token", "pad_token")
        }
        self._template = _template(folder, config)
        eos = self._tokenizer.token_to_id(self._specials["eos_token"])
        named = () if eos is None else (int(eos),)
        self.stop_tokens = _stop_tokens(folder) or named or _metadata_stops(signature)

    def encode(self, text: str) -> Tokens:
        """Return the token ids of `text`, with the special tokens that the model begins with."""
        return np.array(self._tokenizer.encode(text).ids, np.int64)

    def chat(self, messages: Messages) -> Tokens:
        """Render the model's own chat template; return its token ids.

        Raises
        ------
        RefusedError
            400 when the model has no template, or the template refuses the messages.
        """
        if self._template is None:
            message = "this model has no chat template: use /v1/completions"
            raise RefusedError(400, message, "messages")
        from jinja2 import TemplateError

        try:
            text = self._template.render(
                messages=list(messages), add_generation_prompt=True, **self._specials
            )
        except (TemplateError, TypeError, ValueError) as error:
            message = f"the model's chat template refuses these messages: {error}"
            raise RefusedError(400, message, "messages") from error
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    def pieces(self) -> Pieces:
        """Return an incremental decoder."""
        return _FilePieces(self._tokenizer)


class _FilePieces:
    def __init__(self, tokenizer: Any) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._incomplete: list[int] = []

    def add(self, token: int) -> str:
        piece = self._stream.step(self._tokenizer, token)
        self._incomplete = [] if piece else [*self._incomplete, token]
        return piece or ""

    def finish(self) -> str:
        """Half a character shows as its replacement sign."""
        return str(self._tokenizer.decode(self._incomplete)) if self._incomplete else ""


def context_tokens(folder: Path) -> int | None:
    """Return the context length that the model's files state, tokens; None where they do not."""
    genai = _json(folder / GENAI_CONFIG).get("model") or {}
    stated = genai.get("context_length") or _json(folder / "config.json").get(
        "max_position_embeddings"
    )
    return int(stated) if isinstance(stated, int) and stated > 0 else None


def _template(folder: Path, config: dict[str, Any]) -> Any:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    path = folder / TEMPLATE
    source = path.read_text("utf-8") if path.is_file() else config.get("chat_template")
    if isinstance(source, list):
        named = {each.get("name"): each.get("template") for each in source}
        source = named.get("default")
    if not isinstance(source, str):
        return None
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise ModelError(
            f"the chat template in {folder} is broken: {error}", "download it again"
        ) from error


def _refuse(message: str) -> None:
    raise ValueError(message)


def _stop_tokens(folder: Path) -> tuple[int, ...]:
    genai = _json(folder / GENAI_CONFIG).get("model") or {}
    found = _json(folder / GENERATION_CONFIG).get("eos_token_id", genai.get("eos_token_id"))
    listed = found if isinstance(found, list) else [found]
    return tuple(each for each in listed if type(each) is int)


def _metadata_stops(signature: ModelSignature) -> tuple[int, ...]:
    stated = signature.metadata.get("eos_token", "")
    return (int(stated),) if stated.isdigit() else ()


def _content(token: object) -> str:
    """Return a special token's text: written as such, or as an object with its content."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}", "download it again") from error
    return data if isinstance(data, dict) else {}
