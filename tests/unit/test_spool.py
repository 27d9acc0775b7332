"""The spool: what must survive a lost database and a crash at any byte."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from forecaster.daemon.floor import floor_table
from forecaster.daemon.spool import Spool
from forecaster.domain.errors import StoreError, StoreUnavailableError
from forecaster.domain.plan import Binding, Reason, SlotPlan, TideTable
from forecaster.domain.service import Limits
from forecaster.planning.policy import Policy

SLOTS = tuple(
    SlotPlan(60.0 * i, 0.1 + i / 3, 0.2 + i, i / 7, i, i + 1, i / 11, Reason.LOAD, Binding.TTFT)
    for i in range(5)
)
TABLE = TideTable("chat", 1.5, 60.0, 30.0, 0.0, 6, 12.5, SLOTS)


def entry(number: int) -> dict[str, Any]:
    return {"service": "chat", "at_s": float(number), "inputs": {}, "output": {}, "ordered": True}


def drained(spool: Spool) -> list[float]:
    seen: list[float] = []
    spool.drain(lambda each: seen.append(each["at_s"]))
    return seen


def test_a_table_comes_back_as_it_was_with_its_number(tmp_path: Path) -> None:
    Spool(tmp_path).keep_table(TABLE, 17)
    assert Spool(tmp_path).last_table("chat") == (TABLE, 17)
    assert Spool(tmp_path).last_table("other") == (None, 0)


@pytest.mark.parametrize("kept", [0, 1, 40, 200])
def test_a_torn_table_is_no_table(tmp_path: Path, kept: int) -> None:
    spool = Spool(tmp_path)
    spool.keep_table(TABLE, 1)
    (path,) = spool.folder.iterdir()
    path.write_bytes(path.read_bytes()[:kept])
    assert spool.last_table("chat") == (None, 0)


def test_names_that_are_no_file_names_have_their_own_table(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    policy = Policy(Limits(min_units=2))
    names = ["../../etc/passwd", "a/b", "a b", "ä"]
    for name in names:
        spool.keep_table(floor_table(name, policy, 0.0), 1)
    assert [spool.last_table(name)[0].service for name in names] == names  # type: ignore[union-attr]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plans"]


def test_entries_are_handed_over_once_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(5):
        spool.push(entry(number))
    assert drained(Spool(tmp_path)) == [0, 1, 2, 3, 4]
    assert drained(spool) == []


def test_what_is_refused_stays_for_the_next_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(5):
        spool.push(entry(number))
    taken: list[float] = []

    def until_two(each: dict[str, Any]) -> None:
        if each["at_s"] == 2:
            raise StoreUnavailableError("the database is away")
        taken.append(each["at_s"])

    with pytest.raises(StoreUnavailableError):
        spool.drain(until_two)
    assert taken == [0, 1]
    spool.push(entry(5))
    assert drained(spool) == [2, 3, 4, 5]


@pytest.mark.parametrize("lost", [1, 2, 30])
def test_a_line_cut_short_takes_no_other_with_it(tmp_path: Path, lost: int) -> None:
    spool = Spool(tmp_path)
    spool.push(entry(0))
    spool.push(entry(1))
    with spool.journal.open("r+b") as file:  # a crash while the last line was written
        file.truncate(spool.journal.stat().st_size - lost)
    spool.push(entry(2))
    whole = [0, 1, 2] if lost == 1 else [0, 2]  # only the line's end was missing
    assert drained(spool) == whole


def test_what_is_pushed_while_others_are_taken_is_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.push(entry(0))
    inside, pushed = threading.Event(), threading.Event()

    def slow(_entry: dict[str, Any]) -> None:
        inside.set()
        assert pushed.wait(10)

    worker = threading.Thread(target=spool.drain, args=(slow,))
    worker.start()
    assert inside.wait(10)
    spool.push(entry(1))
    pushed.set()
    worker.join(10)
    assert drained(spool) == [1]


def test_a_full_spool_keeps_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forecaster.daemon.spool.MAX_SPOOLED_BYTES", 200)
    spool = Spool(tmp_path)
    for number in range(50):
        spool.push(entry(number))
    found = drained(spool)
    assert found == list(range(len(found)))
    assert 1 < len(found) < 5


def test_two_daemons_in_one_folder_hand_over_each_entry_once(tmp_path: Path) -> None:
    one, two = Spool(tmp_path), Spool(tmp_path)
    for number in range(4):
        (one, two)[number % 2].push(entry(number))
    seen: list[float] = []

    def take(each: dict[str, Any]) -> None:
        assert drained(two) == [], "the other one is at it"
        two.push(entry(10 + int(each["at_s"])))
        seen.append(each["at_s"])

    assert one.drain(take) == 4
    assert seen == [0.0, 1.0, 2.0, 3.0]
    assert drained(two) == [10.0, 11.0, 12.0, 13.0]


def test_a_daemon_that_is_stopped_while_it_writes_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forecaster.daemon.spool.LOCK_S", 0.0)
    one, two = Spool(tmp_path), Spool(tmp_path)
    with one._alone():
        two.push(entry(1))
    assert drained(two) == [1.0]


@pytest.mark.parametrize("why", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_said_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    spool = Spool(tmp_path)
    spool.keep_table(TABLE, 1)
    spool.push(entry(1))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(why, os.strerror(why))

    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_bytes", refuse)
        disk.setattr(Path, "open", refuse)
        for write in (lambda: spool.keep_table(TABLE, 2), lambda: spool.push(entry(2))):
            with pytest.raises(StoreError, match=os.strerror(why)):
                write()
    assert Spool(tmp_path).last_table("chat") == (TABLE, 1)
    assert drained(spool) == [1.0]
    assert {each.suffix for each in spool.folder.iterdir()} == {".json"}
