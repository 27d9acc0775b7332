"""Blocks of whole lines, in bounded memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from forecaster.ingest.bytesource import CutShortError

LINE_BYTES_MOST = 1 << 20
"""Longer lines are no request log; they are skipped to their end."""

_SHOWN_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a log.

    Attributes
    ----------
    data : bytes
        The lines with their ends.
    first_line : int
        Number of the first line, from 1.
    lines : int
        Lines in `data`.
    unterminated : bool
        Whether this is the last line of the log, without an end: it may still grow.
    part : bool
        Whether `data` is only part of a line above `LINE_BYTES_MOST`, which goes on.
    too_long : bytes
        Beginning of the line above `LINE_BYTES_MOST` that `data` ends; otherwise empty.
    """

    data: bytes
    first_line: int
    lines: int
    unterminated: bool = False
    part: bool = False
    too_long: bytes = b""


def blocks(pieces: Iterator[bytes], first_line: int, block_bytes: int) -> Iterator[Block]:
    """Cut pieces into blocks of about `block_bytes`; the unterminated last line comes alone.

    Raises
    ------
    CutShortError
        After the last whole line of a damaged stream: its broken line is not delivered.
    """
    held: list[bytes] = []
    size = 0
    line = first_line
    cut_short: CutShortError | None = None
    while True:
        try:
            piece = next(pieces, None)
        except CutShortError as error:
            cut_short, piece = error, None
        if piece:
            held.append(piece)
            size += len(piece)
        if piece is None or size >= block_bytes:
            data = b"".join(held)
            end = data.rfind(b"\n") + 1
            if end:
                block = Block(data[:end], line, data.count(b"\n", 0, end))
                line += block.lines
                yield block
            held, size = [data[end:]], len(data) - end
            if size > LINE_BYTES_MOST and piece is not None:
                rest = yield from _overlong(held[0], pieces, line)
                line += 1
                held, size = [rest], len(rest)
        if piece is None:
            break
    if cut_short is not None:
        raise cut_short
    if size:
        yield Block(b"".join(held), line, 1, unterminated=True)


def _overlong(data: bytes, pieces: Iterator[bytes], line: int) -> Generator[Block, None, bytes]:
    """Pass a line that is too long on in parts, none of them held; return what follows it."""
    beginning = data[:_SHOWN_BYTES]
    yield Block(data, line, 0, part=True)
    for piece in pieces:
        end = piece.find(b"\n") + 1
        if end:
            yield Block(piece[:end], line, 1, too_long=beginning)
            return piece[end:]
        yield Block(piece, line, 0, part=True)
    yield Block(b"", line, 1, too_long=beginning)
    return b""
