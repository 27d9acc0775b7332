"""A storm over two real daemons: kills, pauses and database restarts at random moments, under load.

python -m benchmarks.daemon_storm [--faults 500] [--seed 1] [--out summary.json]

The tier is a process of its own and serves on. Two `tidegate daemon` of one state folder and one embedded
PostgreSQL are killed (-9), stopped and continued; the database is stopped or killed and started again. What was
promised is then held against the tier's own record, see `benchmarks.storm_proof`.
"""

from __future__ import annotations

import argparse
import heapq
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import orjson
import psycopg

from benchmarks.storm_proof import Beat, prove
from benchmarks.storm_world import (
    SERVICES,
    Clients,
    DaemonProcess,
    Operator,
    World,
    tier_of,
    unpin,
    world,
)
from forecaster.domain.errors import TidegateError
from forecaster.store import Store
from forecaster.store.binaries import Account, server_home

KINDS = ("kill",) * 4 + ("pause",) * 4 + ("database",) * 3
GAP_S = (0.3, 7.0)
HURRIED_GAP_S = (0.1, 1.6)
PAUSE_S = (0.3, 14.0)
"""Some shorter than the lease of eight seconds, some longer."""
DOWN_S = (0.0, 3.0)
SUPERVISED_S = (0.0, 3.0)
"""What supervises the daemons starts one that ended after this long."""
AT_LEADER = 0.65
"""Share of the kills and pauses that are meant for the leader."""
LATE_S = 1.0
"""A daemon that wakes up answers first what it was asked before it was stopped."""
SETTLED_S = 90.0
"""By then whoever was struck has planned again."""
ENDINGS = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)
"""PostgreSQL's fast and immediate shutdown, and a crash."""
Say = Callable[[str], None]


@dataclass
class Watch:
    """Reads the leader's row without end: every beat, as far as it can be seen."""

    found: World
    beats: list[Beat] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.over.set()
        self.thread.join()

    def _look(self) -> None:
        while not self.over.is_set():
            with suppress(psycopg.Error), self.found.connect() as connection:
                while not self.over.wait(0.1):
                    row = connection.execute(
                        "select extract(epoch from beat)::float8, number, holder from leader"
                    ).fetchone()
                    if row is not None and row[1]:
                        beat = Beat(*row)  # type: ignore[arg-type]
                        if not self.beats or self.beats[-1] != beat:
                            self.beats.append(beat)
            self.over.wait(0.1)

    @property
    def leader_pid(self) -> int:
        return int(self.beats[-1].holder.rpartition(":")[2]) if self.beats else 0


