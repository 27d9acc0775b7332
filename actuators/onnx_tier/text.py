"""Text of byte-level models, and how any model's tokens become text that may be sent."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from actuators.onnx_tier.jobs import RefusedError
from actuators.onnx_tier.kv_rows import Tokens

Messages = Sequence[dict[str, Any]]


class Pieces(Protocol):
    """Tokens of one answer to text: what a token adds, and what is left at the end."""

    def add(self, token: int) -> str:
        """Return the text that `token` completes."""
        ...

    def finish(self) -> str:
        """Return what was still incomplete."""
        ...


class ModelText(Protocol):
    """How one model reads and writes."""

    @property
    def stop_tokens(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        ...

    def encode(self, text: str) -> Tokens:
        """Return the token ids of a prompt."""
        ...

    def chat(self, messages: Messages) -> Tokens:
        """Return the token ids of a conversation that the model is to go on with."""
        ...

    def pieces(self) -> Pieces:
        """Return what turns the tokens of one answer into text."""
        ...


def encode_text(text: str) -> Tokens:
    """Return the token ids of `text`: its UTF-8 bytes, int64[n].

    Examples
    --------
    >>> encode_text("tide").tolist()
    [116, 105, 100, 101]
    """
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


class ByteText:
    """A model whose tokens are bytes; conversations in one plain template."""

    def __init__(self, stop_tokens: tuple[int, ...] = ()) -> None:
        self.stop_tokens = stop_tokens

    def encode(self, text: str) -> Tokens:
        """Return the bytes of `text`."""
        return encode_text(text)

    def chat(self, messages: Messages) -> Tokens:
        """Return the bytes of ``role: content`` lines and the beginning of the next."""
        lines = [f"{each['role']}: {each['content']}\n" for each in messages]
        return encode_text("".join(lines) + "assistant: ")

    def pieces(self) -> Pieces:
        """Return an incremental UTF-8 decoder."""
        return _BytePieces()


class NoText:
    """A model without a tokenizer: it takes token ids and answers in numbers."""

    def __init__(self, stop_tokens: tuple[int, ...] = ()) -> None:
        self.stop_tokens = stop_tokens

    def encode(self, text: str) -> Tokens:
        """Refuse: there is nothing that could read it."""
        raise RefusedError(400, "this model has no tokenizer here: send token ids", "prompt")

    def chat(self, messages: Messages) -> Tokens:
        """Refuse: there is nothing that could read it."""
        return self.encode("")

    def pieces(self) -> Pieces:
        """Return what writes token ids as numbers."""
        return _NumberPieces()


class TextStream:
    """Text of one answer, piece by piece, ended before a stop string.

    Text that may be the beginning of a stop string is held back until that is settled.

    Parameters
    ----------
    stops : tuple of str
        Strings before which the text ends.
    pieces : Pieces
        Turns tokens into text.
    """

    def __init__(self, stops: tuple[str, ...], pieces: Pieces) -> None:
        self._stops = stops
        self._pieces = pieces
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """Take one token; return the text that may be sent now."""
        return "" if self.stopped else self._take(self._pieces.add(token))

    def finish(self) -> str:
        """Return what was held back: no more tokens come."""
        if self.stopped:
            return ""
        text = self._take(self._pieces.finish())
        held, self._held = self._held, ""
        return text if self.stopped else text + held

    def _take(self, piece: str) -> str:
        self._held += piece
        ends = [at for at in map(self._held.find, self._stops) if at >= 0]
        self.stopped = bool(ends)
        size = len(self._held)
        if ends:
            size = min(ends)
        elif self._stops:
            size -= max(_overlap(self._held, stop) for stop in self._stops)
        text, self._held = self._held[:size], self._held[size:]
        return text


class _BytePieces:
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        return self._decoder.decode(bytes([token])) if token < 256 else ""

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class _NumberPieces:
    def add(self, token: int) -> str:
        return f"{token} "

    def finish(self) -> str:
        return ""


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-size:]):
            return size
    return 0
