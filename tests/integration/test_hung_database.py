"""A database that hangs, instead of refusing: nobody waits for it without end, and nothing is lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from forecaster.domain.errors import StoreUnavailableError
from forecaster.store import EmbeddedServer, Store, answering
from forecaster.store.binaries import Account, server_home
from forecaster.store.leadership import Leadership
from tests.integration.tier_helpers import children_of, until


@pytest.fixture
def server(open_folder: Callable[[], Path]) -> Iterator[EmbeddedServer]:
    """A server of this test's own: it is stopped in its tracks."""
    found = EmbeddedServer(open_folder() / "home")
    found.start()
    yield found
    found.stop()


@contextmanager
def hung(server: EmbeddedServer) -> Iterator[None]:
    lock = server_home(server.home, Account.here()) / "data" / "postmaster.pid"
    postmaster = int(lock.read_text().split("\n", 1)[0])
    os.kill(postmaster, signal.SIGSTOP)
    stopped = [postmaster, *children_of(postmaster)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(stopped):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_who_waits_is_told_and_who_asks_next_hears_at_once(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "SILENT_S", 0.2)
    knocks: list[str] = []
    knock = answering.answers
    monkeypatch.setattr(answering, "answers", lambda dsn: (knocks.append(dsn), knock(dsn))[1])
    with Store.open(server.dsn) as store:
        store.migrate()
        leader = Leadership(server.dsn, "one")
        number = leader.hold()
        with hung(server):
            with pytest.raises(StoreUnavailableError, match=r"timeout expired|answers nobody"):
                store.switched()
            assert knocks
            before = len(knocks)
            for _ in range(100):  # a tick of many services: nobody knocks for each of them
                with pytest.raises(StoreUnavailableError):
                    store.switched()
            assert len(knocks) - before <= 2
            assert leader.hold() == number, "nobody could be elected meanwhile"
        until(lambda: _answers(store), "the store again")
        assert leader.hold() == number
        leader.close()


def _answers(store: Store) -> bool:
    try:
        store.switched()
    except StoreUnavailableError:
        return False
    return True


def test_long_work_of_a_server_that_answers_others_goes_on(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "SILENT_S", 0.05)
    knocks = threading.Event()
    knock = answering.answers

    def noted(dsn: str) -> bool:
        knocks.set()
        return knock(dsn)

    monkeypatch.setattr(answering, "answers", noted)
    with (
        psycopg.connect(server.dsn, autocommit=True) as other,
        answering.AnsweringConnection.connect(server.dsn, autocommit=True) as one,
    ):
        other.execute("select pg_advisory_lock(1)")
        waiting = threading.Thread(target=lambda: one.execute("select pg_advisory_lock(1)"))
        waiting.start()
        assert knocks.wait(30.0), "it waits long enough to ask"
        other.execute("select pg_advisory_unlock(1)")
        waiting.join(30.0)
        assert not waiting.is_alive()
        assert one.execute("select 1").fetchone() == (1,)
