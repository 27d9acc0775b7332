"""What is handed over between the pools of a tier, and where: a folder in memory that is emptied at each start."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory; elsewhere, and where it cannot be written, the tier's home serves."""


@dataclass(slots=True)
class Handovers:
    """Hand-overs of each service since the tier started.

    Attributes
    ----------
    count, cache_bytes : dict of str to int
        Caches that were handed over, and their size together.
    taken : dict of str to int
        Those that a decode unit went on with.
    wait_s : dict of str to float
        Seconds from the first token to the second of those, together: the hand-over, the wait for a
        slot and one step.
    """

    count: dict[str, int] = field(default_factory=dict)
    cache_bytes: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    wait_s: dict[str, float] = field(default_factory=dict)

    def handed(self, service: str, size: int) -> None:
        """Count a cache of `size` bytes."""
        self.count[service] = self.count.get(service, 0) + 1
        self.cache_bytes[service] = self.cache_bytes.get(service, 0) + size

    def went_on(self, service: str, seconds: float) -> None:
        """Count one whose second token came `seconds` after the first."""
        self.taken[service] = self.taken.get(service, 0) + 1
        self.wait_s[service] = self.wait_s.get(service, 0.0) + seconds


@contextmanager
def cache_folder(home: Path) -> Iterator[Path]:
    """A private, empty folder for caches; what a tier of this home that was killed left there is gone."""
    own = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]
    folder = MEMORY / f"tidegate-{own}" if os.access(MEMORY, os.W_OK) else home / "caches"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
