"""Text of byte-level models: prompts to token ids, tokens to text that may be sent."""

from __future__ import annotations

import codecs

import numpy as np

from actuators.onnx_tier.kv_rows import Tokens


def encode_text(text: str) -> Tokens:
    """Return the token ids of `text`: its UTF-8 bytes, int64[n].

    Examples
    --------
    >>> encode_text("tide").tolist()
    [116, 105, 100, 101]
    """
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


class TextStream:
    """Turns tokens into text, piece by piece, and ends it before a stop string.

    Text that may be the beginning of a stop string is held back until that is settled.

    Parameters
    ----------
    stops : tuple of str
        Strings before which the text ends.
    reads_bytes : bool
        Whether tokens are bytes; ids of other models are written as numbers.
    """

    def __init__(self, stops: tuple[str, ...], reads_bytes: bool = True) -> None:
        self._stops = stops
        self._reads_bytes = reads_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """Take one token; return the text that may be sent now."""
        if self.stopped:
            return ""
        self._held += self._piece(token)
        if not self._stops:
            text, self._held = self._held, ""
            return text
        ends = [at for at in map(self._held.find, self._stops) if at >= 0]
        if ends:
            self.stopped = True
            text, self._held = self._held[: min(ends)], ""
            return text
        keep = max(_overlap(self._held, stop) for stop in self._stops)
        text, self._held = (
            self._held[: len(self._held) - keep],
            self._held[len(self._held) - keep :],
        )
        return text

    def finish(self) -> str:
        """Return what was held back: no more tokens come."""
        text, self._held = self._held, ""
        return "" if self.stopped else text + self._decoder.decode(b"", final=True)

    def _piece(self, token: int) -> str:
        if not self._reads_bytes:
            return f"{token} "
        return self._decoder.decode(bytes([token])) if token < 256 else ""


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-size:]):
            return size
    return 0
