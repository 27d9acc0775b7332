"""One log that grows: read on from where the store knows it, whole lines only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from enum import Enum, auto
from itertools import takewhile
from pathlib import Path

from forecaster.domain.demand import LogSource
from forecaster.ingest.blocks import Block, blocks
from forecaster.ingest.bytesource import READ_BYTES, ByteSource
from forecaster.ingest.detect import detected, line_format
from forecaster.ingest.identity import HEAD_BYTES_MOST, PrefixHash, find_start, known_by_head
from forecaster.ingest.options import IngestOptions
from forecaster.ingest.rejects import RejectsFile
from forecaster.ingest.run import Run
from forecaster.ingest.sink import RequestSink

Identity = tuple[int, int]
"""Device and inode: the same file, whatever it is called."""
PEEK_BYTES = 1 << 16
_TAIL_BYTES = 64
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1")


class Outcome(Enum):
    """What a look at a log found."""

    QUIET = auto()
    """Nothing new."""
    READ = auto()
    """New lines, stored."""
    CUT = auto()
    """What was read is not there any more: it was truncated, or written anew."""


class GrowingLog:
    """A log that stays open while it is written to, whatever it is renamed to.

    Attributes
    ----------
    identity : (int, int)
        Device and inode.
    name : str
        Its path when it was opened.
    quiet : int
        Looks in a row that found nothing new.
    accepted, rejected : int
        Rows that were read here.

    Raises
    ------
    DataError
        When the file cannot be opened.
    """

    def __init__(self, path: Path, sink: RequestSink) -> None:
        self._sink, self._source = sink, ByteSource(path)
        self._fd, self.name = self._source.fileno(), self._source.name
        about = os.fstat(self._fd)
        self.identity: Identity = (about.st_dev, about.st_ino)
        self.quiet = self.accepted = self.rejected = 0
        self._seen = (-1, -1)
        self._run: Run | None = None
        self._rejects: RejectsFile | None = None
        self._prefix = PrefixHash()
        self._offset, self._head, self._tail = 0, b"", b""

    def look(
        self, options: IngestOptions, stopped: Callable[[], bool], last: bool = False
    ) -> Outcome:
        """Store the lines that are new.

        Parameters
        ----------
        last : bool
            Nobody writes to it any more: a line without an end is one.

        Raises
        ------
        TidegateError
            When it cannot be read or stored; the next look begins from what is stored.
        """
        about = os.fstat(self._fd)
        seen = (about.st_size, about.st_mtime_ns)
        if seen == self._seen and not last:
            self.quiet += 1
            return Outcome.QUIET
        self.quiet, self._seen = 0, seen
        if self._cut(about.st_size):
            return Outcome.CUT
        try:
            return self._read(options, stopped, last)
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """Take nothing for known but what the store says."""
        if self._run is not None:
            self._run.close()
        if self._rejects is not None:
            self._rejects.close()
        self._run = self._rejects = None
        self._seen, self._offset = (-1, -1), 0

    def close(self) -> None:
        """Close the file."""
        self.forget()
        self._source.close()

    def _cut(self, size: int) -> bool:
        """Whether the beginning or the end of what is known has changed."""
        at = self._offset - len(self._tail)
        return self._offset > 0 and (
            size < self._offset
            or os.pread(self._fd, len(self._head), 0) != self._head
            or os.pread(self._fd, len(self._tail), at) != self._tail
        )

    def _remember(self, offset: int) -> None:
        """What must not change any more."""
        at = max(offset - _TAIL_BYTES, 0)
        self._offset = offset
        self._head = os.pread(self._fd, min(offset, HEAD_BYTES_MOST), 0)
        self._tail = os.pread(self._fd, offset - at, at)

    def _read(self, options: IngestOptions, stopped: Callable[[], bool], last: bool) -> Outcome:
        head = os.pread(self._fd, PEEK_BYTES, 0)
        if not head or (b"\n" not in head and len(head) < PEEK_BYTES and not last):
            return Outcome.QUIET
        if self._run is None and not self._begin(head, options):
            return Outcome.QUIET
        run = self._run
        assert run is not None
        # while a log is young its head grows, and with it what is known of its fields
        kind = detected(head, options, self._source.name)
        reader = line_format(kind, head, options, self._source.name)
        before, done = run.reached, (run.accepted, run.rejected)
        found = self._blocks(before, options.block_bytes, last)
        run.read(takewhile(lambda _: not stopped(), found), reader, self._prefix)
        self.accepted += run.accepted - done[0]
        self.rejected += run.rejected - done[1]
        offset = run.reached.offset
        self._remember(offset)
        if stopped():
            self._seen = (-1, -1)
        return Outcome.READ if offset > before.offset else Outcome.QUIET

    def _begin(self, head: bytes, options: IngestOptions) -> bool:
        """Find out how far it was read; False where there is nothing to read in it now."""
        known = known_by_head(head, options.service, self._sink)
        if finished(self._fd, head, known):
            self._remember(os.fstat(self._fd).st_size)
            return False
        start = find_start(self._source, head, options.service, self._sink)
        if start.finished:
            return False
        self._prefix = start.prefix
        self._rejects = RejectsFile(
            options.rejects_dir, start.stored.head_sha256, start.begin.lines
        )
        self._run = Run(self._sink, start, self._rejects)
        return True

    def _blocks(self, state: LogSource, block_bytes: int, last: bool) -> Iterator[Block]:
        found = blocks(self._pieces(state.offset), state.lines + 1, block_bytes)
        return (each for each in found if last or not each.unterminated)

    def _pieces(self, at: int) -> Iterator[bytes]:
        while piece := os.pread(self._fd, READ_BYTES, at):
            at += len(piece)
            yield piece


def packed(head: bytes) -> bool:
    """Whether a file is compressed or Parquet: it is whole, and does not grow."""
    return head.startswith(_PACKED)


def finished(fd: int, head: bytes, known: list[LogSource]) -> bool:
    """Whether a log with a known head has just the length that was read, without reading it again."""
    size = os.fstat(fd).st_size
    if head.startswith(_PACKED[0]) and size > 18:
        size = int.from_bytes(os.pread(fd, 4, size - 4), "little")
        return any(each.offset % 2**32 == size for each in known)
    return not packed(head) and any(each.offset == size for each in known)
