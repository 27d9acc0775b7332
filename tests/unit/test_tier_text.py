"""Text leaves the tier whole: no torn characters, nothing of a stop string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actuators.onnx_tier.text import ByteText, NoText, TextStream, encode_text


def _run(text: str, stops: tuple[str, ...]) -> tuple[str, list[str], bool]:
    stream = TextStream(stops, ByteText().pieces())
    pieces = []
    for token in encode_text(text).tolist():
        pieces.append(stream.add(token))
        if stream.stopped:
            break
    pieces.append(stream.finish())
    return "".join(pieces), pieces, stream.stopped


@given(st.text(max_size=30))
def test_text_without_stops_comes_back(text: str) -> None:
    assert _run(text, ())[0] == text


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=4))
def test_text_ends_before_the_first_stop(text: str, stops: list[str]) -> None:
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(s) for s in stops)]
    got, _, stopped = _run(text, tuple(stops))
    assert stopped == bool(ends)
    if ends:
        seen = text[: ends[0]]
        assert got == seen[: min(at for at in map(seen.find, stops) if at >= 0)]
    else:
        assert got == text


def test_what_may_begin_a_stop_is_held_back() -> None:
    stream = TextStream(("END",), ByteText().pieces())
    assert [stream.add(ord(c)) for c in "aENxE"] == ["a", "", "", "ENx", ""]
    assert stream.finish() == "E"


def test_characters_of_several_bytes_are_never_torn() -> None:
    _, pieces, _ = _run("é", ())
    assert pieces == ["", "é", ""]


@pytest.mark.parametrize(("token", "text"), [(300, ""), (65, "A")])
def test_tokens_that_are_no_byte_have_no_text(token: int, text: str) -> None:
    assert TextStream((), ByteText().pieces()).add(token) == text


def test_ids_of_other_models_are_written_as_numbers() -> None:
    stream = TextStream((), NoText().pieces())
    assert stream.add(31999) + stream.add(2) == "31999 2 "
