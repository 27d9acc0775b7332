"""Rejected lines: counted by reason and kept in a file, so that nothing disappears silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import orjson

from forecaster.domain.errors import DataError
from forecaster.ingest.parsed import Rejected

BYTES_MOST = 64 << 20
"""What is rejected beyond that is only counted."""


class RejectsFile:
    """JSON lines ``{"line", "reason", "text"}``, one file per log.

    Lines behind the point where reading resumes were written by a run that did not get to store
    its block; they will be read again, so they are removed first.
    """

    def __init__(self, folder: Path | None, head_sha256: str, known_lines: int) -> None:
        self.by_reason: Counter[str] = Counter()
        self._path = folder / f"{head_sha256[:16]}.jsonl" if folder is not None else None
        self._known_lines = known_lines
        self._file: IO[bytes] | None = None

    @property
    def path(self) -> Path | None:
        """Return the file, if this run wrote to it."""
        return self._path if self._file is not None else None

    def add(self, rejected: Sequence[Rejected]) -> None:
        """Count and keep."""
        if not rejected:
            return
        self.by_reason.update(reject.reason.label for reject in rejected)
        if self._path is None:
            return
        rows = (
            {"line": reject.line, "reason": reject.reason.label, "text": reject.text}
            for reject in rejected
        )
        try:
            if self._file is None:
                self._file = self._opened(self._path)
            if self._file.tell() > BYTES_MOST:
                return
            self._file.write(b"".join(orjson.dumps(row) + b"\n" for row in rows))
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"rejected lines cannot be written to {self._path}: {error.strerror}",
                "make the folder writable",
            ) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _opened(self, path: Path) -> IO[bytes]:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join(line for line in lines if self._known(line)))
        return path.open("ab")

    def _known(self, row: bytes) -> bool:
        try:
            return int(orjson.loads(row)["line"]) <= self._known_lines
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return False
