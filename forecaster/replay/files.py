"""Files that a replay leaves: whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from forecaster.domain.errors import DataError, SettingError


def check_target(key: str, path: Path) -> None:
    """Refuse a path that cannot be written, before hours of work.

    Raises
    ------
    SettingError
        When it is a folder, or its folder is not there or closed.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise SettingError(key, str(path), "it is a folder", "name a file in it")
    if not folder.is_dir():
        raise SettingError(key, str(path), "its folder does not exist", "make it first")
    if not os.access(folder, os.W_OK):
        raise SettingError(key, str(path), "its folder cannot be written to", "name another one")


def write_whole(path: Path, text: str) -> None:
    """Write a file beside the target, then move it there.

    Raises
    ------
    DataError
        When the disk says no; what was there stays.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fresh.write_text(text, "utf-8")
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise DataError(
            f"{path} cannot be written: {reason}", "free space, or name another"
        ) from error
