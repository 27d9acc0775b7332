"""The book of a fleet in a file of the state folder: a restart goes on with the same units and numbers."""

from __future__ import annotations

import os
from pathlib import Path

from actuators.book import Book, dumps, loads, new_book
from forecaster.domain.errors import ActuatorUnavailableError


def recalled(file: Path) -> Book:
    """The book that was kept; an empty one where the file is absent or broken."""
    try:
        return loads(file.read_text())
    except (OSError, ValueError):
        return new_book()


def keep(file: Path, book: Book) -> None:
    """Write the book down, whole or not at all.

    Raises
    ------
    ActuatorUnavailableError
        When the disk does not take it.
    """
    replace_text(file, dumps(book))


def replace_text(file: Path, text: str) -> None:
    """Put a text where readers see the old one or the new one, never a part."""
    fresh = file.with_suffix(f".{os.getpid()}.new")
    try:
        fresh.write_text(text)
        fresh.replace(file)
    except OSError as error:
        raise ActuatorUnavailableError(
            f"{file} cannot be written: {error.strerror}",
            "the order stands until a restart; free the disk",
        ) from error
