"""Logs followed while they are written: what logrotate does to them, kills, silence; each line once."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from forecaster.config import Settings
from forecaster.domain.errors import SettingError, StoreError, StoreUnavailableError
from forecaster.ingest import IngestOptions, follow
from forecaster.ingest.follow import LINGER_LOOKS, Follower
from forecaster.store import Store
from forecaster.wiring.checks import Health
from forecaster.wiring.meters import refuse_twice
from forecaster.wiring.tails import examine_tails, fed
from tests.integration.tier_helpers import until

T0_S = 1_736_121_600.0
FAR = (0.0, 4e9)


class Writer:
    """Writes numbered lines as a server does: its file stays open, whatever happens to its name."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self.file = path.open("ab", buffering=0)
        OPENED.append(self)

    def close(self) -> None:
        self.file.close()

    def line(self) -> bytes:
        self.count += 1
        row = {"timestamp": T0_S + self.count, "prompt_tokens": self.count, "output_tokens": 1}
        return json.dumps(row).encode() + b"\n"

    def write(self, lines: int = 1) -> None:
        self.file.write(b"".join(self.line() for _ in range(lines)))

    def half(self) -> Callable[[], None]:
        text = self.line()
        self.file.write(text[:20])
        return lambda: self.file.write(text[20:]) and None

    def reopen(self) -> None:
        self.file.close()
        self.file = self.path.open("ab", buffering=0)


def shift(path: Path) -> None:
    """Make room for a new `.1`."""
    for number in range(8, 0, -1):
        for suffix in ("", ".gz"):
            old = path.with_name(f"{path.name}.{number}{suffix}")
            if old.exists():
                old.rename(path.with_name(f"{path.name}.{number + 1}{suffix}"))


def rename(path: Path) -> None:
    shift(path)
    path.rename(path.with_name(f"{path.name}.1"))


def copytruncate(path: Path) -> None:
    shift(path)
    shutil.copy2(path, path.with_name(f"{path.name}.1"))
    os.truncate(path, 0)


