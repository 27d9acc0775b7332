"""What must survive a lost database: the tide table in force, and decisions not yet journalled."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from forecaster.domain.plan import TideTable
from forecaster.planning.journal import table_from_dict, table_to_dict

MAX_SPOOLED_BYTES = 256 << 20
"""Decisions kept while the database is away: weeks of one service's ticks."""


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
        self._turn = threading.Lock()

    def keep_table(self, table: TideTable, plan_id: int) -> None:
        """Replace the service's table on disk; `plan_id` is its number in the journal."""
        path = self._path(table.service)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(orjson.dumps({"plan_id": plan_id, "table": table_to_dict(table)}))
        fresh.replace(path)

    def last_table(self, service: str) -> tuple[TideTable | None, int]:
        """The table in force when the daemon last planned and its number; (None, 0) if none."""
        try:
            values = orjson.loads(self._path(service).read_bytes())
            return table_from_dict(values["table"]), int(values["plan_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return None, 0

    def keep_learnt(self, service: str, learnt: dict[str, Any]) -> None:
        """Replace what was learnt of a service's units and of its error budget."""
        path = self._path(service).with_suffix(".learnt")
        fresh = path.with_suffix(".fresh")
        fresh.write_bytes(orjson.dumps(learnt, option=orjson.OPT_NON_STR_KEYS))
        fresh.replace(path)

    def last_learnt(self, service: str) -> dict[str, Any]:
        """What `keep_learnt` kept; empty if there is nothing that can be read."""
        try:
            found = orjson.loads(self._path(service).with_suffix(".learnt").read_bytes())
            return found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            return {}

    def push(self, entry: dict[str, Any]) -> None:
        """Append a decision that the database could not take; the oldest are kept."""
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        with self._turn, self.journal.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size > MAX_SPOOLED_BYTES:
                return
            if size:
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line  # after one cut short
            file.write(line)

    def drain(self, take: Callable[[dict[str, Any]], object]) -> int:
        """Hand over what was pushed, oldest first; what `take` refuses stays for the next time."""
        with self._turn:
            lines = self._lines()
        done = taken = 0
        try:
            for line in lines:
                entry = _parsed(line)
                if entry is not None:
                    take(entry)
                    taken += 1
                done += 1
        finally:
            self._forget(done)
        return taken

    def _lines(self) -> list[bytes]:
        return self.journal.read_bytes().split(b"\n")[:-1] if self.journal.exists() else []

    def _forget(self, lines: int) -> None:
        """Remove the oldest lines; what was pushed meanwhile stays."""
        if not lines:
            return
        with self._turn:
            kept = self._lines()[lines:]
            fresh = self.journal.with_suffix(".new")
            fresh.write_bytes(b"".join(line + b"\n" for line in kept))
            fresh.replace(self.journal)

    def _path(self, service: str) -> Path:
        digest = hashlib.sha256(service.encode()).hexdigest()[:16]
        return self.folder / f"{digest}.json"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = orjson.loads(line)
    except ValueError:  # cut short by a crash
        return None
    return entry
