"""Numbered migrations, applied under an advisory lock and recorded with their checksum."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg

from forecaster.domain.errors import StoreError
from forecaster.store.queries import queries

_SQL = queries("migrate")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``migrations/``: its number, its name and its text."""

    number: int
    name: str
    text: bytes

    @property
    def sha256(self) -> str:
        """Checksum of the text."""
        return hashlib.sha256(self.text).hexdigest()


def shipped() -> tuple[Migration, ...]:
    """Return the migrations of this release, in order."""
    files = resources.files("forecaster.store").joinpath("migrations").iterdir()
    found = [
        Migration(int(file.name.split("_")[0]), file.name, file.read_bytes())
        for file in files
        if file.name.endswith(".sql")
    ]
    return tuple(sorted(found, key=lambda migration: migration.number))


def migrate(connection: psycopg.Connection[Any]) -> int:
    """Apply what is missing, all in one transaction; return how many were applied.

    Raises
    ------
    StoreError
        When the database was written by a newer release or by other migrations.
    """
    with connection.transaction():
        connection.execute(_SQL["lock"])
        connection.execute(_SQL["create_journal"])
        applied = {row[0]: row for row in connection.execute(_SQL["applied"])}
        known = {migration.number: migration for migration in shipped()}
        for number, name, sha256 in applied.values():
            if number not in known:
                raise StoreError(
                    f"the database has migration {name}, which this release does not know",
                    "upgrade tidegate",
                )
            if known[number].sha256 != sha256:
                raise StoreError(
                    f"migration {name} of the database differs from that of this release",
                    "use the release that wrote the database, or a new database",
                )
        missing = [migration for number, migration in known.items() if number not in applied]
        for migration in missing:
            connection.execute(migration.text)
            connection.execute(
                _SQL["record"],
                {"number": migration.number, "name": migration.name, "sha256": migration.sha256},
            )
    return len(missing)
