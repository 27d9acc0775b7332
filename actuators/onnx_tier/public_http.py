"""The tier's public HTTP: inference answered straight from the parser, everything else by the app.

A request for tensors is one body in, one body out. A task, a queue and a routing table would cost it
more than a small model's whole pass, so the router's answer is written from its callback.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import unquote

from actuators.onnx_tier.http_guard import GuardedProtocol
from actuators.onnx_tier.inference import Inference
from actuators.onnx_tier.inference_tensors import (
    HEADER_LENGTH,
    parameters_of,
    read_inputs,
    write_answer,
)
from actuators.onnx_tier.jobs import Answer, JobEvent, RefusedError, Restarted
from actuators.onnx_tier.replies import BODY_BYTES_MAX, refusal_reply
from actuators.onnx_tier.statuses import CLIENT_CLOSED, status_line
from actuators.onnx_tier.terms import PRIORITY_HEADER, TIMEOUT_HEADER, read_terms
from actuators.onnx_tier.wire import unpack_tensors

log = logging.getLogger("onnx_tier")

_READ_HEADERS = {each.encode(): each for each in (HEADER_LENGTH, PRIORITY_HEADER, TIMEOUT_HEADER)}
_PREFIX = b"/v2/models/"


class PublicProtocol(GuardedProtocol):
    """One connection of a client."""

    inference: Inference

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self._exchange: _Exchange | None = None
        self._closing = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what the client waited for."""
        if self._exchange is not None:
            self._exchange.abandon()
        super().connection_lost(exc)

    def begin_request(self) -> None:
        """Take a request for tensors; leave every other one to the app."""
        target = _target(self.url) if self.parser.get_method() == b"POST" else None
        busy = self._exchange is not None
        if target is None and not busy:
            super().begin_request()
        elif busy or not (self.cycle is None or self.cycle.response_complete):
            # Answers go out in order: who sends ahead is answered once, and told to come again.
            self._closing = True
            if self.cycle is not None:
                self.cycle.keep_alive = False
        elif target is not None:
            self._exchange = _Exchange(self, *target)
            if self.expect_100_continue:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect a part of the body."""
        if self._closing:
            return
        if self._exchange is None:
            super().on_body(body)
        else:
            self._exchange.collect(body)

    def end_request(self) -> None:
        """Carry out what is whole."""
        if self._closing:
            return
        if self._exchange is None:
            super().end_request()
        else:
            self._exchange.start()

    def shutdown(self) -> None:
        """Close now, or when the answer under way is written."""
        if self._exchange is None:
            super().shutdown()
        else:
            self._closing = True

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """Write the answer to the tensors' request, and wait for the next one."""
        self._exchange = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        keep = not self._closing and self.parser.should_keep_alive()
        ending = b"" if keep else b"connection: close\r\n"
        length = b"content-length: %d\r\n\r\n" % len(body)
        self.transport.write(b"".join((status_line(status), headers, ending, length, body)))
        if keep:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            self.transport.close()


class _Exchange:
    """One request for tensors and its answer."""

    def __init__(self, protocol: PublicProtocol, model: str, version: str) -> None:
        self._protocol = protocol
        self._inference = protocol.inference
        self._model, self._version = model, version
        self._parts: list[bytes] = []
        self._size = 0
        self._visit: Any = None
        self._data: dict[str, Any] = {}

    def collect(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= BODY_BYTES_MAX:
            self._parts.append(body)
        else:
            self._protocol._closing = True
            self._refuse(RefusedError(413, f"the body exceeds {BODY_BYTES_MAX} bytes", "too_large"))

    def start(self) -> None:
        try:
            self._start()
        except RefusedError as refusal:
            self._refuse(refusal)
        except Exception:
            log.exception("a request for %r met a defect", self._model)
            self._refuse(RefusedError(500, "a defect in the tier; see its log", "defect"))

    def _start(self) -> None:
        headers = {
            _READ_HEADERS[name]: value.decode("latin-1")
            for name, value in self._protocol.headers
            if name in _READ_HEADERS
        }
        service = self._inference.classic(self._model, self._version)
        signature = self._inference.signature(service)
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._data, tensors = read_inputs(body, headers.get(HEADER_LENGTH), signature)
        asked = parameters_of(self._data)
        terms = read_terms(headers, asked.get("priority"), asked.get("timeout", 0))
        wanted = [each["name"] for each in self._data["outputs"]]
        self._visit = self._inference.begin(service, tensors, wanted, terms, self._on_event)

    def abandon(self) -> None:
        """The client has gone."""
        if self._visit is not None:
            self._visit.leave(CLIENT_CLOSED)

    def _on_event(self, event: JobEvent) -> None:
        if isinstance(event, Answer):
            self._visit.leave(200)
            outputs = unpack_tensors(event.outputs, event.body)
            headers, body = write_answer(self._visit.job.service, self._data, outputs)
            self._protocol.answer(200, headers, body)
        elif isinstance(event, RefusedError):
            self._visit.leave(event.status)
            self._refuse(event)
        else:
            assert isinstance(event, Restarted)

    def _refuse(self, refusal: RefusedError) -> None:
        reply = refusal_reply("/v2", refusal)
        lines = [b"%s: %s\r\n" % pair for pair in reply.raw_headers if pair[0] != b"content-length"]
        self._protocol.answer(refusal.status, b"".join(lines), bytes(reply.body))


def _target(url: bytes) -> tuple[str, str] | None:
    """Return model and version of an inference path; None for any other."""
    if not url.startswith(_PREFIX):
        return None
    path = url.partition(b"?")[0]
    if not path.endswith(b"/infer"):
        return None
    parts = unquote(path[len(_PREFIX) : -len(b"/infer")].decode("ascii")).split("/")
    if len(parts) == 1:
        return parts[0], ""
    return (parts[0], parts[2]) if len(parts) == 3 and parts[1] == "versions" else None


def public_protocol(inference: Inference, head_within_s: float) -> type[PublicProtocol]:
    """Return the protocol of a tier's public address."""
    fields = {"inference": inference, "head_within_s": head_within_s}
    return type("PublicProtocol", (PublicProtocol,), fields)
