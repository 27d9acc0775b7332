"""The embedded server: shared, crash-safe, never reaching into folders that are not ours."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from forecaster.config import Settings
from forecaster.domain.errors import StoreError
from forecaster.store import EmbeddedServer, Store
from forecaster.wiring.stores import open_store
from tests.integration.tier_helpers import until

OWNER = """
import sys
from pathlib import Path
from forecaster.store import EmbeddedServer, Store

dsn = EmbeddedServer(Path(sys.argv[1])).start()
with Store.open(dsn) as store:
    store.migrate()
    store.append_decision("chat", 1.0, {}, {"kept": True}, False)
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(open_folder: Callable[[], Path]) -> Path:
    return open_folder() / "home"


def postmaster_pid(home: Path) -> int:
    return int((home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])


def test_the_last_user_stops_the_server(home: Path) -> None:
    first, second = EmbeddedServer(home), EmbeddedServer(home)
    assert first.start() == second.start() == first.start()
    first.stop()
    assert second.running()
    second.stop()
    assert not second.running()
    second.stop()
    with first:
        assert first.running()
    assert not first.running()


def test_kill_nine_of_the_owner_then_of_the_server(home: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"ready\n"
        owner.send_signal(signal.SIGKILL)
    server = EmbeddedServer(home)
    with Store.open(server.start()) as store:
        assert store.decisions("chat")[0].output == {"kept": True}
        os.kill(postmaster_pid(home), signal.SIGKILL)
        server.start()
        assert store.decisions("chat")[0].output == {"kept": True}
    server.stop()
    assert not server.running()


def test_what_orders_takes_all_before_it_to_the_disk(home: Path) -> None:
    server = EmbeddedServer(home)
    with Store.open(server.start()) as store:
        store.migrate()
        for number in range(20):
            store.append_decision("chat", number, {}, {}, ordered=False, durable=False)
            assert len(store.decisions("chat")) == number + 1  # seen at once
        store.append_decision("chat", 20.0, {}, {}, ordered=True)
        os.kill(postmaster_pid(home), signal.SIGKILL)
        server.start()
        assert [row.at_s for row in store.decisions("chat", limit=30)] == [*range(20, -1, -1)]
    server.stop()


def test_a_stale_pid_file_of_somebody_else_is_forgotten(home: Path) -> None:
    with EmbeddedServer(home):
        pid_file = (home / "postgres" / "data" / "postmaster.pid").read_text()
    lines = [str(os.getpid()), *pid_file.splitlines()[1:]]
    stale = home / "postgres" / "data" / "postmaster.pid"
    stale.write_text("\n".join(lines) + "\n")
    with EmbeddedServer(home) as server:
        assert server.running()


def test_the_server_has_its_own_session_and_no_network(home: Path) -> None:
    with EmbeddedServer(home) as server:
        pid = postmaster_pid(home)
        assert os.getsid(pid) != os.getsid(0)
        with psycopg.connect(server.dsn) as connection:
            shown = connection.execute("show listen_addresses").fetchone()
            assert shown == ("",)
        if os.geteuid() == 0:
            assert Path(f"/proc/{pid}").stat().st_uid != 0


def test_only_our_own_folders_are_touched(open_folder: Callable[[], Path]) -> None:
    parent = open_folder()
    before = parent.stat()
    with EmbeddedServer(parent / "home"):
        socket = parent / "home" / "postgres" / "socket"
        data = parent / "home" / "postgres" / "data"
        assert stat.S_IMODE(socket.stat().st_mode) == stat.S_IMODE(data.stat().st_mode) == 0o700
    after = parent.stat()
    assert (before.st_mode, before.st_uid) == (after.st_mode, after.st_uid)


def test_a_long_home_gets_a_short_socket_folder(open_folder: Callable[[], Path]) -> None:
    server = EmbeddedServer(open_folder() / ("long" * 30))
    with server:
        socket = Path(psycopg.conninfo.conninfo_to_dict(server.dsn)["host"])  # type: ignore[arg-type]
        assert len(str(socket)) < 80
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    for left in socket.iterdir():
        left.unlink()
    socket.rmdir()


def test_a_home_with_spaces_and_quotes(open_folder: Callable[[], Path]) -> None:
    with EmbeddedServer(open_folder() / "it's my home") as server:
        assert server.running()


def test_data_of_another_version_is_refused(home: Path) -> None:
    with EmbeddedServer(home):
        pass
    (home / "postgres" / "data" / "PG_VERSION").write_text("11\n")
    with pytest.raises(StoreError, match="was written by PostgreSQL 11"):
        EmbeddedServer(home).start()


def test_a_server_that_does_not_start_says_why(home: Path) -> None:
    with EmbeddedServer(home):
        pass
    (home / "postgres" / "data" / "postgresql.conf").write_text("nonsense = 1\n")
    with pytest.raises(StoreError, match=r"did not start: .*contains errors") as caught:
        EmbeddedServer(home).start()
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_named(open_folder: Callable[[], Path]) -> None:
    folder = open_folder()
    folder.chmod(0o500)
    with pytest.raises(StoreError, match="TIDEGATE_HOME"):
        EmbeddedServer(folder / "home").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps folders from the server's account")
def test_a_home_private_to_root_moves_only_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_folder: Callable[[], Path]
) -> None:
    monkeypatch.setattr("forecaster.store.binaries.SHARED_FOLDER", open_folder() / "tidegate")
    (tmp_path / "private").mkdir(mode=0o700)
    private = tmp_path / "private"
    with EmbeddedServer(private / "home") as server:
        assert str(private) not in server.dsn
        assert server.running()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    with EmbeddedServer(private / "home") as server:
        assert server.running()


def test_programs_are_copied_when_their_folder_is_private(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forecaster.store.binaries import Account

    original = Account.can_run
    monkeypatch.setattr(
        Account,
        "can_run",
        lambda self, program: "site-packages" not in str(program) and original(self, program),
    )
    with EmbeddedServer(home) as server:
        assert server.running()
        assert list((home / "postgres" / "programs").rglob("bin/postgres"))


def test_a_server_that_dies_under_a_command_that_runs_is_started_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forecaster.wiring.stores.LOOK_S", 0.02)
    with open_store(Settings(home=home)) as store:
        store.append_decision("chat", 1.0, {}, {"kept": True}, False)
        before = postmaster_pid(home)
        os.kill(before, signal.SIGKILL)

        def kept() -> bool:
            try:
                return postmaster_pid(home) != before and bool(store.decisions("chat"))
            except (StoreError, OSError, IndexError):
                return False

        until(kept, "the database is back with what it held")
