"""Training on a local Ray beside the same number of processes: time, memory, and whether the models are the same.

``python -m benchmarks.ray_training 100000`` trains four weeks of five-minute slots of so many services twice, as
`tidegate retrain` does once their demand is read: over two processes, and with `--engine ray` on a Ray that is started
for it. What would be stored of every service is compared byte by byte. It wants the extra: pip install 'tidegate[ray]'.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.forecast_speed import DAYS, SLOT_S, START_S, reference_s, services
from forecaster.config import Settings
from forecaster.daemon.training import taught
from forecaster.domain.demand import DemandSeries, TokenMix
from forecaster.domain.errors import TooLittleHistoryError
from forecaster.domain.service import CalendarSpec, Service, Slo
from forecaster.seasonal.training import Learnt, Lesson
from forecaster.store.rows import Taught
from forecaster.wiring.engines import BATCH_MOST, Batch, over_processes, over_ray
from forecaster.wiring.retrain import teach

WORKERS = 2
BAR = 1.2
"""Time on Ray over the time of as many processes, at most."""
LOOK_S = 1.0
NOW_S = START_S + DAYS * 86_400.0
Engine = Callable[[Any, Iterator[Batch], int], Iterator[Batch]]
ENGINES: Mapping[str, Engine] = {"processes": over_processes, "ray": over_ray}


@dataclass
class Family:
    """What this process and all that it starts take, looked at every second.

    Attributes
    ----------
    peak_bytes : int
        Memory of all of them, pages that they share counted once.
    cpu_s : dict of int to float
        By process, as it was seen last.
    """

    peak_bytes: int = 0
    cpu_s: dict[int, float] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Family:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        began = dict(_cpu_s([os.getpid()]))
        while not self._over.wait(LOOK_S):
            pids = family(os.getpid())
            self.peak_bytes = max(self.peak_bytes, sum(map(_bytes_of, pids)))
            for pid, cpu_s in _cpu_s(pids):
                self.cpu_s[pid] = cpu_s - began.get(pid, 0.0)


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _bytes_of(pid: int) -> int:
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _cpu_s(pids: list[int]) -> Iterator[tuple[int, float]]:
    for pid in pids:
        try:
            fields = (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        yield pid, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lessons_of(count: int) -> Iterator[tuple[int, list[Lesson]]]:
    """Services in batches, as `tidegate retrain` cuts them; none has the demand of another.

    The first batch is drawn; every other has its series a slot later and a little higher than the one before.
    """
    drawn = services(0, BATCH_MOST)
    for number, first in enumerate(range(0, count, BATCH_MOST)):
        Y = np.roll(drawn, number, axis=0) * (1 + number / 1000)
        yield (
            number,
            [_lesson(f"s{first + n:06}", Y[:, n]) for n in range(min(BATCH_MOST, count - first))],
        )


def _lesson(name: str, arrivals: Any) -> Lesson:
    none = np.zeros(0)
    series = DemandSeries(
        name, START_S, SLOT_S, np.ascontiguousarray(arrivals), none, none, TokenMix.of(1, 1), 1.0
    )
    return Lesson(series, CalendarSpec(), Settings().retrain.members)


def digest_of(row: Taught) -> bytes:
    """SHA-256 of what is stored of one service."""
    said = (row.row.champion, row.row.scores, row.row.calibration, row.row.verdict, row.row.live)
    found = hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SERIALIZE_NUMPY))
    for name, fold in sorted(row.folds.items()):
        found.update(f"{name} {fold.first_s}".encode())
        found.update(np.ascontiguousarray(fold.said).tobytes())
        found.update(np.ascontiguousarray(fold.error).tobytes())
    return found.digest()


@dataclass(frozen=True)
class Pass:
    """All services once.

    Attributes
    ----------
    first_s : float
        Until the first batch was back, workers started.
    models : dict of str to bytes
        What would be stored, by service, as its SHA-256.
    train_s : float
        CPU seconds of training alone.
    """

    seconds: float
    first_s: float
    train_s: float
    family: Family
    models: dict[str, bytes]


def play(engine: Engine, count: int, workers: int, say: Callable[[int], None]) -> Pass:
    """Train all services on one engine, and keep of each what it would store."""
    retrain, models, train_s, first_s = Settings().retrain, {}, 0.0, 0.0
    under_way: dict[int, list[Lesson]] = {}

    def batches() -> Iterator[Batch]:
        for number, lessons in lessons_of(count):
            under_way[number] = lessons
            yield number, lessons

    began = time.perf_counter()
    with Family() as took:
        for number, (learnt, seconds) in engine(teach, batches(), workers):
            first_s, train_s = first_s or time.perf_counter() - began, train_s + seconds
            for lesson, each in zip(under_way.pop(number), learnt, strict=True):
                models[lesson.series.service] = digest_of(_kept(lesson, each, retrain))
            say(len(models))
        wall_s = time.perf_counter() - began
    return Pass(wall_s, first_s, train_s, took, models)


def _kept(lesson: Lesson, learnt: Learnt | TooLittleHistoryError, retrain: Any) -> Taught:
    assert isinstance(learnt, Learnt)
    service = Service(name=lesson.series.service, unit="", slo=Slo())
    return taught(lesson, learnt, service, retrain, None, NOW_S)


def measure(count: int, workers: int) -> tuple[str, bool]:
    """Both passes; the section, and whether the bar was kept with the same models."""
    reference = min(reference_s() for _ in range(3))
    found: dict[str, Pass] = {}
    for name, engine in ENGINES.items():

        def say(done: int, name: str = name) -> None:
            print(f"\r{name}: {done:,} of {count:,}   ", end="", file=sys.stderr, flush=True)

        found[name] = play(engine, count, workers, say)
        print(file=sys.stderr)
    here, there = found["processes"], found["ray"]
    ratio, load = there.seconds / here.seconds, os.getloadavg()[2]
    other = sum(there.models[name] != model for name, model in here.models.items())
    lines = [
        "## Training on a local Ray",
        "",
        f"{count:,} services x {DAYS} days of 5-minute slots in batches of {BATCH_MOST}, all backtested: over {workers} processes, then"
        f" with `--engine ray` on a local Ray of {workers} workers, starting them included; the series are handed over as"
        f" `tidegate retrain` does once they are read. One 1500 x 1500 product took {reference:.2f} CPU s at the beginning (0.10-0.12 on a"
        f" quiet machine), the load over the last quarter of an hour was {load:.1f} at the end."
        f" `python -m benchmarks.ray_training {count}`",
        "",
        "| over | s | s until the first batch was back | CPU s: training | all processes | memory at most, all processes |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, each in found.items():
        lines.append(
            f"| {name} | {each.seconds:.0f} | {each.first_s:.1f} | {each.train_s:.0f} |"
            f" {sum(each.family.cpu_s.values()):.0f} | {each.family.peak_bytes / 2**30:.1f} GiB |"
        )
    same = "every model is the same, byte by byte" if not other else f"{other:,} models differ"
    lines += ["", f"Time on Ray over that of the processes: {ratio:.2f} (bar {BAR}); {same}."]
    return "\n".join(lines) + "\n", ratio <= BAR and not other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("services", type=int, nargs="?", default=4000)
    parser.add_argument("--workers", type=int, default=WORKERS)
    asked = parser.parse_args()
    if asked.services < BATCH_MOST:
        sys.exit(f"services = {asked.services} must be {BATCH_MOST} or more")
    section, kept = measure(asked.services, asked.workers)
    print(section)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
