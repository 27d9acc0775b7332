"""A disk that is really full, and really read-only, under a real tier, daemon, database and clients."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.outage import Looks, settled
from benchmarks.storm_proof import lost
from benchmarks.storm_world import Clients, DaemonProcess, World, tier_of, world
from forecaster.store.binaries import Account, programs, server_home
from tests.integration.small_disk import full, read_only, small_disk
from tests.integration.tier_helpers import until

MEGABYTES = 400


@dataclass
class Running:
    found: World
    daemon: DaemonProcess
    clients: Clients
    looks: Looks

    def notes(self) -> list[str]:
        return self.looks.look(self.found.urls["one"])

    def says(self, words: str) -> None:
        """Wait until a service says `words` of itself."""
        until(lambda: any(words in note for note in self.notes()), f"{words!r}; {self.looks.notes}")

    def serves(self) -> None:
        """Wait for answers that are given from now on."""
        before = self.clients.outcomes["200"]
        until(lambda: self.clients.outcomes["200"] > before + 5, "answers")

    def recovers(self) -> None:
        with tier_of(self.found) as tier:
            until(
                lambda: settled(self.found, tier.stats(), self.notes()),
                f"calm; {self.looks.notes}\n{self.log}",
            )

    def doctor(self) -> str:
        done = subprocess.run(
            self.found.command("doctor"), env=self.found.environment(), capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def log(self) -> str:
        return (self.found.folder / "one.log").read_text()


@pytest.fixture
def running(open_folder: Callable[[], Path]) -> Iterator[Running]:
    folder = open_folder()
    with (
        small_disk(folder / "home", MEGABYTES), world(folder) as found, tier_of(found) as tier,
        Clients(tier.stats()["url"], seed=1) as clients, started(found) as daemon,
    ):  # fmt: skip
        it = Running(found, daemon, clients, Looks())
        it.recovers()
        yield it


@contextmanager
def started(found: World) -> Iterator[DaemonProcess]:
    daemon = DaemonProcess("one", found)
    daemon.start()
    try:
        until(lambda: daemon.ready, "the daemon")
        yield daemon
    finally:
        if daemon.process is not None:
            daemon.end(signal.SIGTERM)


def test_serving_goes_on_and_nothing_is_lost(running: Running) -> None:
    with full(running.found.home):
        running.says("No space left on device")
        running.serves()
        assert "free some space" in running.doctor()
        running.serves()
    running.recovers()
    with read_only(running.found.home):
        running.says("Read-only file system")
        running.serves()
        assert "Read-only file system" in running.doctor()
        running.serves()
    running.recovers()
    process = running.daemon.process
    assert process is not None
    assert process.poll() is None, "the daemon lived through both"
    assert set(running.looks.answers) == {"200"}, "and answered"
    running.clients.stop()
    running.recovers()
    assert set(running.clients.outcomes) == {"200"}, "every request was answered"
    with tier_of(running.found) as tier:
        assert lost(running.found, tier) == []
    often = Counter(line.split(" ", 1)[-1] for line in running.log.splitlines())
    assert [line for line, times in often.items() if times > 4] == [], "said once, not once a tick"
    assert "Traceback" not in running.log, running.log
    running.daemon.end(signal.SIGTERM)
    running.daemon.process = None
    intact(running.found)


def intact(found: World) -> None:
    """Every page of the database carries the checksum of what is in it."""
    folder = server_home(found.home, Account.here())
    bin_folder = programs(folder, Account.here())
    found.server.stop()
    said = Account.here().run([bin_folder / "pg_checksums", "--check", "-D", folder / "data"])
    assert "Bad checksums:  0" in said
    found.server.start()
