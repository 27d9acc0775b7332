"""Which log is this, and how far was it read? By content: a log may be renamed or recompressed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.ingest.bytesource import ByteSource, CutShortError
from forecaster.ingest.sink import RequestSink

HEAD_BYTES_MOST = 1024
_FINE_MARKS_BELOW = 1 << 16
_FINE_MARK_BYTES = 1 << 10
_MARK_BYTES = 1 << 16
_MARK_LENGTH = 8


class PrefixHash:
    """SHA-256 of everything consumed so far, with its first 8 bytes at every boundary.

    Boundaries are every KiB up to 64 KiB and every 64 KiB from there. They recognise an older,
    shorter copy of a log, for which no hash of the right length was stored.
    """

    def __init__(self) -> None:
        self.length = 0
        self.marks = b""
        self._hash = hashlib.sha256()

    def update(self, data: bytes | memoryview) -> None:
        """Consume `data`."""
        rest = memoryview(data)
        while rest:
            step = _FINE_MARK_BYTES if self.length < _FINE_MARKS_BELOW else _MARK_BYTES
            room = step - self.length % step
            piece, rest = rest[:room], rest[room:]
            self._hash.update(piece)
            self.length += len(piece)
            if len(piece) == room:
                self.marks += self._hash.digest()[:_MARK_LENGTH]

    def hexdigest(self) -> str:
        """SHA-256 of what was consumed."""
        return self._hash.hexdigest()

    def copy(self) -> PrefixHash:
        """Return an independent copy."""
        twin = PrefixHash()
        twin.length, twin.marks, twin._hash = self.length, self.marks, self._hash.copy()
        return twin


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin reading.

    Attributes
    ----------
    stored : LogSource
        The log as the sink knows it (`source_id` 0 for a new one).
    begin : LogSource
        The state from which to count on: `stored`, or `stored` without its unfinished last line.
    prefix : PrefixHash
        Of the bytes before `begin.offset`.
    retract : RequestBatch or None
        The row of that unfinished line, to be taken back.
    finished : bool
        The log is an older copy of what is known: there is nothing new in it.
    """

    stored: LogSource
    begin: LogSource
    prefix: PrefixHash
    retract: RequestBatch | None = None
    finished: bool = False


def known_by_head(head: bytes, service: str, sink: RequestSink) -> list[LogSource]:
    """Logs of the sink that begin as this one does."""
    heads = _heads(head, service, sink)
    return [
        candidate
        for candidate in sink.sources_with_heads(service, sorted(heads.values()))
        if heads.get(candidate.head_bytes) == candidate.head_sha256
    ]


def _heads(head: bytes, service: str, sink: RequestSink) -> dict[int, str]:
    """Hash of the head by its length, for all lengths that the sink knows and the log's own."""
    own = min(len(head), HEAD_BYTES_MOST)
    lengths = {length for length in sink.head_lengths(service) if 0 < length <= own} | {own}
    return {length: hashlib.sha256(head[:length]).hexdigest() for length in lengths}


def find_start(source: ByteSource, head: bytes, service: str, sink: RequestSink) -> Start:
    """Ask the sink for logs with this head and compare all that was consumed of them."""
    candidates = known_by_head(head, service, sink)
    if candidates:
        source.rewindable()
        start = _compared(source.pieces(), candidates)
        if start is not None:
            return replace(start, begin=replace(start.begin, name=source.name))
    own = min(len(head), HEAD_BYTES_MOST)
    sha256 = hashlib.sha256(head[:own]).hexdigest()
    rivals = sum(candidate.head_sha256 == sha256 for candidate in candidates)
    new = LogSource(0, own, sha256, service, source.name, rivals=rivals)
    return Start(new, new, PrefixHash())


def _compared(pieces: Iterator[bytes], candidates: Sequence[LogSource]) -> Start | None:
    """Return the candidate that agrees with the log over the longest stretch."""
    ends = sorted({end for known in candidates for end in (known.offset, known.tail_offset)})
    prefix, snapshots = PrefixHash(), {0: PrefixHash()}
    following: dict[int, bytes] = {0: b""}
    try:
        for piece in pieces:
            rest = memoryview(piece)
            for end in ends:
                if prefix.length < end <= prefix.length + len(rest):
                    taken = end - prefix.length
                    prefix.update(rest[:taken])
                    rest = rest[taken:]
                    snapshots[end] = prefix.copy()
            prefix.update(rest)
            for end in snapshots:
                if prefix.length > end and len(following.get(end, b"")) < 2:
                    following[end] = _following(piece, prefix.length, end)
            if prefix.length > ends[-1] + 1:
                break
    except CutShortError:
        pass  # told when the log is read
    for known in sorted(candidates, key=lambda known: -known.offset):
        reached = snapshots.get(known.offset)
        if reached is not None and reached.hexdigest() == known.prefix_sha256:
            return _resumed(known, snapshots, following.get(known.offset, b""))
    for known in candidates:
        if prefix.length < known.offset and known.marks.startswith(prefix.marks) and prefix.marks:
            return Start(known, known, prefix, finished=True)
    return None


def _following(piece: bytes, length: int, end: int) -> bytes:
    """Up to two bytes of the log after `end`, which lies in or just before `piece`."""
    begin = end - (length - len(piece))
    return piece[begin : begin + 2] if begin >= 0 else b""


def _resumed(known: LogSource, snapshots: dict[int, PrefixHash], following: bytes) -> Start:
    if known.tail_offset == known.offset or not following:
        return Start(known, known, snapshots[known.offset])
    if following.startswith((b"\n", b"\r\n")):  # the last line was whole, only its end was missing
        return Start(known, replace(known, lines=known.lines - 1), snapshots[known.offset])
    taken = 0 if known.tail is None else 1
    begin = replace(
        known,
        offset=known.tail_offset,
        lines=known.tail_lines,
        accepted=known.accepted - taken,
        rejected=known.rejected - (1 - taken),
        tail=None,
    )
    return Start(known, begin, snapshots[known.tail_offset], known.tail)
