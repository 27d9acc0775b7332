"""Retraining: demand from the store, verdicts into the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from forecaster.config.settings import RetrainSettings
from forecaster.demand import as_load, to_series
from forecaster.domain.demand import DemandSeries
from forecaster.domain.profile import Profile
from forecaster.domain.service import CalendarSpec, Service
from forecaster.seasonal.cold import week_shape
from forecaster.seasonal.selection import Incumbent, Verdict
from forecaster.seasonal.training import Lesson, last_days, train
from forecaster.store import Store
from forecaster.store.rows import WEEK_SHAPE, ModelRow

Trainer = Callable[[DemandSeries, CalendarSpec, Sequence[str], Incumbent | None], Verdict]
"""`forecaster.seasonal.training.train`, here or in a process of its own."""


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


def lesson(
    store: Store,
    service: Service,
    settings: RetrainSettings,
    profile: Profile | None,
    until_s: float | None = None,
) -> Lesson:
    """What there is to learn: the load, each request with the work that it brings to a unit of `profile`.

    Parameters
    ----------
    profile : Profile or None
        None counts requests.
    until_s : float or None
        Later demand is not looked at, epoch seconds.

    Raises
    ------
    DataError
        For an unknown service, or one without a whole slot.
    """
    slots = store.learning.binned(service.name, until_s, settings.slot_s)
    series = to_series(
        service.name, slots,
        slot_s=settings.slot_s, log_sample=service.log_sample, profile=profile, bursts=False,
    )  # fmt: skip
    load, _ = as_load(last_days(series, settings.history_days))
    spec = replace(service.calendar, judged=store.learning.judgements(service.name))
    return Lesson(load, spec, settings.members, incumbent(store.live_model(service.name)))


def incumbent(row: ModelRow | None) -> Incumbent | None:
    """The champion of a version, and who was about to take its place."""
    if row is None:
        return None
    challenger, wins = row.scores.get("challenger", ""), row.scores.get("wins", 0)
    return Incumbent(row.champion, str(challenger), int(wins))


def version(
    taught: Lesson, verdict: Verdict, service: Service, present: ModelRow | None, now_s: float
) -> ModelRow:
    """What is stored.

    What loses to seasonal naive is not crowned: the live champion stays, and where there is none
    seasonal naive itself serves, marked as such.
    """
    shape = week_shape(taught.series, taught.spec).round(4).tolist()
    return ModelRow(
        service=service.name,
        created_s=now_s,
        champion=verdict.champion,
        slot_s=taught.series.slot_s,
        scores=verdict.scores_dict() | {WEEK_SHAPE: shape},
        calibration=verdict.calibrated.to_dict(),
        verdict=verdict.reason,
        live=verdict.beats_naive or present is None,
        log_sample=service.log_sample,
    )


def retrain_service(
    store: Store,
    service: Service,
    settings: RetrainSettings,
    now_s: float,
    trainer: Trainer = train,
    profile: Profile | None = None,
) -> TrainReport:
    """Backtest, choose, calibrate and store a new version of one service; see `lesson` and `version`.

    Raises
    ------
    DataError
        For an unknown service or too little history.
    """
    began = time.process_time()
    taught = lesson(store, service, settings, profile)
    verdict = trainer(taught.series, taught.spec, taught.members, taught.incumbent)
    row = version(taught, verdict, service, store.live_model(service.name), now_s)
    model_id = store.save_model(row)
    return TrainReport(service.name, model_id, row.live, verdict, time.process_time() - began)
