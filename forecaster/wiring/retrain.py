"""One `tidegate retrain`: batches of services, in parallel, each stored whole, gone on with after a kill."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from threadpoolctl import threadpool_limits

from forecaster.config import Settings
from forecaster.daemon.training import TrainReport, lessons, taught
from forecaster.domain.errors import DataError, TooLittleHistoryError
from forecaster.domain.profile import Profile
from forecaster.domain.service import Service
from forecaster.seasonal.training import Learnt, Lesson, train_batch
from forecaster.store import Store
from forecaster.wiring.engines import Batch, chunks, here, over_processes, over_ray
from forecaster.wiring.questions import profile_of, service_named

Answer = tuple[list[Learnt | TooLittleHistoryError], float]
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
        Do not go on with an unfinished run, nor from what was foretold: everything is backtested.
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
    profiles = {name: profile_of(settings, each) for name, each in services.items()}
    asked = _digest(settings, services, profiles, terms.fresh)
    run = store.learning.open_run(asked, now_s, terms.fresh)
    batches = chunks(names)
    resumed = [name for number in run.batches for name in batches[number]]
    skipped: list[DataError] = []
    under_way: dict[int, list[Lesson]] = {}

    def to_teach() -> Iterator[Batch]:
        for number, batch in enumerate(batches):
            if number not in run.batches:
                of = [services[name] for name in batch]
                found, refused = lessons(
                    store, of, settings.retrain, profiles, until_s=run.began_s, anew=terms.fresh
                )
                skipped.extend(refused)
                under_way[number] = found
                yield number, found

    reports: list[TrainReport] = []
    left = len(batches) - len(run.batches)
    for number, (learnt, seconds) in _taught(to_teach(), terms, left):
        of, rows, passed = under_way.pop(number), [], []
        for lesson, each in zip(of, learnt, strict=True):
            if isinstance(each, TooLittleHistoryError):
                skipped.append(each)
                continue
            name = lesson.series.service
            rows.append(
                taught(lesson, each, services[name], settings.retrain, profiles[name], run.began_s)
            )
            passed.append(each.verdict)
        ids = store.learning.keep(rows, (run.run_id, number))
        share = seconds / max(len(of), 1)
        for what, verdict, model_id in zip(rows, passed, ids or [], strict=bool(ids)):
            row = what.row
            reports.append(TrainReport(row.service, model_id, row.live, verdict, share))
        on_progress(len(resumed) + len(reports) + len(skipped), batches[number][-1])
    store.learning.end_run(run.run_id, now_s)
    return Done(sorted(reports, key=lambda each: each.service), resumed, skipped)


def teach(batch: list[Lesson]) -> Answer:
    """Train one batch; what was learnt, and the CPU seconds it took.

    Batches have a core each: threads of the algebra would only wait for one another on it.
    """
    began = time.process_time()
    with threadpool_limits(1):
        return train_batch(batch), time.process_time() - began


def _taught(batches: Iterator[Batch], terms: Terms, left: int) -> Iterator[Batch]:
    jobs = min(terms.jobs or os.cpu_count() or 1, max(left, 1))
    if terms.engine is Engine.RAY:
        return over_ray(teach, batches, jobs)
    return over_processes(teach, batches, jobs) if jobs > 1 else here(teach, batches)


def _digest(
    settings: Settings,
    services: dict[str, Service],
    profiles: dict[str, Profile | None],
    fresh: bool,
) -> str:
    """What is asked for, but for how: only the same is gone on with."""
    said = repr((settings.retrain, sorted(services.items()), sorted(profiles.items()), fresh))
    return hashlib.sha256(said.encode()).hexdigest()
