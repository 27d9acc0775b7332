"""Runs `tidegate` in this process: argv in, (exit code, stdout, stderr) out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from forecaster.cli import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line that a failure must be."""
        lines = [line for line in self.err.splitlines() if line]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        assert "Traceback" not in self.err
        return lines[0]


class Runner:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def __call__(self, *argv: object) -> Ran:
        self._monkeypatch.setattr("sys.argv", ["tidegate", *map(str, argv)])
        self._capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        out, err = self._capfd.readouterr()
        return Ran(code, out, err)
