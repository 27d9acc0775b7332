"""Retraining: demand from the store, verdicts into the store."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from forecaster.config.settings import RetrainSettings
from forecaster.demand import as_load, to_series
from forecaster.domain.errors import DataError
from forecaster.domain.profile import Profile
from forecaster.domain.service import Service
from forecaster.seasonal.cold import week_shape
from forecaster.seasonal.selection import Incumbent, Verdict
from forecaster.seasonal.training import Learnt, Lesson, last_days, train_one
from forecaster.store import Store
from forecaster.store.rows import WEEK_SHAPE, Known, ModelRow, Taught

Trainer = Callable[[Lesson], Learnt]
"""`forecaster.seasonal.training.train_one`, here or in a process of its own."""
FORMAT = 1
"""Of what is kept of a training for the next; another one is not gone on from."""
READ_MOST = 32
"""Services that are read together: their minutes at the edges take memory."""


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a retrain of one service did.

    Attributes
    ----------
    model_id : int
        Version that was stored.
    live : bool
        Whether it serves from now on.
    seconds : float
        CPU seconds.
    """

    service: str
    model_id: int
    live: bool
    verdict: Verdict
    seconds: float


def lessons(
    store: Store,
    services: Sequence[Service],
    settings: RetrainSettings,
    profiles: Mapping[str, Profile | None],
    *,
    until_s: float = math.inf,
    anew: bool = False,
) -> tuple[list[Lesson], list[DataError]]:
    """What there is to learn of services: the load, each request with the work that it brings to a unit.

    Parameters
    ----------
    profiles : mapping of str to Profile or None
        Of the unit of each service; None counts requests.
    until_s : float
        Later demand is not looked at, epoch seconds.
    anew : bool
        All is backtested, whatever was foretold.

    Returns
    -------
    lessons : list of Lesson
    refused : list of DataError
        Of unknown services, and of those without a whole slot.
    """
    found: list[Lesson] = []
    refused: list[DataError] = []
    weighed = [each for each in services if profiles[each.name] is not None]
    counted = [each for each in services if profiles[each.name] is None]
    for alike in (weighed, counted):
        for at in range(0, len(alike), READ_MOST):
            part = {each.name: each for each in alike[at : at + READ_MOST]}
            asked = {name: digest(each, settings, profiles[name]) for name, each in part.items()}
            known = store.learning.known(
                asked, settings.history_days, until_s, settings.slot_s, alike is weighed
            )
            for each in known:
                try:
                    lesson = _lesson(each, part.pop(each.service), settings, profiles)
                    found.append(replace(lesson, folds={}) if anew else lesson)
                except DataError as error:
                    refused.append(error)
            refused += [_nothing(store, name) for name in part]
    return found, refused


def _lesson(
    known: Known,
    service: Service,
    settings: RetrainSettings,
    profiles: Mapping[str, Profile | None],
) -> Lesson:
    series = to_series(
        service.name, known.slots, slot_s=settings.slot_s, log_sample=service.log_sample,
        profile=profiles[service.name], bursts=False,
    )  # fmt: skip
    load, unit_s = as_load(last_days(series, settings.history_days))
    unit_s = unit_s or 1.0
    spec = replace(service.calendar, judged=known.judged)
    folds = {name: each.in_units(1 / unit_s) for name, each in known.folds.items()}
    incumbent = None if known.serving is None else Incumbent(*known.serving)
    return Lesson(load, spec, settings.members, incumbent, folds, unit_s)


def _nothing(store: Store, name: str) -> DataError:
    """Why there is nothing of a service."""
    try:
        store.slots(name, 0.0, 0.0)
    except DataError as error:
        return error
    return DataError(f"service {name!r} has no requests", "ingest its request log")


def digest(service: Service, settings: RetrainSettings, profile: Profile | None) -> str:
    """What forecasts of a service depend on beside its demand and what is said of stretches of it."""
    said = repr((FORMAT, settings.slot_s, service.calendar, service.log_sample, profile))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def taught(
    lesson: Lesson,
    learnt: Learnt,
    service: Service,
    settings: RetrainSettings,
    profile: Profile | None,
    now_s: float,
) -> Taught:
    """What is stored.

    What loses to seasonal naive is not crowned: the live champion stays, and where there is none
    seasonal naive itself serves, marked as such.
    """
    verdict = learnt.verdict
    shape = week_shape(lesson.series, lesson.spec).round(4).tolist()
    row = ModelRow(
        service=service.name,
        created_s=now_s,
        champion=verdict.champion,
        slot_s=lesson.series.slot_s,
        scores=verdict.scores_dict() | {WEEK_SHAPE: shape},
        calibration=verdict.calibrated.to_dict(),
        verdict=verdict.reason,
        live=verdict.beats_naive or lesson.incumbent is None,
        log_sample=service.log_sample,
    )
    folds = {name: each.in_units(lesson.unit_s) for name, each in learnt.folds.items()}
    return Taught(row, digest(service, settings, profile), folds, learnt.anew)


def retrain_service(
    store: Store,
    service: Service,
    settings: RetrainSettings,
    now_s: float,
    trainer: Trainer = train_one,
    profile: Profile | None = None,
) -> TrainReport:
    """Verify, choose, calibrate and store a new version of one service; see `lessons` and `taught`.

    Raises
    ------
    DataError
        For an unknown service or too little history.
    """
    began = time.process_time()
    found, refused = lessons(store, [service], settings, {service.name: profile})
    if refused:
        raise refused[0]
    learnt = trainer(found[0])
    what = taught(found[0], learnt, service, settings, profile, now_s)
    (model_id,) = store.learning.keep([what]) or [0]
    seconds = time.process_time() - began
    return TrainReport(service.name, model_id, what.row.live, learnt.verdict, seconds)