class Storm:
    """Strikes, and puts back on its feet what it struck.

    Parameters
    ----------
    seed : int
        The same seed strikes in the same order; what it hits depends on who leads.
    """

    def __init__(self, found: World, watch: Watch, daemons: list[DaemonProcess], seed: int) -> None:
        self.found, self.watch, self.daemons = found, watch, daemons
        self.dice = random.Random(seed)
        self.struck: Counter[str] = Counter()
        self.unasked: Counter[int] = Counter()
        self.agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = count()

    def rage(self, faults: int, gap_s: tuple[float, float], say: Say) -> None:
        """Strike `faults` times, with gaps drawn from a range."""
        began_s = time.monotonic()
        for number in range(1, faults + 1):
            self.pass_time(self.dice.uniform(*gap_s))
            self._strike(self.dice.choice(KINDS))
            if number % 25 == 0 or number == faults:
                leaders = self.watch.beats[-1].number if self.watch.beats else 0
                seconds = time.monotonic() - began_s
                say(f"{number} of {faults} faults, {seconds:.0f} s, leader number {leaders}")

    def recover(self) -> None:
        """Wake and start whoever is struck, and wait until the leader plans again."""
        for each in self.daemons:
            self._wake(each)
        self._until(lambda: all(each.ready for each in self.daemons), "both daemons")
        self.pass_time(LATE_S)
        unpin(self.found)
        self._planned_since(time.time())

    def begin_anew(self) -> float:
        """One daemon alone, started after the storm: what it plans first is compared byte for byte."""
        fresh_s = time.time()
        for each in self.daemons:
            each.end(signal.SIGKILL)
            each.process = None
        self.daemons[0].start()
        self._planned_since(fresh_s)
        return fresh_s

    def _planned_since(self, moment_s: float) -> None:
        with Store.open(self.found.server.dsn) as store:

            def planned() -> bool:
                last = [store.decisions(name, 20) for name in SERVICES]
                return all(
                    any(r.inputs["kind"] == "plan" and r.at_s > moment_s for r in rows)
                    for rows in last
                )

            self._until(planned, "a plan of each service")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + SETTLED_S
        while not condition():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{what} did not come back")
            self.pass_time(0.2)

    def pass_time(self, seconds: float) -> None:
        """Do what is due meanwhile."""
        until_s = time.monotonic() + seconds
        while True:
            self._supervise()
            due_s = min(until_s, self.agenda[0][0] if self.agenda else until_s)
            time.sleep(min(max(due_s - time.monotonic(), 0.0), 0.1))
            now_s = time.monotonic()
            while self.agenda and self.agenda[0][0] <= now_s:
                heapq.heappop(self.agenda)[2]()
            if now_s >= until_s:
                return

    def _strike(self, kind: str) -> None:
        if kind == "database":
            self._restart_database()
        else:
            target = self._target()
            if kind == "pause" and not target.paused and target.process is not None:
                self._pause(target)
            else:
                kind = "kill"
                self._kill(target)
        self.struck[kind] += 1

    def _target(self) -> DaemonProcess:
        alive = [each for each in self.daemons if each.process is not None]
        leading = [each for each in alive if each.pid == self.watch.leader_pid]
        if leading and self.dice.random() < AT_LEADER:
            return leading[0]
        while not alive:  # both wait for their supervisor
            self.pass_time(0.2)
            alive = [each for each in self.daemons if each.process is not None]
        return self.dice.choice(alive)

    def _kill(self, target: DaemonProcess) -> None:
        self.found.says(target.name, "out")
        target.end(signal.SIGKILL)
        target.process, target.paused = None, False
        self._later(self.dice.uniform(*SUPERVISED_S), target.start)

    def _pause(self, target: DaemonProcess) -> None:
        self.found.says(target.name, "out")
        target.send(signal.SIGSTOP)
        target.paused = True
        process = target.process

        def wake() -> None:
            if target.process is process:
                self._wake(target)

        self._later(self.dice.uniform(*PAUSE_S), wake)

    def _wake(self, target: DaemonProcess) -> None:
        if target.paused:
            target.paused = False
            target.send(signal.SIGCONT)
            if target.ready:
                self.found.says(target.name, "ready")

    def _restart_database(self) -> None:
        lock = server_home(self.found.home, Account.here()) / "data" / "postmaster.pid"
        self.found.says("database", "out")
        pid = int(lock.read_text().split("\n", 1)[0])
        os.kill(pid, self.dice.choice(ENDINGS))
        while _lives(pid):
            time.sleep(0.02)
        self.pass_time(self.dice.uniform(*DOWN_S))
        self.found.server.start()
        self.found.says("database", "ready")

    def _supervise(self) -> None:
        """A daemon that ended by itself is started anew."""
        for each in self.daemons:
            if each.process is not None and (code := each.process.poll()) is not None:
                self.found.says(each.name, "out")
                self.unasked[code] += 1
                each.process, each.ready, each.paused = None, False, False
                self._later(self.dice.uniform(*SUPERVISED_S), each.start)

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        heapq.heappush(self.agenda, (time.monotonic() + seconds, next(self.numbers), work))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def two_daemons(found: World) -> Iterator[list[DaemonProcess]]:
    """Both daemons, ready; ended at the end as an operator would."""
    daemons = [DaemonProcess(name, found) for name in ("one", "two")]
    try:
        for each in daemons:
            each.start()
        while not all(each.ready for each in daemons):
            time.sleep(0.1)
        yield daemons
    finally:
        for each in daemons:
            if each.process is not None:
                each.end(signal.SIGTERM)


def play(
    folder: Path, faults: int, seed: int, say: Say, gap_s: tuple[float, float] = GAP_S
) -> dict[str, object]:
    """One storm and its proof; plain values."""
    say("history and champions")
    with world(folder) as found, tier_of(found) as tier:
        say("two daemons")
        with (
            two_daemons(found) as daemons, Watch(found) as watch,
            Clients(tier.stats()["url"], seed) as clients,
        ):  # fmt: skip
            storm = Storm(found, watch, daemons, seed)
            began_s = time.time()
            with Operator(found, seed) as operator:
                storm.rage(faults, gap_s, say)
            say("calm")
            storm.recover()
            seconds = time.time() - began_s
            clients.stop()
            fresh_s = storm.begin_anew()
            _all_stored(found, tier.stats())
        say("proof")
        proof = prove(found, tier, watch.beats, fresh_s)
    return {
        "seed": seed, "faults": dict(storm.struck), "seconds": round(seconds),
        "unasked_exits": {str(code): number for code, number in storm.unasked.items()},
        "requests": dict(clients.outcomes), "pins": dict(operator.outcomes), "load_average": os.getloadavg()[0], **proof,
    }  # fmt: skip


def _all_stored(found: World, stats: dict[str, object]) -> None:
    """Wait until the daemons have copied what the tier logged so far."""
    deadline_s = time.monotonic() + SETTLED_S
    with Store.open(found.server.dsn) as store:
        while time.monotonic() < deadline_s:
            with suppress(TidegateError):
                if store.tier_cursor(str(stats["tier"]))[0] >= int(str(stats["requests_last"])):
                    return
            time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path, help="kept at the end; default: one that is removed")
    asked = parser.parse_args()

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="tidegate-storm-") as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        found = play(folder, asked.faults, asked.seed, say)
    text = orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
    if asked.out:
        asked.out.write_text(text)
    print(text)
    sys.exit(1 if found["wrong"] or found["slow"] else 0)


if __name__ == "__main__":
    main()
