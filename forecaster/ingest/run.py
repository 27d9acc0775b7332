"""One run over one log: blocks go to the sink in order, parsing the next while one is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.ingest.blocks import Block
from forecaster.ingest.identity import PrefixHash, Start
from forecaster.ingest.parsed import Format, Parsed
from forecaster.ingest.rejects import RejectsFile
from forecaster.ingest.sink import RequestSink


@dataclass(frozen=True, slots=True)
class Place:
    """How far a block brings the log.

    Attributes
    ----------
    offset, lines : int
        Consumed bytes and lines (both rows in columnar files).
    prefix_sha256 : str
        Hash of the consumed bytes.
    marks : bytes
        See `PrefixHash`.
    unterminated : bool
        Whether the block is the last line without an end.
    """

    offset: int
    lines: int
    prefix_sha256: str
    marks: bytes = b""
    unterminated: bool = False


class Run:
    """Counts what is accepted and rejected, and moves the log along with every stored block.

    At most one block is being stored while the next one is parsed, so memory stays bounded, and
    the order is that of the log. A log in which no row was accepted leaves no trace: it can be
    read again with better options.
    """

    def __init__(self, sink: RequestSink, start: Start, rejects: RejectsFile) -> None:
        self.accepted = 0
        self.rejected = 0
        self.told = 0
        self.first_s: float | None = None
        self.last_s: float | None = None
        self._sink = sink
        self._stored = start.stored
        self._state = start.begin
        self._retract = start.retract
        self._rejects = rejects
        self._storing: Future[LogSource] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ingest")

    def add(self, parsed: Parsed, place: Place) -> None:
        """Store a block, together with the log's new place."""
        self._rejects.add(parsed.rejected)
        accepted, rejected = parsed.accepted, len(parsed.rejected)
        self.accepted += accepted
        self.rejected += rejected
        self._see(parsed.batches)
        begin = self._state
        row = parsed.batches[0] if place.unterminated and parsed.batches else None
        self._state = replace(
            begin,
            offset=place.offset,
            lines=place.lines,
            prefix_sha256=place.prefix_sha256,
            marks=place.marks,
            accepted=begin.accepted + accepted,
            rejected=begin.rejected + rejected,
            tail=row,
            tail_offset=begin.offset if place.unterminated else place.offset,
            tail_lines=begin.lines if place.unterminated else place.lines,
        )
        if self._state.accepted or self._stored.source_id:
            self._store(parsed.batches)

    @property
    def reached(self) -> LogSource:
        """How far the log is read, stored or about to be."""
        return self._state

    def read(
        self,
        found: Iterable[Block],
        reader: Format,
        prefix: PrefixHash,
        on_block: Callable[[], None] = lambda: None,
    ) -> None:
        """Store blocks as they come; `prefix` is that of the bytes before them."""
        for block in found:
            prefix.update(block.data)
            if block.part:
                continue
            lines = block.first_line + block.lines - 1
            place = Place(
                prefix.length, lines, prefix.hexdigest(), prefix.marks, block.unterminated
            )
            self.add(reader.parse(block), place)
            on_block()
        self.finish()

    def finish(self) -> None:
        """Wait until everything is stored."""
        if self._storing is not None:
            storing, self._storing = self._storing, None
            self._stored = storing.result()

    def close(self) -> None:
        """Let a block that is being stored come to its end."""
        self._thread.shutdown(wait=True)

    def _store(self, batches: Sequence[RequestBatch]) -> None:
        self.finish()
        state = replace(self._state, source_id=self._stored.source_id)
        retract, self._retract = self._retract, None
        self._storing = self._thread.submit(
            self._sink.append_requests, self._stored, state, batches, retract
        )

    def _see(self, batches: Sequence[RequestBatch]) -> None:
        for batch in batches:
            self.told += 0 if batch.answers is None else batch.answers.timed
            low, high = float(batch.arrival_s.min()), float(batch.arrival_s.max())
            self.first_s = low if self.first_s is None else min(self.first_s, low)
            self.last_s = high if self.last_s is None else max(self.last_s, high)
