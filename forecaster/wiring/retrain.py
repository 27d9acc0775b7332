"""One `tidegate retrain`: batches of services, in parallel, each stored whole, gone on with after a kill."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from forecaster.config import Settings
from forecaster.daemon.training import TrainReport, lesson, version
from forecaster.domain.errors import DataError, TooLittleHistoryError
from forecaster.domain.service import Service
from forecaster.seasonal.selection import Verdict
from forecaster.seasonal.training import Lesson, train_batch
from forecaster.store import Store
from forecaster.wiring.engines import Batch, chunks, here, over_processes, over_ray
from forecaster.wiring.questions import profile_of, service_named

Taught = tuple[list[Verdict | TooLittleHistoryError], float]
Say = Callable[[float, str], None]


class Engine(StrEnum):
    """Where batches are trained."""

    LOCAL = "local"
    """Over processes of this machine."""
    RAY = "ray"
    """On a Ray cluster."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a run is made.

    Attributes
    ----------
    jobs : int
        Processes; 0: as many as there are cores.
    fresh : bool
        Do not go on with an unfinished run.
    """

    engine: Engine = Engine.LOCAL
    jobs: int = 0
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What a run did.

    Attributes
    ----------
    reports : list of TrainReport
        Of the services that this process trained.
    resumed : list of str
        Services of the batches that an earlier process of the same run had stored.
    skipped : list of DataError
        Why services could not be trained.
    """

    reports: list[TrainReport]
    resumed: list[str]
    skipped: list[DataError]


def retrain(
    store: Store,
    settings: Settings,
    names: Sequence[str],
    terms: Terms,
    now_s: float,
    on_progress: Say = lambda share, note: None,
) -> Done:
    """Train services and store their versions; a run that was killed is gone on with.

    A batch is stored in one transaction with its number: whatever the moment of a kill, it is there or
    it is not. Who goes on looks at the demand up to the same moment, in the same batches, and so ends
    with the same models.
    """
    names = sorted(set(names))
    services = {name: service_named(settings, name) for name in names}
    run = store.learning.open_run(_digest(settings, services), now_s, terms.fresh)
    batches = chunks(names)
    resumed = [name for number in run.batches for name in batches[number]]
    skipped: list[DataError] = []
    lessons: dict[int, list[Lesson]] = {}

    def to_teach() -> Iterator[Batch]:
        for number, batch in enumerate(batches):
            if number in run.batches:
                continue
            lessons[number] = []
            for name in batch:
                try:
                    lessons[number].append(_lesson(store, settings, services[name], run.began_s))
                except DataError as error:
                    skipped.append(error)
            yield number, lessons[number]

    reports: list[TrainReport] = []
    left = len(batches) - len(run.batches)
    for number, (verdicts, seconds) in _taught(to_teach(), terms, left):
        of = lessons.pop(number)
        rows, passed = [], []
        for each, verdict in zip(of, verdicts, strict=True):
            if isinstance(verdict, TooLittleHistoryError):
                skipped.append(verdict)
                continue
            service = services[each.series.service]
            present = store.live_model(service.name)
            rows.append(version(each, verdict, service, present, run.began_s))
            passed.append(verdict)
        ids = store.learning.save_batch(run.run_id, number, rows)
        share = seconds / max(len(of), 1)
        for row, verdict, model_id in zip(rows, passed, ids or [], strict=bool(ids)):
            reports.append(TrainReport(row.service, model_id, row.live, verdict, share))
        on_progress(len(resumed) + len(reports) + len(skipped), batches[number][-1])
    store.learning.end_run(run.run_id, now_s)
    return Done(sorted(reports, key=lambda each: each.service), resumed, skipped)


def teach(lessons: list[Lesson]) -> Taught:
    """Train one batch; the verdicts, and the CPU seconds they took."""
    began = time.process_time()
    return train_batch(lessons), time.process_time() - began


def _taught(batches: Iterator[Batch], terms: Terms, left: int) -> Iterator[Batch]:
    jobs = min(terms.jobs or os.cpu_count() or 1, max(left, 1))
    if terms.engine is Engine.RAY:
        return over_ray(teach, batches, jobs)
    return over_processes(teach, batches, jobs) if jobs > 1 else here(teach, batches)


def _lesson(store: Store, settings: Settings, service: Service, until_s: float) -> Lesson:
    return lesson(store, service, settings.retrain, profile_of(settings, service), until_s)


def _digest(settings: Settings, services: dict[str, Service]) -> str:
    """What is asked for, but for how: only the same is gone on with."""
    profiles = {name: profile_of(settings, each) for name, each in services.items()}
    said = repr((settings.retrain, sorted(services.items()), sorted(profiles.items())))
    return hashlib.sha256(said.encode()).hexdigest()