def compress(path: Path, number: int = 1) -> None:
    plain = path.with_name(f"{path.name}.{number}")
    packed = plain.with_name(f"{plain.name}.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    os.utime(packed, ns=(plain.stat().st_atime_ns, plain.stat().st_mtime_ns))  # as gzip does
    plain.unlink()


OPTIONS = IngestOptions(service="chat", block_bytes=4096)


OPENED: list[Any] = []


def follower(store: Any, *patterns: Path | str) -> Follower:
    OPENED.append(Follower([str(each) for each in patterns], store, lambda: OPTIONS))
    return OPENED[-1]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def seen(store: Store) -> list[int]:
    """Numbers of the lines that were counted, in order."""
    if "chat" not in [each.name for each in store.services()]:
        return []
    return sorted(store.request_rows("chat", *FAR).prompt_tokens.tolist())


def known(store: Store) -> list[int]:
    """The same where nobody writes any more: demand says so, too."""
    found = seen(store)
    assert not found or store.slots("chat").arrivals.sum() == len(found)
    return found


def up_to(count: int) -> list[int]:
    return list(range(1, count + 1))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "requests.jsonl"


def test_lines_are_read_as_they_come_and_a_half_one_when_it_is_whole(
    store: Store, log: Path
) -> None:
    found = follower(store, log)
    found.look()
    assert (found.files, found.failures) == (0, {})
    writer = Writer(log)
    found.look()
    end = writer.half()
    found.look()
    assert known(store) == []
    end()
    writer.write(200)
    found.look()
    assert known(store) == up_to(201)
    end = writer.half()
    found.look()
    found.close()
    again = follower(store, log)
    again.look()
    end()
    again.look()
    assert known(store) == up_to(202)
    assert (found.accepted, again.accepted, again.rejected) == (201, 1, 0)
    before = store.slots("chat").start_s.size
    again.look()
    assert store.slots("chat").start_s.size == before, "silence is not zero: nothing is stored"


@pytest.mark.parametrize("restart", [False, True], ids=["running", "killed"])
def test_rotation_by_renaming(store: Store, log: Path, restart: bool) -> None:
    writer, found = Writer(log), follower(store, log)
    writer.write(3)
    found.look()
    writer.write(2)
    rename(log)
    if restart:
        found = follower(store, log)  # the one before was killed
    else:
        found.look()
    writer.write(2)  # it has not been told yet
    writer.reopen()
    writer.write(4)
    found.look()
    found.look()
    assert known(store) == up_to(11)
    writer.write(5)
    rename(log)
    compress(log)
    writer.reopen()
    writer.write(1)
    found = follower(store, log) if restart else found
    found.look()
    assert known(store) == up_to(17)
    for _ in range(LINGER_LOOKS + 2):
        found.look()
    assert found.files == 1


@pytest.mark.parametrize("restart", [False, True], ids=["running", "killed"])
def test_rotation_by_truncating(store: Store, log: Path, restart: bool) -> None:
    writer, found = Writer(log), follower(store, log)
    writer.write(30)
    found.look()
    writer.write(5)
    copytruncate(log)
    writer.write(40)  # longer than what was read before
    found = follower(store, log) if restart else found
    found.look()
    assert known(store) == up_to(75)
    copytruncate(log)
    compress(log)
    found.look()
    writer.write(1)
    found.look()
    assert known(store) == up_to(76)


def test_files_that_come_and_go_under_a_pattern(store: Store, tmp_path: Path) -> None:
    found = follower(store, tmp_path / "pod-*" / "*.log*")
    writers = []
    for pod in ("pod-a", "pod-b"):
        (tmp_path / pod).mkdir()
        writers.append(Writer(tmp_path / pod / "r.log"))
    first, second = writers
    first.write(10)
    found.look()
    second.count = 10
    second.write(10)
    rename(second.path)  # the rotated file has a name of the pattern, too
    second.reopen()
    second.write(1)
    found.look()
    compress(second.path)
    found.look()
    found.look()
    assert known(store) == up_to(21)
    first.count = 21
    first.write(2)
    first.path.unlink()
    found.look()
    assert known(store) == up_to(23), "removed, and read to its end"
    assert found.failures == {}


def test_what_lay_there_before_anybody_asked_is_left_alone(store: Store, log: Path) -> None:
    old = Writer(log.with_name("requests.jsonl.1"))
    old.count = 100
    old.write(3)
    hour_ago_s = log.parent.stat().st_mtime - 3600
    os.utime(old.path, (hour_ago_s, hour_ago_s))
    Writer(log).write(2)
    found = follower(store, log)
    found.look()
    assert known(store) == up_to(2)
    follower(store, log).look()
    assert known(store) == up_to(2)


class Flaky:
    """A store that fails, before or after it has stored."""

    def __init__(self, store: Store, plan: list[str]) -> None:
        self.store, self.plan = store, plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def append_requests(self, *asked: Any) -> Any:
        fate = self.plan.pop() if self.plan else ""
        if fate == "before":
            raise StoreUnavailableError("away", "wait")
        done = self.store.append_requests(*asked)
        if fate == "after":
            raise StoreUnavailableError("away", "wait")
        return done


def test_a_database_that_is_away_loses_nothing_through_a_rotation(store: Store, log: Path) -> None:
    flaky = Flaky(store, [])
    found = follower(flaky, log)
    writer = Writer(log)
    writer.write(5)
    found.look()
    for fate, rotate in (("before", copytruncate), ("after", rename)):
        writer.write(5)
        flaky.plan = [fate]
        with pytest.raises(StoreUnavailableError):
            found.look()
        rotate(log)
        writer.reopen()
        writer.write(2)
        found.look()
    assert known(store) == up_to(19)


def test_a_chain_that_moves_on_while_it_is_read(
    store: Store, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, first = Writer(log), follower(store, log)
    writer.write(5)
    first.look()
    writer.write(5)
    rename(log)
    writer.reopen()
    writer.write(5)
    stale, listed = follow._siblings(log), follow._siblings
    rename(log)
    writer.reopen()
    writer.write(5)
    listings = [stale]  # what was .1 when it was listed is .2 when it is opened
    monkeypatch.setattr(
        follow, "_siblings", lambda path: listings.pop() if listings else listed(path)
    )
    found = follower(store, log)
    for _ in range(3):
        found.look()
    assert known(store) == up_to(20)
    assert found.failures == {}


def test_bad_lines_are_counted_and_bad_files_hold_no_others(
    store: Store, tmp_path: Path, log: Path
) -> None:
    writer = Writer(log)
    writer.write(1)
    writer.file.write(b"not json\n" + b"x" * (3 << 20) + b"\n")
    writer.write(1)
    (tmp_path / "array.jsonl").write_text("[\n{}\n]\n")
    found = follower(store, tmp_path / "*.jsonl")
    found.look()
    assert known(store) == up_to(2)
    assert found.rejected == 2
    assert list(found.failures) == [str(tmp_path / "array.jsonl")]


def test_two_who_follow_the_same_file_count_it_once(store: Store, log: Path) -> None:
    writer, one, two = Writer(log), follower(store, log), follower(store, log)
    for _ in range(6):
        writer.write(4)
        one.look()
        two.look()
    assert known(store) == up_to(24)


def test_the_command_is_killed_and_interrupted_and_loses_nothing(
    store: Store, dsn: str, log: Path, open_folder: Callable[[], Path]
) -> None:
    writer = Writer(log)
    # `env` instead of code between fork and exec: threads of this process may hold locks there
    argv = ["env", "--default-signal=INT", sys.executable, "-m", "forecaster.cli", "ingest",
            "--follow", str(log), "-s", "chat", "--format", "json"]  # fmt: skip
    environment = os.environ | {"TIDEGATE_DSN": dsn, "TIDEGATE_HOME": str(open_folder())}
    for number in (signal.SIGKILL, signal.SIGINT):
        writer.write(20)
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            until(lambda: seen(store) == up_to(writer.count), "the lines")
            writer.write(5)
            rename(log)
            writer.reopen()
            writer.write(5)
            process.send_signal(number)
            said, _ = process.communicate(timeout=20)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0
    assert json.loads(said)["failures"] == {}
    found = follower(store, log)
    found.look()
    assert known(store) == up_to(writer.count)


def test_the_daemon_follows_what_its_settings_name(
    store: Store, tmp_path: Path, log: Path, open_folder: Callable[[], Path]
) -> None:
    writer, shared = Writer(log), tmp_path / "gateway.jsonl"
    writer.write(4)
    row = {"timestamp": T0_S, "model": "web", "prompt_tokens": 1, "output_tokens": 1}
    shared.write_text(json.dumps(row) + "\n")
    settings = Settings(
        home=open_folder(), ingest={"tail": [str(shared)]},
        service=({"name": "chat", "unit": "tiny-llama", "tail": [str(tmp_path / "req*.jsonl")]},),
    )  # fmt: skip
    daemon: Any = SimpleNamespace(leads=False, failures={})
    with fed(settings, store, daemon):
        until(lambda: len(store.services()) == 2, "both logs")
        writer.write(4)
        until(lambda: seen(store) == up_to(8), "what was added")
        assert daemon.failures == {}
        log.write_text("[\n")
        until(lambda: "tail chat" in daemon.failures, "what is wrong")
    checks = {each.says: each.health for each in examine_tails(settings)}
    assert set(checks.values()) == {Health.OK}
    nowhere = Settings(ingest={"tail": [str(tmp_path / "none")]})
    assert [each.health for each in examine_tails(nowhere)] == [Health.WARN]


def test_one_source_for_a_service(log: Path) -> None:
    service = {"name": "chat", "unit": "tiny-llama", "tail": [str(log)]}
    with pytest.raises(ValueError, match="count the same requests twice"):
        Settings(service=(service | {"metrics": {"source": "spans"}},))
    with pytest.raises(SettingError, match="it logs its own requests"):
        refuse_twice(Settings(service=(service,)))


STEPS = st.sampled_from(
    ["write", "write", "look", "look", "half", "rename", "copytruncate", "compress", "kill",
     "before", "after"]
)  # fmt: skip


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(STEPS, min_size=8, max_size=30), st.integers(0, 2**32))
def test_any_sequence_of_writes_rotations_and_kills_counts_each_line_once(
    dsn: str, tmp_path: Path, steps: list[str], seed: int
) -> None:
    note(" ".join(steps))
    rng = np.random.default_rng(seed)
    folder = tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    log = folder / "requests.jsonl"
    with Store.open(dsn) as store:
        forget(store)
        flaky = Flaky(store, [])
        found, writer = follower(flaky, log), Writer(log)
        writer.write(1)
        found.look()
        end: Callable[[], None] | None = None
        for step in [*steps, "look"]:
            if end is not None and step != "look":
                end()
                end = None
            if step == "write":
                writer.write(int(rng.integers(1, 60)))
            elif step == "half":
                end = writer.half()
            elif step == "rename":
                rename(log)
                writer.reopen()
            elif step == "copytruncate":
                copytruncate(log)
            elif step == "compress" and log.with_name(f"{log.name}.1").exists():
                compress(log)
            elif step == "kill":
                found = follower(flaky, log)
            else:
                flaky.plan = [step] if step in ("before", "after") else []
                with suppress(StoreError):
                    found.look()
        flaky.plan = []
        if end is not None:
            end()
        for _ in range(2):
            found.look()
        assert known(store) == up_to(writer.count)
        assert found.failures == {}
        while OPENED:
            OPENED.pop().close()


def forget(store: Store) -> None:
    with store._pool.transaction() as connection:
        for table in ("source", "request", "demand_slot", "service"):
            connection.execute(f"delete from {table}".encode())
