"""A batch as a client asks for it: every line is checked before any is answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from actuators.onnx_tier.jobs import RefusedError

ENDPOINTS = ("/v1/completions", "/v1/chat/completions")
REQUESTS_MOST = 50_000
WINDOW_MOST_S = 7 * 86_400.0
METADATA_MOST = 16

_WINDOW = re.compile(r"^([1-9]\d{0,4})([mhd])$")
_UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One request of a batch.

    Attributes
    ----------
    custom_id : str
        The client's name for it.
    body : bytes
        JSON, as the endpoint takes it.
    size : int
        Letters of its prompt or messages.
    max_tokens : int
        Tokens that it may make; 0 when it does not say.
    """

    custom_id: str
    body: bytes
    size: int
    max_tokens: int


def window_s(window: object) -> float:
    """Seconds of a completion window.

    Raises
    ------
    RefusedError
        400 for what is none.

    Examples
    --------
    >>> window_s("24h"), window_s("90m")
    (86400.0, 5400.0)
    """
    found = _WINDOW.match(window) if isinstance(window, str) else None
    seconds = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if not 0 < seconds <= WINDOW_MOST_S:
        raise _bad(
            f"completion_window = {str(window)[:40]!r} must be like 24h, 90m or 7d, at most 7d"
        )
    return seconds


def read_metadata(metadata: object) -> dict[str, str]:
    """Check a client's own notes.

    Raises
    ------
    RefusedError
        400 for anything but a few short texts.
    """
    if metadata is None:
        return {}
    if (
        not isinstance(metadata, dict)
        or len(metadata) > METADATA_MOST
        or not all(
            isinstance(value, str) and len(key) <= 64 and len(value) <= 512
            for key, value in metadata.items()
        )
    ):
        raise _bad(f"metadata must be at most {METADATA_MOST} texts under names of 64 letters")
    return metadata


def read_lines(
    lines: Sequence[bytes], endpoint: object, known: Callable[[object], str]
) -> tuple[str, list[BatchLine]]:
    """Check the requests of a batch; return their service and what to ask.

    Parameters
    ----------
    lines : sequence of bytes
        Of the input file.
    endpoint : object
        Where all of them go, one of `ENDPOINTS`.
    known : callable
        Returns the generating service that a model names, or refuses.

    Raises
    ------
    RefusedError
        400 with the line and what is wrong with it.
    """
    if endpoint not in ENDPOINTS:
        raise _bad(f"endpoint = {str(endpoint)[:40]!r} must be one of {', '.join(ENDPOINTS)}")
    found: list[BatchLine] = []
    names: set[str] = set()
    service = ""
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line, model = _line(text, str(endpoint))
            of = known(model)
        except RefusedError as refusal:
            raise _bad(f"line {number}: {refusal.message}") from refusal
        if line.custom_id in names:
            raise _bad(f"line {number}: custom_id {line.custom_id[:40]!r} is there twice")
        if service and of != service:
            raise _bad(f"line {number}: model {of!r}, but {service!r} before: one model a batch")
        service = of
        names.add(line.custom_id)
        found.append(line)
    if not 0 < len(found) <= REQUESTS_MOST:
        raise _bad(f"a batch has 1 to {REQUESTS_MOST:,} requests, this one {len(found):,}")
    return service, found


def _line(text: bytes, endpoint: str) -> tuple[BatchLine, object]:
    try:
        asked = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _bad(f"it is not JSON ({error})") from error
    body = asked.get("body") if isinstance(asked, dict) else None
    if not isinstance(body, dict):
        raise _bad("it must be an object with custom_id, method, url and body")
    custom_id = asked.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= 512:
        raise _bad("custom_id must be a text of 1 to 512 letters")
    if asked.get("method") != "POST" or asked.get("url") != endpoint:
        raise _bad(f"method and url must be POST {endpoint}, as the batch says")
    if body.get("stream"):
        raise _bad("an answer in a batch cannot be streamed")
    made = body.get("max_completion_tokens", body.get("max_tokens"))
    content: Any = body.get("prompt", body.get("messages", ""))
    size = len(content) if isinstance(content, str) else len(orjson.dumps(content))
    tokens = made if type(made) is int and made > 0 else 0
    return BatchLine(custom_id, orjson.dumps(body), size, tokens), body.get("model")


def _bad(message: str) -> RefusedError:
    return RefusedError(400, message, "invalid_request")
