"""The format of a log, by its content."""

from __future__ import annotations

import re

from forecaster.domain.errors import DataError
from forecaster.ingest.access_format import AccessFormat
from forecaster.ingest.csv_format import CsvFormat
from forecaster.ingest.json_format import JsonFormat
from forecaster.ingest.options import IngestOptions, LogFormat
from forecaster.ingest.parsed import Format

_PARQUET = b"PAR1"
_ACCESS_LINE = re.compile(rb'^\S+ \S+ .*?\[\d\d/[A-Z][a-z]{2}/\d{4}:[\d:]{8} [+-]\d{4}\] "')
_FIRST_LINES = 20


def detected(head: bytes, options: IngestOptions, log: str) -> LogFormat:
    """Return the format that was asked for, or the one that the first bytes show.

    Raises
    ------
    DataError
        When the log is empty or holds something that is no request log.
    """
    if not head.strip():
        raise DataError(f"{log} is empty", "check what wrote it")
    if options.format is not LogFormat.AUTO:
        return options.format
    if head.startswith(_PARQUET):
        return LogFormat.PARQUET
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{"):
        return LogFormat.JSONL
    if text.startswith(b"["):
        raise DataError(f"{log} is a JSON array", "write one object a line (`jq -c '.[]'` does)")
    if b"\0" in head:
        raise DataError(
            f"{log} is binary and no Parquet file", "give CSV, JSON lines, Parquet or an access log"
        )
    if any(_ACCESS_LINE.match(line) for line in head.split(b"\n")[:_FIRST_LINES]):
        return LogFormat.ACCESS
    return LogFormat.CSV


def line_format(kind: LogFormat, head: bytes, options: IngestOptions, log: str) -> Format:
    """Prepare the reader of a format made of lines."""
    if kind is LogFormat.JSONL:
        return JsonFormat.of(head, options, log)
    if kind is LogFormat.ACCESS:
        return AccessFormat.of(options, log)
    return CsvFormat.of(head, options, log)
