"""Bytes of a log: a file or standard input, plain, gzip or zstd."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
from isal import isal_zlib
from isal.igzip_lib import IsalError

from forecaster.domain.errors import DataError

READ_BYTES = 1 << 18
_PIECE_BYTES_MOST = 1 << 20
_ZSTD_READ_BYTES = 1 << 16
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class CutShortError(Exception):
    """A compressed stream ended early or is damaged; what came before was delivered."""


class ByteSource:
    """One log, readable from its beginning as often as needed.

    Standard input can be read once; `rewindable` copies it to a temporary file first.

    Parameters
    ----------
    path : str or Path
        A file, or ``-`` for standard input.
    name : str
        What it is called; empty: its path.
    """

    def __init__(self, path: str | Path, name: str = "") -> None:
        self.name = name or ("standard input" if str(path) == "-" else str(path))
        self._path = path
        self._file: IO[bytes] = sys.stdin.buffer if str(path) == "-" else _opened(Path(path))
        self._spooled = str(path) != "-"
        self._peeked = b""
        self.total_bytes = os.fstat(self._file.fileno()).st_size if self._spooled else 0
        self.done_bytes = 0

    def fileno(self) -> int:
        """Descriptor of the file."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._file is not sys.stdin.buffer:
            self._file.close()

    def __enter__(self) -> ByteSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def head(self, most: int) -> bytes:
        """Return up to `most` bytes of the beginning after decompression."""
        raw = self._peek(most)
        head = b""
        try:
            for piece in _decompressed(iter([raw]), _magic(raw), most):
                head += piece
                if len(head) >= most:
                    break
        except CutShortError:
            pass  # the head of a compressed stream is of course cut short
        return head[:most]

    def pieces(self) -> Iterator[bytes]:
        """Read on from the beginning, decompressed.

        Raises
        ------
        CutShortError
            After the last byte that could be read.
        """
        if self._spooled:
            self._file.seek(0)
            self._peeked, self.done_bytes = b"", 0
        yield from _decompressed(self._raw(), _magic(self._peek(4)))

    def rewindable(self) -> None:
        """Make it possible to read standard input again."""
        if self._spooled:
            return
        spool = tempfile.TemporaryFile(prefix="tidegate-")  # noqa: SIM115 - closed by close()
        for piece in self._raw():
            spool.write(piece)
        spool.flush()
        self._file, self._spooled = spool, True
        self.total_bytes, self.done_bytes = spool.tell(), 0

    def _peek(self, most: int) -> bytes:
        while len(self._peeked) < most:
            piece = self._file.read(most - len(self._peeked))
            if not piece:
                break
            self._peeked += piece
        return self._peeked

    def _raw(self) -> Iterator[bytes]:
        piece, self._peeked = self._peeked, b""
        while True:
            self.done_bytes += len(piece)
            if piece:
                yield piece
            piece = self._file.read(READ_BYTES)
            if not piece:
                return


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path} cannot be read: {reason}", "check the path") from error


def _magic(raw: bytes) -> str:
    if raw.startswith(_GZIP):
        return "gzip"
    return "zstd" if raw.startswith(_ZSTD) else ""


def _decompressed(
    raw: Iterator[bytes], compression: str, piece_bytes: int = _PIECE_BYTES_MOST
) -> Iterator[bytes]:
    if compression == "gzip":
        return _gunzipped(raw, piece_bytes)
    if compression == "zstd":
        return _unzstd(raw)
    return raw


def _gunzipped(raw: Iterator[bytes], piece_bytes: int) -> Iterator[bytes]:
    """Every member of a gzip stream, to the last byte that is there, in pieces of bounded size."""
    inflate = isal_zlib.decompressobj(wbits=31)
    for piece in raw:
        rest = piece
        while rest:
            if inflate.eof:
                if not rest.strip(b"\0"):
                    break  # padding after the last member
                inflate = isal_zlib.decompressobj(wbits=31)
            try:
                yield inflate.decompress(rest, piece_bytes)
            except IsalError as error:  # type: ignore[misc]  # its stub declares an instance
                raise CutShortError(f"the gzip stream is damaged ({error})") from error
            rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    if not inflate.eof:
        raise CutShortError("the gzip stream ends early")


class _Readable:
    """The part of a file that Arrow needs to decompress from an iterator."""

    closed = False

    def __init__(self, raw: Iterator[bytes]) -> None:
        self._raw = raw
        self._rest = b""

    def close(self) -> None:
        """The source closes the file itself."""

    def read(self, size: int) -> bytes:
        while not self._rest:
            piece = next(self._raw, None)
            if piece is None:
                return b""
            self._rest = piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _unzstd(raw: Iterator[bytes]) -> Iterator[bytes]:
    stream = pa.CompressedInputStream(pa.PythonFile(_Readable(raw), mode="r"), "zstd")
    while True:
        try:
            piece = stream.read(_ZSTD_READ_BYTES)
        except OSError as error:
            raise CutShortError(f"the zstd stream ends early or is damaged ({error})") from error
        if not piece:
            return
        yield piece
