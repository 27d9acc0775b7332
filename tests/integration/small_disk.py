"""A file system of a few megabytes that a test may fill and make read-only; needs the right to mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BLOCK = 1 << 20


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a tmpfs at `folder`; skips the test loudly where that is not allowed."""
    folder.mkdir()
    size = f"size={megabytes}m,mode=755"
    done = _run("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder))
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill the file system to its last byte; the room comes back at the end."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (BLOCK, 4096, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    assert os.statvfs(folder).f_bavail == 0
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Refuse whatever is opened for writing from now on; what is open stays so.

    The kernel lets nobody remount what has open writers: a second mount of the same file system is laid over it.
    """
    for words in (("mount", "--bind", str(folder), str(folder)),
                  ("mount", "-o", "remount,bind,ro", str(folder))):  # fmt: skip
        done = _run(*words)
        assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        done = _run("umount", "--lazy", str(folder))
        assert done.returncode == 0, done.stderr


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)
