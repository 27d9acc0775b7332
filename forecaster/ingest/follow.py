"""Logs that are written to while they are read: rotation by renaming or truncating, gzip, new files, kills."""

from __future__ import annotations

import glob
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from forecaster.domain.errors import DataError, StoreUnavailableError, TidegateError
from forecaster.ingest.bytesource import ByteSource
from forecaster.ingest.growing import (
    PEEK_BYTES,
    GrowingLog,
    Identity,
    Outcome,
    finished,
    packed,
)
from forecaster.ingest.identity import known_by_head
from forecaster.ingest.loader import ingest_file
from forecaster.ingest.options import IngestOptions
from forecaster.ingest.sink import FollowedSink

log = logging.getLogger(__name__)
LOOK_S = 1.0
"""Between two looks, real seconds."""
AHEAD_MOST_S = 86_400.0
"""Later time stamps are nonsense."""
FILES_MOST = 512
"""Files that are followed at once, the ones written last."""
SIBLINGS_MOST = 32
"""Rotated files that are looked at for what was not read of them, the newest."""
LINGER_LOOKS = 600
"""A file that was renamed or removed is followed until it was quiet for so many looks."""
WHOLE_MOST = 4096
"""Files that are remembered as read to their end."""
_ROTATED = r"(\d[\d.:_T-]*|old|prev)"
CLOCKS_S = 60.0
"""The database's clock and that of the files may differ so much."""


Seen = tuple[int, int]
"""Length and time of the last change, ns."""


