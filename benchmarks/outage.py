"""The database away for minutes, under a real tier, a real daemon and real clients.

python -m benchmarks.outage [--minutes 10] [--kind hung --kind down] [--out summary.json]

`hung`: every process of PostgreSQL is stopped (SIGSTOP), so that it neither answers nor refuses; `down`: it is shut
down. What was promised is then held against the tier's own record, see `benchmarks.storm_proof`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson

from benchmarks.storm_proof import lost, record_of
from benchmarks.storm_world import Clients, DaemonProcess, World, tier_of, world
from forecaster.domain.errors import TidegateError
from forecaster.store import Store
from forecaster.store.binaries import Account, server_home

KINDS = ("hung", "down")
CALM_S = 20.0
"""Before the outage, with a plan in force."""
LOOK_S = 2.0
BACK_WITHIN_S = 300.0
Say = Callable[[str], None]


@dataclass
class Looks:
    """What an operator sees who looks every two seconds.

    Attributes
    ----------
    answers : Counter
        Of ``GET /v1/services``, by status or error.
    notes : Counter
        What services said of themselves.
    held : list of int
        Units of all services that the table in force wants.
    """

    answers: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    held: list[int] = field(default_factory=list)

    def look(self, url: str) -> list[str]:
        """Look once; the notes of all services."""
        began_s = time.monotonic()
        try:
            answer = httpx.get(f"{url}/v1/services", timeout=30.0)
        except httpx.HTTPError as error:
            self.answers[type(error).__name__] += 1
            return [type(error).__name__]
        self.seconds.append(time.monotonic() - began_s)
        self.answers[str(answer.status_code)] += 1
        if answer.status_code != httpx.codes.OK:
            return [answer.json()["detail"]]
        found = answer.json()["services"]
        self.notes.update(each["note"] for each in found)
        self.held.append(sum(each["hold_units"] or 0 for each in found))
        return [each["note"] for each in found]


def play(folder: Path, kind: str, away_s: float, say: Say) -> dict[str, Any]:
    """One outage and its proof; plain values."""
    say(f"{kind}: history and champions")
    with world(folder, named=True) as found, tier_of(found) as tier:
        daemon = DaemonProcess("one", found)
        daemon.start()
        _until(lambda: daemon.ready, lambda: "the daemon")
        with Clients(tier.stats()["url"], seed=1) as clients:
            url, calm, during = found.urls["one"], Looks(), Looks()
            _until(
                lambda: set(calm.look(url)) == {""},
                lambda: f"calm weather, {calm}, {calm.look(url)}",
            )
            time.sleep(CALM_S)
            say(f"{kind}: away for {away_s:.0f} s")
            asked_before, log = sum(clients.outcomes.values()), folder / "one.log"
            lines_before, began_s = _lines(log), time.time()
            with away(found, kind):
                while time.time() - began_s < away_s:
                    time.sleep(LOOK_S)
                    during.look(url)
            back_s = time.time()
            asked = sum(clients.outcomes.values()) - asked_before
            lines = _lines(log)[len(lines_before) :]
            say(f"{kind}: back")
            after = Looks()
            _until(
                lambda: settled(found, tier.stats(), after.look(url)), lambda: "calm weather again"
            )
            caught_up_s = time.time() - back_s
            clients.stop()
            _until(lambda: settled(found, tier.stats(), [""]), lambda: "the last records")
        alive = daemon.process is not None and daemon.process.poll() is None
        daemon.end(signal.SIGTERM)
        orders = record_of(tier).orders
        carried = [o for o in orders if o.units and not o.refused and began_s < o.at_s < back_s]
        return {
            "kind": kind,
            "away_s": round(back_s - began_s),
            "requests_meanwhile": asked,
            "requests": dict(clients.outcomes),
            "orders_meanwhile": len(carried),
            "held_meanwhile": [min(during.held, default=0), max(during.held, default=0)],
            "api_answers": dict(during.answers),
            "api_s": {
                "median": round(float(np.median(during.seconds)), 3),
                "max": round(max(during.seconds), 3),
            }
            if during.seconds
            else {},
            "notes": [text for text, _ in during.notes.most_common(3)],
            "log_lines": len(lines),
            "same_process": alive,
            "caught_up_s": round(caught_up_s, 1),
            "wrong": lost(found, tier),
        }


@contextmanager
def away(found: World, kind: str) -> Iterator[None]:
    """The database neither answers nor refuses, or is not there."""
    if kind == "down":
        found.server.stop()
        yield
        found.server.start()
        return
    lock = server_home(found.home, Account.here()) / "data" / "postmaster.pid"
    pids = _family(int(lock.read_text().split("\n", 1)[0]))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _family(pid: int) -> list[int]:
    """A process that is stopped at once, and its children."""
    os.kill(pid, signal.SIGSTOP)
    found = [pid]
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == pid:
                found.append(int(folder.name))
    return found


def settled(found: World, stats: dict[str, Any], notes: list[str]) -> bool:
    """Whether all that the tier logged is stored, nothing waits and nobody complains."""
    with suppress(TidegateError), Store.open(found.server.dsn) as store:
        requests, events = store.tier_cursor(str(stats["tier"]))
        kept = requests >= stats["requests_last"] and events >= stats["events_last"]
        waits = found.home / "journal.jsonl"
        return kept and set(notes) == {""} and not (waits.exists() and waits.stat().st_size)
    return False


def _until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline_s = time.monotonic() + BACK_WITHIN_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"did not come: {what()}")
        time.sleep(0.2)


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as docs/benchmarks.md has them."""
    lines = [
        "| the database | away | requests meanwhile, not answered 200 | orders meanwhile | API median, longest | log lines | caught up after | lost, doubled or changed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        bad = sum(number for status, number in row["requests"].items() if status != "200")
        lines.append(
            f"| {row['kind']} | {row['away_s']} s | {row['requests_meanwhile']}, {bad} | {row['orders_meanwhile']}"
            f" | {row['api_s'].get('median', '-')} s, {row['api_s'].get('max', '-')} s | {row['log_lines']}"
            f" | {row['caught_up_s']} s | {len(row['wrong'])} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    rows = []
    for kind in asked.kind or KINDS:
        with tempfile.TemporaryDirectory(prefix="tidegate-outage-") as folder:
            Path(folder).chmod(0o755)  # the database's account enters it
            rows.append(play(Path(folder), kind, 60 * asked.minutes, say))
        say(orjson.dumps(rows[-1], option=orjson.OPT_INDENT_2).decode())
    if asked.out:
        asked.out.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    print(table(rows))
    sys.exit(1 if any(row["wrong"] or not row["same_process"] for row in rows) else 0)


if __name__ == "__main__":
    main()
