"""Ingest one log: find where it stands, read on from there, store every row exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from forecaster.domain.demand import LogSource
from forecaster.domain.errors import DataError
from forecaster.ingest.blocks import blocks
from forecaster.ingest.bytesource import ByteSource, CutShortError
from forecaster.ingest.detect import detected, line_format
from forecaster.ingest.identity import PrefixHash, Start, find_start
from forecaster.ingest.options import IngestOptions, IngestReport, LogFormat
from forecaster.ingest.parquet_format import parquet_blocks, spooled
from forecaster.ingest.rejects import RejectsFile
from forecaster.ingest.run import Place, Run
from forecaster.ingest.sink import RequestSink

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all (0 when unknown, as for standard input)."""

_PEEK_BYTES = 1 << 16
_DEFAULTS = IngestOptions()


class CutShortLogError(DataError):
    """A compressed log ended early. The rows up to there are stored: `report` counts them."""

    def __init__(self, problem: str, remedy: str, report: IngestReport) -> None:
        self.report = report
        super().__init__(problem, remedy)


def ingest_file(
    path: str | Path,
    sink: RequestSink,
    options: IngestOptions = _DEFAULTS,
    progress: Progress | None = None,
    name: str = "",
) -> IngestReport:
    """Read a request log into `sink`.

    A log that is known by its content is continued where reading it stopped: the same log again
    adds nothing, an appended one only what is new, and killing the process at any moment neither
    loses nor doubles a row.

    Parameters
    ----------
    path : str or Path
        A file, or ``-`` for standard input; plain, gzip or zstd.
    sink : RequestSink
        Where the rows go, for example a `Store`.
    progress : callable, optional
        Told (bytes done, bytes in all) after each block.
    name : str
        What the log is called: the file that it was rotated from. Empty: its path.

    Returns
    -------
    IngestReport
        Bad rows never stop the run: they are counted by reason.

    Raises
    ------
    DataError
        When the log cannot be read at all: missing, empty, unknown columns, or not one good row.
    CutShortLogError
        When a compressed log ends early; what could be read is stored.
    StoreUnavailableError
        When the database is away; whole blocks before are stored, repeating continues.

    Examples
    --------
    >>> report = ingest_file("access.log", store, IngestOptions(service="www"))  # doctest: +SKIP
    >>> report.accepted, report.rejects_by_reason  # doctest: +SKIP
    (1891713, {})
    """
    began_s = time.perf_counter()
    with ByteSource(path, name) as source:
        head = source.head(_PEEK_BYTES)
        kind = detected(head, options, source.name)
        reading = _Reading(source, sink, options, progress or _silent)
        if kind is LogFormat.PARQUET:
            reading.parquet()
        else:
            reading.lines(kind, head)
    return reading.report(time.perf_counter() - began_s)


class _Reading:
    """The steps of one call of `ingest_file`."""

    def __init__(
        self, source: ByteSource, sink: RequestSink, options: IngestOptions, progress: Progress
    ) -> None:
        self._source = source
        self._sink = sink
        self._options = options
        self._progress = progress
        self._cut_short: CutShortError | None = None

    def lines(self, kind: LogFormat, head: bytes) -> None:
        """Read a format made of lines."""
        reader = line_format(kind, head, self._options, self._source.name)
        self._begin(find_start(self._source, head, self._options.service, self._sink))
        if self._start.finished:
            return
        state, most = self._start.begin, self._options.block_bytes
        found = blocks(_after(self._source.pieces(), state.offset, most), state.lines + 1, most)
        try:
            self._run.read(found, reader, self._start.prefix, self._tell)
        except CutShortError as error:
            self._cut_short = error
            self._run.finish()
        finally:
            self._end()

    def parquet(self) -> None:
        """Read a Parquet file."""
        log = spooled(self._source)
        with log.file:
            service = self._options.service
            new = LogSource(0, log.size_bytes, log.sha256, service, self._source.name)
            known = self._sink.sources_with_heads(service, [log.sha256])
            stored = known[0] if known else new
            self._begin(Start(stored, stored, PrefixHash()))
            try:
                for rows, parsed in parquet_blocks(
                    log, self._options, self._source.name, stored.offset
                ):
                    self._run.add(parsed, Place(rows, rows, log.sha256))
                    self._tell()
                self._run.finish()
            finally:
                self._end()

    def _tell(self) -> None:
        self._progress(self._source.done_bytes, self._source.total_bytes)

    def report(self, seconds: float) -> IngestReport:
        """Return what was done, or raise what the operator has to know instead."""
        run, known = self._run, self._start.begin
        report = IngestReport(
            rows=run.accepted + run.rejected,
            accepted=run.accepted,
            rejected=run.rejected,
            rejects_by_reason=dict(sorted(self._rejects.by_reason.items())),
            first_s=run.first_s,
            last_s=run.last_s,
            seconds=seconds,
            skipped=known.accepted + known.rejected,
            rejects_path=self._rejects.path,
            told=run.told,
        )
        if self._cut_short is not None:
            raise CutShortLogError(
                f"{self._source.name}: {self._cut_short} after {report.rows + report.skipped} rows",
                "these are stored; ingest the complete file and it continues from there",
                report,
            )
        if not report.accepted and not report.skipped:
            raise self._nothing(report)
        return report

    def _nothing(self, report: IngestReport) -> DataError:
        name = self._source.name
        if not report.rejected:
            return DataError(f"{name} holds no rows", "check what wrote it")
        reasons = ", ".join(f"{n} {reason}" for reason, n in report.rejects_by_reason.items())
        kept = f"read {report.rejects_path}; " if report.rejects_path else ""
        return DataError(
            f"{name}: not one of {report.rejected} rows could be read ({reasons})",
            f"{kept}check --log-format, --column and --origin",
        )

    def _begin(self, start: Start) -> None:
        self._start = start
        folder, head = self._options.rejects_dir, start.stored.head_sha256
        self._rejects = RejectsFile(folder, head, start.begin.lines)
        self._run = Run(self._sink, start, self._rejects)

    def _end(self) -> None:
        self._run.close()
        self._rejects.close()


def _after(pieces: Iterator[bytes], offset: int, piece_bytes: int) -> Iterator[bytes]:
    """Skip the first `offset` bytes; no piece is longer than `piece_bytes`."""
    for piece in pieces:
        begin = min(offset, len(piece))
        offset -= begin
        if not begin and len(piece) <= piece_bytes:
            yield piece
        else:
            for at in range(begin, len(piece), piece_bytes):
                yield piece[at : at + piece_bytes]


def _silent(_done: int, _total: int) -> None:
    """Tell nobody."""
