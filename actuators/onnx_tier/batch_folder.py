"""Batches and their files on disk: what was promised outlives the tier, `kill -9` included.

``files/ID.jsonl`` holds lines, ``files/ID.json`` what a client may know of them, ``ID.json`` a batch.
Records are replaced whole; results are appended a line at a time, and a line that was cut off is dropped
when the tier starts again, so that its request is answered once more.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

OPEN = frozenset({"in_progress", "cancelling"})
"""States of a batch that is not over."""

_ID = re.compile(r"^(file-|batch_)[0-9a-f]{32}$")


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A file as clients see it.

    Attributes
    ----------
    purpose : str
        ``batch`` for requests, ``batch_output`` for results.
    bytes : int
        Its size.
    created_at : float
        Epoch seconds on the installation's clock.
    """

    id: str
    filename: str
    purpose: str
    bytes: int
    created_at: float


@dataclass(slots=True)
class Batch:
    """Requests that may be answered at any time until a deadline.

    Attributes
    ----------
    service : str
        Whose units answer: one model a batch.
    window : str
        As the client wrote it: ``24h``.
    expires_at : float
        The deadline, epoch seconds on the installation's clock.
    status : str
        ``in_progress``, ``cancelling``, ``completed``, ``expired`` or ``cancelled``.
    total, completed, failed : int
        Requests; what is neither completed nor failed waits.
    output_file, error_file : str
        Where results go: answers, and refusals.
    times : dict of str to float
        When it came into each state.
    """

    id: str
    service: str
    endpoint: str
    input_file: str
    window: str
    expires_at: float
    total: int
    output_file: str
    error_file: str
    times: dict[str, float]
    metadata: dict[str, str] = field(default_factory=dict)
    status: str = "in_progress"
    completed: int = 0
    failed: int = 0

    @property
    def left(self) -> int:
        """Requests without a result."""
        return self.total - self.completed - self.failed


class BatchFolder:
    """What is on disk.

    Parameters
    ----------
    folder : Path
        Made when the first file comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add_file(self, filename: str, purpose: str, content: bytes, now_s: float) -> BatchFile:
        """Keep a file whole.

        Raises
        ------
        OSError
            When the disk is full or read-only: nothing of it stays.
        """
        file = BatchFile(new_id("file-"), filename, purpose, len(content), now_s)
        path = self.path_of(file.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _replace(path, content)
            self.describe(file)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return file

    def describe(self, file: BatchFile) -> None:
        """Let clients see a file."""
        _replace(self.path_of(file.id).with_suffix(".json"), orjson.dumps(asdict(file)))

    def files(self) -> list[BatchFile]:
        """Every file that clients may see, the newest first."""
        found = [BatchFile(**each) for each in _records(self._folder / "files")]
        return sorted(found, key=lambda each: (each.created_at, each.id), reverse=True)

    def file(self, file_id: str) -> BatchFile | None:
        """One file, if there is one."""
        path = self.path_of(file_id).with_suffix(".json")
        return BatchFile(**orjson.loads(path.read_bytes())) if path.is_file() else None

    def remove_file(self, file_id: str) -> None:
        """Forget a file."""
        path = self.path_of(file_id)
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def lines(self, file_id: str) -> list[bytes]:
        """The lines of a file; none when nothing was written to it."""
        path = self.path_of(file_id)
        return path.read_bytes().splitlines() if path.is_file() else []

    def append(self, file_id: str, line: bytes) -> None:
        """Add one line whole, or nothing.

        Raises
        ------
        OSError
            When the disk is full or read-only.
        """
        path = self.path_of(file_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                if file.write(line + b"\n") != len(line) + 1:
                    raise OSError("the disk is full")
            except OSError:
                file.truncate(before)
                raise

    def answered(self, batch: Batch) -> tuple[set[str], set[str]]:
        """Which requests of a batch have an answer, and which a refusal; torn ends are cut off."""
        found: list[set[str]] = []
        for file_id in (batch.output_file, batch.error_file):
            path = self.path_of(file_id)
            if path.is_file():
                content = path.read_bytes()
                whole = content.rfind(b"\n") + 1
                if whole < len(content):
                    os.truncate(path, whole)
            found.append({orjson.loads(line)["custom_id"] for line in self.lines(file_id)})
        return found[0], found[1]

    def keep(self, batch: Batch) -> None:
        """Keep the state of a batch."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _replace(self._folder / f"{batch.id}.json", orjson.dumps(asdict(batch)))

    def batches(self) -> list[Batch]:
        """Every batch, the newest first."""
        found = [Batch(**each) for each in _records(self._folder)]
        return sorted(found, key=lambda each: (each.times["created"], each.id), reverse=True)

    def remove(self, batch: Batch) -> None:
        """Forget a batch that is over, with its files."""
        for file_id in (batch.input_file, batch.output_file, batch.error_file):
            self.remove_file(file_id)
        (self._folder / f"{batch.id}.json").unlink(missing_ok=True)

    def path_of(self, file_id: str) -> Path:
        """Where the lines of a file are; an id that is none of ours leads nowhere."""
        safe = file_id if _ID.match(file_id) else "none"
        return self._folder / "files" / f"{safe}.jsonl"


def new_id(prefix: str) -> str:
    """A fresh id."""
    return prefix + uuid.uuid4().hex


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    if folder.is_dir():
        for path in folder.glob("*.json"):
            yield orjson.loads(path.read_bytes())


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole, or leave what was there."""
    fresh = path.with_suffix(".new")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
