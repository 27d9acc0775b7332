"""What hostile or broken clients send is refused in one line, and the tier serves on unharmed."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.tier_helpers import (
    CHAT,
    CLASSIFIER,
    RunningTier,
    running,
    services,
    until,
)


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTier]:
    models, home = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("home")
    with running(home, services(models), head_within_s=0.5) as tier:
        tier.ready(CHAT, 1)
        tier.ready(CLASSIFIER, 1)
        yield tier


@pytest.fixture(autouse=True)
def unharmed(tier: RunningTier) -> Iterator[None]:
    """After each attack the tier answers, with the same units and nothing in flight."""
    units = [each.unit_id for each in (*tier.live(CHAT), *tier.live(CLASSIFIER))]
    yield
    body = {"model": CHAT, "prompt": "still there?", "max_tokens": 3}
    assert httpx.post(f"{tier.url}/v1/completions", json=body).status_code == 200
    until(lambda: tier.actuator.stats()["in_flight"] == 0, "nothing is in flight")
    assert units == [each.unit_id for each in (*tier.live(CHAT), *tier.live(CLASSIFIER))]


def _connect(tier: RunningTier) -> socket.socket:
    host, port = tier.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def _answer(connection: socket.socket) -> bytes:
    """Read until the server closes; it may already have."""
    parts = []
    try:
        while data := connection.recv(1 << 16):
            parts.append(data)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(data)


def _refusal(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    message = json.loads(body)["error"]["message"]
    assert "\n" not in message
    return head.split(b"\r\n")[0].decode() + ": " + message


def test_a_head_of_ten_megabytes(tier: RunningTier) -> None:
    with _connect(tier) as connection:
        _send(connection, b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-filler: ")
        for _ in range(10):
            _send(connection, b"a" * (1 << 20))
        answer = _answer(connection)
    # The rest of the ten megabytes may reset the connection before the answer is read.
    assert not answer or "431" in _refusal(answer)


def test_a_head_a_little_too_large_is_told_so(tier: RunningTier) -> None:
    with _connect(tier) as connection:
        _send(connection, b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-filler: " + b"a" * 65_600)
        answer = _refusal(_answer(connection))
    assert answer.endswith(
        "431 Request Header Fields Too Large: the request's head exceeds 65536 bytes"
    )


def test_many_small_headers_count_together(tier: RunningTier) -> None:
    with _connect(tier) as connection:
        _send(connection, b"GET /healthz HTTP/1.1\r\n" + b"x: y\r\n" * 20_000)
        assert "431" in _refusal(_answer(connection))


@pytest.mark.parametrize("sent", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nhost: x\r\n"])
def test_slow_heads_are_cut_off(tier: RunningTier, sent: bytes) -> None:
    with _connect(tier) as connection:
        _send(connection, sent)
        assert "408" in _refusal(_answer(connection))


def test_a_head_byte_by_byte_has_no_more_time_than_any_other(tier: RunningTier) -> None:
    with _connect(tier) as connection:
        connection.settimeout(0.05)
        answer = b""
        for byte in b"GET /healthz HTTP/1.1\r\nx: " + b"a" * 1000:
            _send(connection, bytes([byte]))
            try:
                answer = connection.recv(1 << 16)
                break
            except TimeoutError:
                continue
        assert "408" in _refusal(answer)


def test_a_body_that_never_comes_is_given_up(tier: RunningTier) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{"
    with _connect(tier) as connection:
        _send(connection, head)
        assert _answer(connection) == b"", "closed without an answer"


def test_what_is_not_http_is_refused(tier: RunningTier) -> None:
    for junk in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9,
        b"HELO mail\r\n\r\n",
        b"\0" * 400,
    ):
        with _connect(tier) as connection:
            _send(connection, junk)
            assert _answer(connection).startswith(b"HTTP/1.1 400")


_TENSOR = {"name": "features", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}
_INFER = f"/v2/models/{CLASSIFIER}/infer"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", b"[" * 200_000),
        ("/v1/completions", b'{"model": "chat", "prompt": ' + b"[" * 900 + b"]" * 900 + b"}"),
        ("/v1/completions", {"model": CHAT, "prompt": "x", "max_tokens": -5}),
        ("/v1/completions", {"model": CHAT, "prompt": "x", "max_tokens": 10**18}),
        ("/v1/completions", {"model": CHAT, "prompt": [2**63], "max_tokens": 2}),
        ("/v1/completions", {"model": CHAT, "prompt": [263, 264], "max_tokens": 2}),
        ("/v1/completions", {"model": CHAT, "prompt": "x" * 1_000_000, "max_tokens": 2}),
        ("/v1/completions", {"model": "m" * 100_000, "prompt": "x"}),
        ("/v1/chat/completions", {"model": CHAT, "messages": [{"role": "user"}]}),
        ("/v1/chat/completions", {"model": CHAT, "messages": "hello"}),
        ("/v1/chat/completions", {"model": CHAT, "messages": [7]}),
        (_INFER, b"[" * 200_000),
        (_INFER, {"inputs": [_TENSOR | {"datatype": "INT64"}]}),
        (_INFER, {"inputs": [_TENSOR | {"datatype": ["FP32"]}]}),
        (_INFER, {"inputs": [_TENSOR | {"shape": [10**12, 10**12], "data": []}]}),
        (_INFER, {"inputs": [_TENSOR | {"shape": [-1, 64]}]}),
        (_INFER, {"inputs": [_TENSOR | {"data": {"a": 1}}]}),
        (_INFER, {"inputs": [_TENSOR | {"parameters": [1]}]}),
        (_INFER, {"inputs": [_TENSOR], "parameters": "x"}),
        (_INFER, {"inputs": [_TENSOR], "parameters": {"timeout": -1}}),
        (_INFER, {"inputs": [_TENSOR], "outputs": [{"name": ["probabilities"]}]}),
        (_INFER, {"inputs": [_TENSOR, _TENSOR]}),
        (_INFER, {"inputs": {"features": 1}}),
        ("/v2/repository/index", b"nonsense"),
    ],
)
def test_malformed_bodies_are_refused(tier: RunningTier, path: str, body: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx.post(tier.url + path, content=content, timeout=60)
    assert answer.status_code in {400, 404}, answer.text
    error = answer.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert message
    assert "\n" not in message
    assert len(message) < 500


def test_a_body_over_the_limit_is_refused(tier: RunningTier) -> None:
    with pytest.raises(httpx.HTTPError):
        # The tier answers 413 and closes while the body is still coming.
        answer = httpx.post(
            f"{tier.url}/v1/completions", content=(b" " * (1 << 20) for _ in range(80)), timeout=60
        )
        assert answer.status_code == 413
        raise httpx.HTTPError("refused as it should be")


def test_a_lying_header_length_is_refused(tier: RunningTier) -> None:
    body = json.dumps({"inputs": [_TENSOR]}).encode()
    for length in ("9" * 30, "-1", "x", "1"):
        headers = {"Inference-Header-Content-Length": length}
        answer = httpx.post(tier.url + _INFER, content=body, headers=headers)
        assert answer.status_code == 400, length


def test_a_thousand_clients_that_leave_at_once(tier: RunningTier, tmp_path: Path) -> None:
    body = json.dumps({"model": CHAT, "prompt": "x", "max_tokens": 500}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    for _ in range(20):
        connections = [_connect(tier) for _ in range(50)]
        for connection in connections:
            _send(connection, head + body)
        for connection in connections:
            connection.close()
    until(lambda: tier.actuator.stats()["in_flight"] == 0, "all of them are forgotten")
    assert tier.actuator.observe(CHAT).ready == 1
