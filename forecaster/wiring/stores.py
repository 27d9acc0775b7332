"""Opening the store: the user's PostgreSQL, or the embedded one."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from forecaster.config import Settings
from forecaster.config.load import state_home
from forecaster.domain.errors import StoreError, TidegateError
from forecaster.store import EmbeddedServer, Store
from forecaster.store.binaries import Account, server_home
from forecaster.wiring.signals import shielded

log = logging.getLogger(__name__)
LOOK_S = 5.0
"""Between two looks at the embedded server."""


@contextmanager
def open_store(settings: Settings, home: Path | None = None) -> Iterator[Store]:
    """Open and migrate the store; an embedded server is started if need be and stopped at the end.

    Parameters
    ----------
    settings : Settings
        ``dsn`` names a server of the user's; empty = embedded under the state folder.
    home : Path, optional
        State folder, when it is not the configured one.
    """
    if settings.dsn:
        with Store.open(settings.dsn) as store:
            store.migrate()
            yield store
        return
    folder = home or ensure_home(settings)
    with ExitStack() as stack:
        with shielded():
            server = stack.enter_context(EmbeddedServer(folder))
        store = stack.enter_context(Store.open(server.dsn))
        store.migrate()
        stack.enter_context(watched(server))
        yield store


@contextmanager
def watched(server: EmbeddedServer) -> Iterator[None]:
    """Start the embedded server again whenever it has gone: nobody else supervises it."""
    over = threading.Event()

    def look() -> None:
        said = ""
        while not over.wait(LOOK_S):
            try:
                if server.running():
                    said = ""
                    continue
                if not said:
                    log.warning("the embedded database is gone: it is started again")
                said = said or "gone"
                server.start()
            except (TidegateError, OSError) as error:  # a disk that is full, or read-only
                if str(error) != said:
                    log.warning("%s", error)
                said = str(error)

    dog = threading.Thread(target=look, name="database-watch", daemon=True)
    dog.start()
    try:
        yield
    finally:
        over.set()
        dog.join()


def stop_leftover(home: Path) -> None:
    """Stop the embedded server that a killed process left in `home`, if there is one."""
    if not home.exists():
        return
    lock = server_home(home, Account.here()) / "data" / "postmaster.pid"
    if lock.exists():
        with shielded(), suppress(StoreError), EmbeddedServer(home):
            pass  # joined as its last user: leaving stops it


@contextmanager
def sole_use(home: Path) -> Iterator[None]:
    """Keep a second demo out of `home` while one runs; the kernel forgets it however that one ends.

    Raises
    ------
    StoreError
        When another process holds it.
    """
    held = os.open(home / "demo.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(held)
        raise StoreError(
            f"another demo runs in {home}", "stop it, or set TIDEGATE_HOME to another folder"
        ) from error
    try:
        yield
    finally:
        os.close(held)


def ensure_home(settings: Settings) -> Path:
    """Make the state folder.

    Raises
    ------
    StoreError
        When it cannot be written to.
    """
    home = state_home(settings)
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe = home / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StoreError(
            f"home = {str(home)!r} cannot be written to: {error.strerror}",
            "set TIDEGATE_HOME to a folder of yours",
        ) from error
    return home
