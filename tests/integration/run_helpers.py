"""Starts `tidegate` as a user does, reads what it says, and finds every process that it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.integration.tier_helpers import until

ROOT = Path(__file__).resolve().parents[2]
TIDEGATE = ROOT / ".venv" / "bin" / "tidegate"
START_WITHIN_S = 120.0
GONE_WITHIN_S = 60.0
STOPPED_WITHIN_S = 20.0
"""Ten seconds are promised; a loaded test machine gets twice that."""
DEMO = ("run", "--demo", "--api-port", "0", "--tier-port", "0")


def environment(home: Path, **more: str) -> dict[str, str]:
    """A home of its own, cheap training, nothing else of the caller's settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")}
    return kept | {
        "TIDEGATE_HOME": str(home),
        "TIDEGATE_RETRAIN__MEMBERS": '["profile", "ridge"]',
        "PYTHONUNBUFFERED": "1",
        **more,
    }


class Tidegate:
    """One running command."""

    def __init__(self, home: Path, *argv: str, **more: str) -> None:
        self.home = home
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # a shell that runs the tests in the background lets them, and what they start, ignore it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            [TIDEGATE, *argv],
            cwd=ROOT,
            env=environment(home, **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err)),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Tidegate:
        return self

    def __exit__(self, *_error: object) -> None:
        """After a failure: end it as a user would, so that what it started ends too."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(GONE_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.ended()

    def document(self) -> Any:
        """The one JSON document on standard output, as soon as it is whole."""

        def whole() -> Any:
            assert self.process.poll() is None, self.said
            text = "".join(self.out)
            end = text.find("\n}\n")
            return json.loads(text[: end + 3]) if end >= 0 else None

        return until(whole, f"the JSON document; said so far: {self.said}", START_WITHIN_S)

    def line(self, text: str) -> None:
        """Wait until standard error says `text`."""
        until(
            lambda: text in "".join(self.err) or self.process.poll() is not None,
            f"{text!r} on standard error",
            START_WITHIN_S,
        )
        assert text in "".join(self.err), self.said

    def send(self, number: signal.Signals) -> float:
        """Send a signal; return the moment."""
        self.process.send_signal(number)
        return time.monotonic()

    def ended(self, within_s: float = GONE_WITHIN_S) -> int:
        """Wait for the end; return the exit status."""
        status = self.process.wait(within_s)
        for reader in self._readers:
            reader.join(within_s)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return status

    @property
    def said(self) -> str:
        return "".join(self.out) + "".join(self.err)

    @staticmethod
    def _read(pipe: Any, into: list[str]) -> None:
        into.extend(pipe)  # each line as it comes


def left_by(home: Path) -> list[str]:
    """Command lines of processes that work for this home: by argument, environment or folder."""
    found = []
    wanted = os.fsencode(home)
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
            names = command + b"\0" + (folder / "environ").read_bytes()
            names += b"\0" + os.fsencode((folder / "cwd").readlink())
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if wanted in names and state not in "ZX":
            found.append(f"{folder.name} {command.replace(bytes(1), b' ').decode()[:120]}")
    return found


def nothing_left(home: Path, within_s: float = GONE_WITHIN_S) -> None:
    """Every process of `home` ends within the deadline."""
    until(lambda: not left_by(home) or None, f"the end of {left_by(home)}", within_s)


def ready(url: str) -> Callable[[], bool]:
    """Whether every service of a running installation has a ready unit."""

    def check() -> bool:
        services = httpx.get(f"{url}/v1/services", timeout=20.0).json()["services"]
        return all(each["units"]["ready"] >= 1 for each in services)

    return check
