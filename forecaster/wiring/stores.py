"""Opening the store: the user's PostgreSQL, or the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forecaster.config import Settings
from forecaster.config.load import state_home
from forecaster.domain.errors import StoreError
from forecaster.store import EmbeddedServer, Store


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
    with EmbeddedServer(folder) as server, Store.open(server.dsn) as store:
        store.migrate()
        yield store


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