class Follower:
    """Follows files and patterns of files; `look` again and again, then `close`.

    A file is known by device and inode while it is open, and by its content in the store: killed
    at any moment, it goes on where it was, wherever the rest of the log lies by then.

    Parameters
    ----------
    patterns : sequence of str
        Files, or patterns as the shell knows them.
    options : callable
        How to read them, asked before each look.

    Attributes
    ----------
    accepted, rejected : int
        Rows that were read here.
    failures : dict
        What is wrong now, by path.
    """

    def __init__(
        self, patterns: Sequence[str], sink: FollowedSink, options: Callable[[], IngestOptions]
    ) -> None:
        self._patterns, self._sink, self._options = tuple(patterns), sink, options
        self._logs: dict[Identity, GrowingLog] = {}
        self._whole: dict[Identity, Seen] = {}
        self._scanned: dict[Path, int] = {}
        self._done = [0, 0]
        self.failures: dict[str, str] = {}

    @property
    def accepted(self) -> int:
        """Rows that were accepted here."""
        return self._done[0] + sum(each.accepted for each in self._logs.values())

    @property
    def rejected(self) -> int:
        """Rows that were rejected here."""
        return self._done[1] + sum(each.rejected for each in self._logs.values())

    @property
    def files(self) -> int:
        """Files that are open."""
        return len(self._logs)

    def look(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Read what is new in every file; what goes wrong with one holds no other.

        Raises
        ------
        StoreUnavailableError
            When the database is away: what was not stored is read again.
        """
        options = self._options()
        self.failures = {}
        paths = self._matching()
        named: set[Identity] = set()
        for path in paths:
            if stopped():
                return
            with self._said(path):
                named.add(self._follow(path, set(paths), options, stopped))
        for identity in [each for each in self._logs if each not in named]:
            if not stopped():
                self._linger(identity, options, stopped)

    def close(self) -> None:
        """Close every file."""
        for identity in list(self._logs):
            self._drop(identity)

    def _follow(
        self, path: Path, paths: set[Path], options: IngestOptions, stopped: Callable[[], bool]
    ) -> Identity:
        identity, seen = _identified(path.stat())
        fresh = identity not in self._logs
        if fresh and packed(_head(path)):
            self._take_whole(path, identity, seen, options)
            return identity
        if fresh or self._scanned.get(path) != path.parent.stat().st_mtime_ns:
            self._catch_up(path, paths, options)
        if fresh:
            opened = GrowingLog(path, self._sink)
            identity = opened.identity
            if identity in self._logs:  # renamed just now
                opened.close()
            else:
                self._logs[identity] = opened
        followed = self._logs[identity]
        try:
            if followed.look(options, stopped) is Outcome.CUT:
                self._catch_up(path, paths, options)
                followed.forget()
                followed.look(options, stopped)
        except TidegateError:  # it may be rotated before it is read again: begin with its siblings
            self._drop(identity)
            raise
        return identity

    def _drop(self, identity: Identity) -> None:
        followed = self._logs.pop(identity)
        followed.close()
        self._done[0] += followed.accepted
        self._done[1] += followed.rejected

    def _take_whole(
        self, path: Path, identity: Identity, seen: Seen, options: IngestOptions
    ) -> None:
        """A compressed file among the named ones: it is read once, and again only when it changes."""
        if self._whole.get(identity) != seen:
            self._ingest(path, options)
            self._whole[identity] = seen

    def _catch_up(self, path: Path, paths: set[Path], options: IngestOptions) -> None:
        """Read the rest of what was rotated away since `path` was last read, oldest first."""
        name = str(path)
        read_s = self._sink.read_at(options.service, name)
        changed = path.parent.stat().st_mtime_ns
        if len(self._whole) > WHOLE_MOST:
            self._whole.clear()
        for sibling, about in _siblings(path) if read_s is not None else ():
            identity, seen = _identified(about)
            if sibling in paths or identity in self._logs or self._whole.get(identity) == seen:
                continue
            changed = 0  # it may still be written: look again
            with self._said(sibling):
                try:
                    self._finish(sibling, name, read_s, options)
                except DataError:
                    if _still(sibling, identity, seen):  # it will not be any better as it is
                        self._whole[identity] = seen
                        raise
                if _still(sibling, identity, seen):
                    self._whole[identity] = seen
        self._scanned[path] = changed

    def _finish(
        self, sibling: Path, name: str, read_s: float | None, options: IngestOptions
    ) -> None:
        """Read a rotated file, if it is ours and not read to its end."""
        with ByteSource(sibling) as source:
            head = source.head(PEEK_BYTES)
            if not head:
                return
            known = known_by_head(head, options.service, self._sink)
            changed_s = os.fstat(source.fileno()).st_mtime
            if not known and changed_s < (read_s or 0.0) - CLOCKS_S:
                return  # from before anybody asked for it
            if not finished(source.fileno(), _head(sibling), known):
                self._ingest(sibling, options, name)

    def _ingest(self, path: Path, options: IngestOptions, name: str = "") -> None:
        report = ingest_file(path, self._sink, options, name=name)
        self._done[0] += report.accepted
        self._done[1] += report.rejected
        if report.rows:
            log.info("%s: %d rows that were not read yet", path, report.rows)

    def _linger(
        self, identity: Identity, options: IngestOptions, stopped: Callable[[], bool]
    ) -> None:
        """A file that was renamed or removed: whoever wrote to it may still do so for a while."""
        followed = self._logs[identity]
        with self._said(Path(followed.name)):
            over = followed.quiet >= LINGER_LOOKS
            if followed.look(options, stopped, last=over) is Outcome.CUT or over:
                self._drop(identity)

    def _matching(self) -> list[Path]:
        """Files of the patterns, those written last first to be kept, in the order of their names."""
        found: dict[Path, float] = {}
        for pattern in self._patterns:
            for name in glob.glob(pattern, recursive=True):  # noqa: PTH207 - absolute ones too
                path = Path(name)
                try:
                    about = path.stat()
                except OSError:
                    continue  # just gone
                if path.is_file():
                    found[path] = about.st_mtime
        if len(found) > FILES_MOST:
            self.failures[self._patterns[0]] = f"{len(found)} files, {FILES_MOST} are followed"
        newest = sorted(found, key=lambda path: -found[path])[:FILES_MOST]
        return sorted(newest)

    @contextmanager
    def _said(self, path: Path) -> Iterator[None]:
        """Keep what is wrong with one file; a database that is away is everybody's matter."""
        try:
            yield
        except StoreUnavailableError:
            raise
        except TidegateError as error:
            self.failures[str(path)] = str(error)
        except OSError as error:
            self.failures[str(path)] = f"{path} cannot be read: {error.strerror}"


def lately(options: IngestOptions) -> IngestOptions:
    """The options now: a log that is followed for days is never ahead of its time."""
    return replace(options, latest_s=time.time() + AHEAD_MOST_S)


def _still(path: Path, identity: Identity, seen: Seen) -> bool:
    """Whether a path names the file that it did: rotation moves them on while they are read."""
    try:
        return _identified(path.stat()) == (identity, seen)
    except OSError:
        return False


def _identified(about: os.stat_result) -> tuple[Identity, Seen]:
    return (about.st_dev, about.st_ino), (about.st_size, about.st_mtime_ns)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "check the path") from error


def _siblings(path: Path) -> list[tuple[Path, os.stat_result]]:
    """Files beside `path` that rotation has made of it, by number or date; the newest, oldest first."""
    name, stem, suffix = (re.escape(each) for each in (path.name, path.stem, path.suffix))
    made = re.compile(f"({name}[.-]{_ROTATED}|{stem}[.-]{_ROTATED}{suffix})(\\.gz|\\.zst)?")
    with os.scandir(path.parent) as entries:
        found = [
            (path.parent / entry.name, entry.stat())
            for entry in entries
            if entry.name != path.name and made.fullmatch(entry.name) and entry.is_file()
        ]
    return sorted(found, key=lambda each: each[1].st_mtime_ns)[-SIBLINGS_MOST:]
