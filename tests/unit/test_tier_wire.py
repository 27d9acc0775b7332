"""Frames survive any tearing of the stream; nonsense is refused."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actuators.onnx_tier.wire import (
    FRAME_BYTES_MAX,
    BlockingLink,
    FrameDecoder,
    WireError,
    encode,
    pack_tensors,
    unpack_tensors,
)

_frames = st.lists(
    st.tuples(st.dictionaries(st.text(max_size=5), st.integers(0, 99)), st.binary(max_size=40)),
    max_size=6,
)


@given(frames=_frames, cuts=st.lists(st.integers(0, 400), max_size=8))
def test_any_tearing_gives_the_same_frames(
    frames: list[tuple[dict[str, int], bytes]], cuts: list[int]
) -> None:
    stream = b"".join(encode(header, body) for header, body in frames)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut <= len(stream))})
    decoder = FrameDecoder()
    seen = [
        frame
        for start, end in itertools.pairwise(edges)
        for frame in decoder.feed(stream[start:end])
    ]
    assert seen == frames


@given(st.binary(min_size=8, max_size=60))
def test_bytes_of_strangers_never_crash_the_decoder(data: bytes) -> None:
    with contextlib.suppress(WireError):
        FrameDecoder().feed(data)


def test_a_frame_that_claims_too_much_is_refused() -> None:
    with pytest.raises(WireError, match="too large"):
        FrameDecoder().feed(struct.pack("<II", 2, FRAME_BYTES_MAX))
    text = orjson.dumps([1])
    with pytest.raises(WireError, match="not a JSON object"):
        FrameDecoder().feed(struct.pack("<II", len(text), 0) + text)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool"])
def test_tensors_come_back_as_they_went(dtype: str) -> None:
    random = np.random.default_rng(0)
    tensors = [
        ("a", random.integers(0, 2, (2, 3)).astype(dtype)),
        ("b", np.zeros((0, 4), dtype)),
        ("c", np.asfortranarray(random.integers(0, 9, (3, 2)).astype(dtype))),
    ]
    entries, body = pack_tensors(tensors)
    entries = orjson.loads(orjson.dumps(entries))
    for (name, value), (back_name, back) in zip(
        tensors, unpack_tensors(entries, body), strict=True
    ):
        assert name == back_name
        np.testing.assert_array_equal(value, back)
        assert value.dtype == back.dtype


def test_a_blocking_link_reads_until_its_peer_goes() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        link = BlockingLink(ours)
        assert link.receive(0.0) == []
        theirs.sendall(encode({"t": "a"}) + encode({"t": "b"}, b"xyz")[:-1])
        assert link.receive(1.0) == [({"t": "a"}, b"")]
        theirs.sendall(b"z")
        assert link.receive(1.0) == [({"t": "b"}, b"xyz")]
        theirs.close()
        with pytest.raises(EOFError):
            link.receive(1.0)
