"""The tier's ends of its sockets: frames in by callback, frames out without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from actuators.onnx_tier.wire import FrameDecoder, Header, WireError, encode

FrameHandler = Callable[["FrameLink", Header, bytes], None]
LossHandler = Callable[["FrameLink"], None]


class FrameLink(asyncio.Protocol):
    """One connection that carries frames.

    Parameters
    ----------
    on_frame : callable
        Called with each frame, in order.
    on_lost : callable
        Called once, when the peer is gone or broke the protocol.
    """

    def __init__(self, on_frame: FrameHandler, on_lost: LossHandler) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._decoder = FrameDecoder()
        self._transport: asyncio.WriteTransport | None = None
        self._held: list[bytes] = []
        self.unit_id = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to write to."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Cut `data` into frames."""
        try:
            for header, body in self._decoder.feed(data):
                self._on_frame(self, header, body)
        except WireError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner."""
        self._transport = None
        self._on_lost(self)

    def send(self, header: Header, body: bytes = b"", *, at_once: bool = True) -> None:
        """Send one frame; nothing happens when the peer is gone (its loss is reported apart).

        Parameters
        ----------
        header, body : dict, bytes
            The frame.
        at_once : bool
            False lets it wait for the others of this turn of the event loop: one write for all.
        """
        frame = encode(header, body)
        if at_once and not self._held:
            self._write(frame)
            return
        if not self._held:
            asyncio.get_running_loop().call_soon(self._flush)
        self._held.append(frame)

    def _flush(self) -> None:
        held, self._held = self._held, []
        self._write(b"".join(held))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


async def listen_for_units(
    path: Path, on_frame: FrameHandler, on_lost: LossHandler
) -> asyncio.AbstractServer:
    """Listen on a unix socket that only this user may reach."""
    with suppress(FileNotFoundError):
        path.unlink()
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: FrameLink(on_frame, on_lost), str(path))
    path.chmod(0o600)
    return server
