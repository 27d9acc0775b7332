"""OpenAI request bodies, read and checked: what is asked becomes one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from actuators.onnx_tier.front_door import FrontDoor
from actuators.onnx_tier.jobs import RefusedError
from actuators.onnx_tier.kv_rows import Tokens
from actuators.onnx_tier.sampling import Sampling
from actuators.onnx_tier.spec import TierService
from actuators.onnx_tier.terms import Terms, read_terms
from actuators.onnx_tier.text import ModelText
from forecaster.domain.profile import GenerativeProfile

DEFAULT_MAX_TOKENS = 16
DEFAULT_CHAT_TOKENS = 128
_STOPS_MAX = 4
_CHARACTERS_PER_TOKEN = 64

_HARMLESS: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (),
    "logprobs": (),
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "response_format": ({"type": "text"},),
}
"""What is asked for and not done is refused, except where it asks for what is done anyway."""


@dataclass(frozen=True, slots=True)
class CompletionOrder:
    """A completion or chat completion that can be carried out.

    Attributes
    ----------
    prompt : int64[p]
        Token ids.
    text : ModelText
        How the model reads and writes.
    """

    service: TierService
    prompt: Tokens
    max_tokens: int
    sampling: Sampling
    stops: tuple[str, ...]
    stream: bool
    include_usage: bool
    chat: bool
    text: ModelText
    terms: Terms


def read_order(
    door: FrontDoor, body: bytes, headers: Mapping[str, str], *, chat: bool
) -> CompletionOrder:
    """Read the body of a completion request.

    Raises
    ------
    RefusedError
        400 or 404, naming the field and what it must be.
    """
    data = _json_object(body)
    service = door.service(data.get("model"))
    profile = service.unit_type.profile
    if not isinstance(profile, GenerativeProfile):
        raise _bad(f"the model {service.service!r} does not generate text: use /v2 infer", "model")
    signature = door.signatures[service.service]
    _refuse_unsupported(data)
    text = door.texts[service.service]
    context = min(signature.context_tokens, profile.kv_tokens)
    prompt = _chat_prompt(data, text) if chat else _prompt(data.get("prompt"), text, context)
    if prompt.size == 0:
        raise _bad("the prompt is empty", "prompt")
    max_tokens = _max_tokens(data, chat)
    if prompt.size + max_tokens > context:
        raise RefusedError(
            400,
            f"this model's context is {context} tokens; the prompt has {prompt.size} and "
            f"max_tokens is {max_tokens}",
            "context_length_exceeded",
        )
    options = data.get("stream_options") or {}
    return CompletionOrder(
        service=service,
        prompt=prompt,
        max_tokens=max_tokens,
        sampling=_sampling(data),
        stops=_stops(data.get("stop")),
        stream=bool(data.get("stream")),
        include_usage=isinstance(options, dict) and bool(options.get("include_usage")),
        chat=chat,
        text=text,
        terms=read_terms(headers, "batch" if data.get("service_tier") == "flex" else None),
    )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad(f"the body is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise _bad("the body is not a JSON object")
    return data


def _refuse_unsupported(data: dict[str, Any]) -> None:
    for name, harmless in _HARMLESS.items():
        value = data.get(name)
        if value not in (None, False, *harmless):
            raise _bad(f"{name} = {str(value)[:60]} is not supported", name)


def _prompt(value: object, text: ModelText, context: int) -> Tokens:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
        value = value[0]
    if isinstance(value, str):
        if len(value) > context * _CHARACTERS_PER_TOKEN:
            message = f"this model's context is {context} tokens; the prompt is far longer"
            raise RefusedError(400, message, "context_length_exceeded")
        return text.encode(value)
    if isinstance(value, list) and all(type(each) is int and 0 <= each < 2**31 for each in value):
        return np.array(value, np.int64)
    raise _bad("prompt must be one string or one list of token ids", "prompt")


def _chat_prompt(data: dict[str, Any], text: ModelText) -> Tokens:
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _bad("messages must be a list with at least one message", "messages")
    read: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str):
            raise _bad("each message must be an object with a role", "messages")
        read.append({"role": role, "content": _content(message.get("content"))})
    return text.chat(read)


def _content(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [each.get("text") for each in parts if isinstance(each, dict)]
    if not parts or not all(isinstance(text, str) for text in texts) or len(texts) != len(parts):
        raise _bad("message content must be text", "messages")
    return "".join(text for text in texts if isinstance(text, str))


def _max_tokens(data: dict[str, Any], chat: bool) -> int:
    name = "max_completion_tokens" if data.get("max_completion_tokens") else "max_tokens"
    value = data.get(name)
    if value is None:
        return DEFAULT_CHAT_TOKENS if chat else DEFAULT_MAX_TOKENS
    if type(value) is not int or value < 1:
        raise _bad(f"{name} = {value!r} must be a whole number from 1", name)
    return value


def _number(data: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = data.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise _bad(f"{name} = {value!r} must be a number from {least:g} to {most:g}", name)
    return float(value)


def _sampling(data: dict[str, Any]) -> Sampling:
    top_p = _number(data, "top_p", 1.0, 0.0, 1.0)
    top_k = data.get("top_k") or 0
    if type(top_k) is not int or top_k < -1:
        raise _bad(f"top_k = {top_k!r} must be a whole number, 0 for all", "top_k")
    return Sampling(
        temperature=_number(data, "temperature", 1.0, 0.0, 2.0),
        top_k=max(0, top_k),
        top_p=max(top_p, 1e-9),
        seed=_seed(data.get("seed")),
    )


def _seed(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int:
        raise _bad(f"seed = {value!r} must be a whole number", "seed")
    return value & (2**63 - 1)


def _stops(value: object) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value or []
    if (
        not isinstance(stops, list)
        or len(stops) > _STOPS_MAX
        or not all(isinstance(each, str) and each for each in stops)
    ):
        raise _bad(f"stop must be a string or a list of at most {_STOPS_MAX} strings", "stop")
    return tuple(stops)


def _bad(message: str, field: str = "") -> RefusedError:
    return RefusedError(400, message, field or "invalid_request")
