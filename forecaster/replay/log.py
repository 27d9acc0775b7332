"""A request log read into memory by the readers of `ingest`: no database, nothing is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from forecaster.domain.answers import Answers
from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.domain.errors import DataError, SettingError
from forecaster.ingest import (
    CutShortLogError,
    IngestOptions,
    IngestReport,
    Progress,
    ingest_file,
)
from forecaster.replay.scene import sorted_log

ROWS_MOST = 200_000_000
"""Requests of a log that are held in memory, 24 bytes each."""
_NAMED = 8


class MemorySink:
    """Takes the blocks of one log; every log is new to it.

    Parameters
    ----------
    service : str
        Keep the rows of this service and count the others; empty keeps all.
    """

    def __init__(self, service: str = "") -> None:
        self._only = service
        self._batches: dict[str, list[RequestBatch]] = {}
        self.rows: Counter[str] = Counter()

    def head_lengths(self, service: str) -> Sequence[int]:
        """Nothing is known."""
        return ()

    def sources_with_heads(self, service: str, heads: Sequence[str]) -> Sequence[LogSource]:
        """Nothing is known."""
        return ()

    def append_requests(
        self,
        before: LogSource,
        after: LogSource,
        batches: Sequence[RequestBatch],
        retract: RequestBatch | None = None,
    ) -> LogSource:
        """Keep the batches.

        Raises
        ------
        DataError
            When the log is larger than what is held.
        """
        for batch in batches:
            self.rows[batch.service] += len(batch)
            if self._only in ("", batch.service):
                self._batches.setdefault(batch.service, []).append(batch)
        if sum(self.rows[name] for name in self._batches) > ROWS_MOST:
            raise DataError(
                f"the log has more than {ROWS_MOST:,} requests", "replay a part of it, or a sample"
            )
        return replace(after, source_id=1)

    def log(self, service: str) -> RequestBatch:
        """Requests of one service in order of arrival."""
        return sorted_log(joined(service, self._batches.pop(service)))


@dataclass(frozen=True)
class ReadLog:
    """A log as it was read.

    Attributes
    ----------
    requests : RequestBatch
        One service's requests in order of arrival.
    report : IngestReport or None
        What reading it met; None for requests that lay in a store.
    others : dict of str to int
        Rows of the services that were left out.
    """

    requests: RequestBatch
    report: IngestReport | None = None
    others: dict[str, int] = field(default_factory=dict)


def read_log(
    path: str | Path, options: IngestOptions, service: str = "", progress: Progress | None = None
) -> ReadLog:
    """Read one service's requests out of any log that `ingest` takes.

    Parameters
    ----------
    path : str or Path
        A file, or ``-`` for standard input; plain, gzip or zstd.
    options : IngestOptions
        How to read it; its service is not looked at.
    service : str
        Which one, where the log names several; the name of all rows where it names none.

    Raises
    ------
    SettingError
        When the log names several services and none is chosen.
    DataError
        When the log cannot be read, is cut short, or does not name the service.
    """
    sink = MemorySink(service)
    unnamed = service or ("requests" if str(path) == "-" else Path(path).name)
    try:
        report = ingest_file(path, sink, replace(options, service="", unnamed=unnamed), progress)
    except CutShortLogError as error:
        raise DataError(error.problem, "replay the complete file") from error
    found = chosen(sink.rows, service)
    others = {name: rows for name, rows in sink.rows.items() if name != found}
    return ReadLog(sink.log(found), report, others)


def read_services(
    sources: Sequence[tuple[str, str]],
    services: Sequence[str],
    options: IngestOptions,
    progress: Progress | None = None,
) -> dict[str, RequestBatch]:
    """Read the requests of several services out of one or several logs.

    Parameters
    ----------
    sources : sequence of (str, str)
        Service and file: its rows of that name, or all of them where it names one service or none;
        an empty service takes the names that the log itself gives.
    services : sequence of str
        Whose requests are wanted: every one of them.

    Raises
    ------
    DataError
        When a log cannot be read, or none has requests of a service.
    """
    parts: dict[str, list[RequestBatch]] = {}
    named: Counter[str] = Counter()
    for service, path in sources:
        sink = MemorySink()
        unnamed = service or Path(path).name
        try:
            ingest_file(path, sink, replace(options, service="", unnamed=unnamed), progress)
        except CutShortLogError as error:
            raise DataError(error.problem, "replay the complete file") from error
        named += sink.rows
        if service:
            only = next(iter(sink.rows), service) if len(sink.rows) < 2 else service
            found = {service: only} if only in sink.rows else {}
        else:
            found = {name: name for name in services if name in sink.rows}
        for name, in_log in found.items():
            parts.setdefault(name, []).append(sink.log(in_log))
    for name in services:
        if name not in parts:
            known = ", ".join(f"{each} ({rows:,})" for each, rows in named.most_common(_NAMED))
            raise DataError(
                f"the logs have no requests of service {name!r}",
                f"they name {known or 'nobody'}; name a file that names none as {name}=FILE",
            )
    return {name: sorted_log(joined(name, parts[name])) for name in services}


def joined(service: str, parts: Sequence[RequestBatch]) -> RequestBatch:
    """Requests of several batches, one after the other."""
    return RequestBatch(
        service,
        np.concatenate([each.arrival_s for each in parts]),
        np.concatenate([each.prompt_tokens for each in parts]),
        np.concatenate([each.output_tokens for each in parts]),
        Answers.of(parts),
    )


def chosen(rows: Counter[str], service: str) -> str:
    """The service to replay.

    Raises
    ------
    SettingError
        When the log names several and none is chosen.
    DataError
        When it does not name the one that is.
    """
    named = ", ".join(f"{name} ({count:,})" for name, count in rows.most_common(_NAMED))
    named += ", ..." if len(rows) > _NAMED else ""
    if service:
        if service not in rows:
            raise DataError(f"the log has no requests of service {service!r}", f"it names {named}")
        return service
    if len(rows) > 1:
        raise SettingError(
            "--service", "", f"the log names {len(rows)} services", f"choose one of {named}"
        )
    return next(iter(rows))
