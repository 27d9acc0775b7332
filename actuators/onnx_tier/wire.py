"""Frames between the tier and its units: a JSON header and a body of raw tensor bytes.

A frame is ``u32 header bytes, u32 body bytes, header, body`` in little-endian order. Tensors of a
frame lie one after another in its body, in the order in which the header lists them.
"""

from __future__ import annotations

import math
import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

import ml_dtypes  # noqa: F401 - numpy learns the name bfloat16
import numpy as np
import numpy.typing as npt
import orjson

from actuators.onnx_tier.texts import pack_texts, tensor_of, unpack_texts

Header = dict[str, Any]
Frame = tuple[Header, bytes]
Tensor = npt.NDArray[Any]

_PREFIX = struct.Struct("<II")
_TIMEVAL = struct.Struct("@ll")
FRAME_BYTES_MAX = 1 << 28
"""No frame is larger: what claims to be is not one of ours."""

_RECEIVE_BYTES = 1 << 18


class WireError(Exception):
    """The peer does not speak this protocol: close the connection."""


def encode(header: Header, body: bytes | memoryview = b"") -> bytes:
    """Return the bytes of one frame."""
    text = orjson.dumps(header)
    return b"".join((_PREFIX.pack(len(text), len(body)), text, body))


class FrameDecoder:
    """Cuts a byte stream into frames, however the stream was torn."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take `data` and return every frame that is complete by now.

        Raises
        ------
        WireError
            When a frame claims more than `FRAME_BYTES_MAX` or its header is not a JSON object.
        """
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        at = 0
        # Through a view: each byte is copied once on its way out.
        with memoryview(buffer) as view:
            while len(view) - at >= _PREFIX.size:
                header_bytes, body_bytes = _PREFIX.unpack_from(view, at)
                if header_bytes + body_bytes > FRAME_BYTES_MAX:
                    raise WireError(f"a frame of {header_bytes + body_bytes} bytes is too large")
                middle = at + _PREFIX.size + header_bytes
                end = middle + body_bytes
                if len(view) < end:
                    break
                frames.append((_header(view[at + _PREFIX.size : middle]), bytes(view[middle:end])))
                at = end
        del buffer[:at]
        return frames


def pack_tensors(tensors: Sequence[tuple[str, Tensor]]) -> tuple[list[Header], bytes]:
    """Return the header entries and the body of named tensors."""
    entries: list[Header] = []
    parts: list[bytes] = []
    for name, tensor in tensors:
        kind = tensor.dtype.kind
        # bfloat16 is none of numpy's own types: its name says it, its code does not.
        dtype = tensor.dtype.name if kind == "V" else tensor.dtype.str
        entries.append({"name": name, "dtype": dtype, "shape": list(tensor.shape)})
        packed = pack_texts(tensor) if kind == "O" else np.ascontiguousarray(tensor).tobytes()
        parts.append(packed)
    return entries, b"".join(parts)


def unpack_tensors(entries: Sequence[Header], body: bytes) -> list[tuple[str, Tensor]]:
    """Return the named tensors of a frame; those of numbers are read-only views into `body`."""
    tensors: list[tuple[str, Tensor]] = []
    at = 0
    for entry in entries:
        dtype = np.dtype(entry["dtype"])
        shape = tuple(entry["shape"])
        count = math.prod(shape)
        if dtype.kind == "O":
            texts, at = unpack_texts(body, count, at)
            tensors.append((entry["name"], tensor_of(texts, shape)))
            continue
        value: Tensor = np.frombuffer(body, dtype, count, at).reshape(shape)
        tensors.append((entry["name"], value))
        at += count * dtype.itemsize
    return tensors


class BlockingLink:
    """The unit's end of the connection: blocking sends, receives with a time limit.

    Parameters
    ----------
    connection : socket
        Blocking; its receive time limit is set to `rest_s`.
    rest_s : float
        How long `receive` waits when it is given no time limit of its own.
    """

    def __init__(self, connection: socket.socket, rest_s: float = 0.5) -> None:
        self._socket = connection
        self._decoder = FrameDecoder()
        limit = _TIMEVAL.pack(int(rest_s), int(rest_s % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)

    def send(self, header: Header, body: bytes = b"") -> None:
        """Send one frame whole."""
        self._socket.sendall(encode(header, body))

    def send_all(self, frames: Sequence[Frame]) -> None:
        """Send frames whole, in one write."""
        if frames:
            self._socket.sendall(b"".join(encode(*frame) for frame in frames))

    def receive(self, timeout_s: float | None) -> list[Frame]:
        """Return the frames that arrive within `timeout_s`, at once when any is there.

        None waits for `rest_s`, in one call to the system where a time limit takes two.

        Raises
        ------
        EOFError
            When the tier has gone.
        """
        deadline_s = time.monotonic() + (timeout_s or 0.0)
        while True:
            wait_s = max(0.0, deadline_s - time.monotonic())
            if wait_s > 0 and not select.select([self._socket], [], [], wait_s)[0]:
                return []
            try:
                flags = 0 if timeout_s is None else socket.MSG_DONTWAIT
                data = self._socket.recv(_RECEIVE_BYTES, flags)
            except BlockingIOError:
                return []
            if not data:
                raise EOFError
            if frames := self._decoder.feed(data):
                return frames


def _header(text: memoryview) -> Header:
    try:
        header = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WireError("a frame header is not JSON") from error
    if not isinstance(header, dict):
        raise WireError("a frame header is not a JSON object")
    return header
