"""Retraining one service: demand from the store, a verdict into the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from forecaster.config.settings import RetrainSettings
from forecaster.demand import as_load
from forecaster.domain.demand import DemandSeries
from forecaster.domain.profile import Profile
from forecaster.domain.service import CalendarSpec, Service
from forecaster.seasonal.cold import week_shape
from forecaster.seasonal.selection import Verdict
from forecaster.seasonal.training import last_days, train
from forecaster.store import Store
from forecaster.store.rows import WEEK_SHAPE, ModelRow

Trainer = Callable[[DemandSeries, CalendarSpec, Sequence[str], Callable[[str], None]], Verdict]
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


def retrain_service(
    store: Store,
    service: Service,
    settings: RetrainSettings,
    now_s: float,
    on_member: Callable[[str], None] = lambda member: None,
    trainer: Trainer = train,
    profile: Profile | None = None,
) -> TrainReport:
    """Backtest, choose, calibrate and store a new version.

    What is learnt is the load, each request with the work that it brings to a unit of `profile`;
    without one, requests.

    What loses to seasonal naive is not crowned: the live champion stays, and where there is none
    seasonal naive itself serves, marked as such.

    Raises
    ------
    DataError
        For an unknown service or too little history.
    """
    began = time.process_time()
    series = store.demand(
        service.name, slot_s=settings.slot_s, log_sample=service.log_sample, profile=profile
    )
    series, _ = as_load(last_days(series, settings.history_days))
    spec = replace(service.calendar, judged=store.learning.judgements(service.name))
    verdict = trainer(series, spec, settings.members, on_member)
    present = store.live_model(service.name)
    live = verdict.beats_naive or present is None
    row = ModelRow(
        service=service.name,
        created_s=now_s,
        champion=verdict.champion,
        slot_s=settings.slot_s,
        scores=verdict.scores_dict() | {WEEK_SHAPE: week_shape(series, spec).round(4).tolist()},
        calibration=verdict.calibrated.to_dict(),
        verdict=verdict.reason,
        live=live,
        log_sample=service.log_sample,
    )
    model_id = store.save_model(row)
    return TrainReport(service.name, model_id, live, verdict, time.process_time() - began)
