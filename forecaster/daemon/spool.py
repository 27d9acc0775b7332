"""What must survive a lost database: the tide table in force, and decisions not yet journalled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from forecaster.domain.plan import TideTable
from forecaster.planning.journal import table_from_dict, table_to_dict

MAX_SPOOLED = 100_000
"""Decisions kept while the database is away: ten weeks of one service's ticks."""


class Spool:
    """Files under the installation's state folder; every write is complete or absent.

    Parameters
    ----------
    home : Path
        State folder.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home / "plans"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.journal = home / "journal.jsonl"

    def keep_table(self, table: TideTable) -> None:
        """Replace the service's table on disk."""
        path = self._path(table.service)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(table_to_dict(table)))
        fresh.replace(path)

    def last_table(self, service: str) -> TideTable | None:
        """The table that was in force when the daemon last planned; None if there is none."""
        try:
            values = orjson.loads(self._path(service).read_bytes())
            return table_from_dict(values)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def push(self, entry: dict[str, Any]) -> None:
        """Append a decision that the database could not take; the oldest are kept."""
        if self.journal.exists() and self.journal.stat().st_size > MAX_SPOOLED * 2048:
            return
        with self.journal.open("ab") as file:
            file.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))

    def drain(self, take: Callable[[dict[str, Any]], object]) -> int:
        """Hand over what was pushed, oldest first; what `take` refuses stays for the next time."""
        if not self.journal.exists():
            return 0
        lines = self.journal.read_bytes().splitlines(keepends=True)
        taken = 0
        try:
            for line in lines:
                entry = _parsed(line)
                if entry is not None:
                    take(entry)
                taken += 1
        finally:
            fresh = self.journal.with_suffix(".new")
            fresh.write_bytes(b"".join(lines[taken:]))
            fresh.replace(self.journal)
        return taken

    def _path(self, service: str) -> Path:
        digest = hashlib.sha256(service.encode()).hexdigest()[:16]
        return self.folder / f"{digest}.json"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = orjson.loads(line)
    except ValueError:  # cut short by a crash
        return None
    return entry
