"""What must survive a lost database: the tide table in force, and decisions not yet journalled."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson

from forecaster.domain.errors import StoreError
from forecaster.domain.plan import TideTable
from forecaster.planning.journal import table_from_dict, table_to_dict

MAX_SPOOLED_BYTES = 256 << 20
"""Decisions kept while the database is away: weeks of one service's ticks."""


LOCK_S = 2.0
"""Longest wait for another daemon that writes."""


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
        kept = {"plan_id": plan_id, "table": table_to_dict(table)}
        _put(self._path(table.service), orjson.dumps(kept))

    def last_table(self, service: str) -> tuple[TideTable | None, int]:
        """The table in force when the daemon last planned and its number; (None, 0) if none."""
        try:
            values = orjson.loads(self._path(service).read_bytes())
            return table_from_dict(values["table"]), int(values["plan_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return None, 0

    def keep_learnt(self, service: str, learnt: dict[str, Any]) -> None:
        """Replace what was learnt of a service's units and of its error budget."""
        _put(self._path(service).with_suffix(".learnt"), orjson.dumps(learnt))

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
        with _written(self.journal), self._alone(), self.journal.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size > MAX_SPOOLED_BYTES:
                return
            if size:
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line  # after one cut short
            file.write(line)

    def drain(self, take: Callable[[dict[str, Any]], object]) -> int:
        """Hand over what was pushed, oldest first; what `take` refuses stays for the next time.

        Returns
        -------
        int
            Entries that were taken; 0 while another daemon hands over.
        """
        if not self.journal.exists() or not self.journal.stat().st_size:
            return 0
        with _written(self.journal), self.journal.with_suffix(".drain").open("ab") as lock:
            return self._drain(take) if _locked(lock) else 0

    def _drain(self, take: Callable[[dict[str, Any]], object]) -> int:
        with self._alone():
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
        with self._alone():
            kept = self._lines()[lines:]
            _put(self.journal, b"".join(line + b"\n" for line in kept))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread of one daemon at a time: several may live in one folder.

        One that is stopped while it writes is not waited for without end.
        """
        with self._turn, self.journal.with_suffix(".lock").open("ab") as lock:
            until_s = time.monotonic() + LOCK_S
            while not _locked(lock) and time.monotonic() < until_s:
                time.sleep(LOCK_S / 100)
            yield

    def _path(self, service: str) -> Path:
        digest = hashlib.sha256(service.encode()).hexdigest()[:16]
        return self.folder / f"{digest}.json"


def _locked(file: IO[bytes]) -> bool:
    """Whether the file is this one's alone, until it is closed or the process ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _put(path: Path, content: bytes) -> None:
    """Readers see the old file or the new one, never a part; writers do not meet."""
    fresh = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    with _written(path):
        try:
            fresh.write_bytes(content)
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Say what a full or read-only disk means; what was there stays as it was."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path.parent} cannot be written: {error.strerror}",
            "free the disk, or make it writable: what is in force goes on",
        ) from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = orjson.loads(line)
    except ValueError:  # cut short by a crash
        return None
    return entry
