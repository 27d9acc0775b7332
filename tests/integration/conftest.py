from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest

from forecaster.store import EmbeddedServer, Store
from tests.integration.api_world import noon_world, serve
from tests.integration.cli_runner import Runner
from tests.integration.daemon_world import World, learned_database, world

ROOT = Path(__file__).resolve().parents[2]
_numbers = count(1)


@pytest.fixture
def cli(
    dsn: str,
    open_folder: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Runner:
    """`tidegate` on a fresh database, in the folder of the repository."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("TIDEGATE_DSN", dsn)
    monkeypatch.setenv("TIDEGATE_HOME", str(open_folder()))
    return Runner(monkeypatch, capfd)


@pytest.fixture(scope="module")
def noon(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world at noon with a plan, units and some requests of every kind."""
    with noon_world(postgres, tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.fixture(scope="module")
def url(noon: World) -> Iterator[str]:
    """Its API without a token."""
    with serve(noon) as found:
        yield found


@pytest.fixture(scope="module")
def api(url: str) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(base_url=url, timeout=20.0) as client:
        yield client


@pytest.fixture
def learned_store(postgres: EmbeddedServer) -> Iterator[Store]:
    """Open a store with nine days of history and a champion."""
    with learned_database(postgres, f"learned_{next(_numbers)}") as found:
        yield found


@pytest.fixture
def shadow(learned_store: Store, tmp_path: Path) -> World:
    """A daemon at nine o'clock whose orders wait for a word."""
    found = world(learned_store, tmp_path, at_h=9, mode="approve")
    found.overload = False
    found.step()
    return found
