"""Shared fixtures: one embedded PostgreSQL per session, one database per test, the real traces."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import actuators  # noqa: F401  sets how gRPC behaves around a fork, before it is imported
from forecaster.store import EmbeddedServer, Store

ROOT = Path(__file__).resolve().parents[1]
TRACES = ROOT.parent / "shared" / "traces"
_TEMPLATE = "tidegate_template"
_numbers = count(1)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Callable[[], Path]]:
    """Make folders that an unprivileged account can reach (pytest's own are private to root)."""
    made: list[Path] = []

    def make() -> Path:
        folder = Path(tempfile.mkdtemp(prefix="tidegate-test-"))
        folder.chmod(0o755)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(open_folder: Callable[[], Path]) -> Iterator[EmbeddedServer]:
    """Run a real server with a migrated template database."""
    server = EmbeddedServer(open_folder() / "home")
    dsn = server.start()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"create database {_TEMPLATE}")
    with Store.open(make_conninfo(dsn, dbname=_TEMPLATE)) as template:
        template.migrate()
    yield server
    server.stop()


@pytest.fixture
def dsn(postgres: EmbeddedServer) -> Iterator[str]:
    """Name a fresh, migrated database."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"create database {name} template {_TEMPLATE}")
        yield make_conninfo(postgres.dsn, dbname=name)
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    """Open a store on a fresh, migrated database."""
    with Store.open(dsn) as opened:
        yield opened


@pytest.fixture(scope="session")
def traces() -> Path:
    """Folder of the real traces; tests that need them skip loudly where they are absent."""
    if not TRACES.is_dir():
        pytest.skip(f"the real traces are not at {TRACES}: put them there to run this test")
    return TRACES
