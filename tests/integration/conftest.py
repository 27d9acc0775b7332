from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli_runner import Runner

ROOT = Path(__file__).resolve().parents[2]


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
