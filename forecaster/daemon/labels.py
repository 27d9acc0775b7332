"""What is unlike the tide of one service: found in its demand, judged by operators."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from forecaster.config.settings import RetrainSettings
from forecaster.demand import as_load
from forecaster.demand.anomalies import found_in, labelled
from forecaster.domain.anomaly import Anomaly
from forecaster.domain.demand import DemandSeries, FloatArray
from forecaster.domain.profile import Profile
from forecaster.domain.service import Service
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.hygiene import explained
from forecaster.seasonal.training import last_days
from forecaster.store import Store


@dataclass(frozen=True, slots=True)
class Labels:
    """The history that a champion learns from, and what of it is no tide."""

    series: DemandSeries
    anomalies: list[Anomaly]


def labels(
    store: Store, service: Service, settings: RetrainSettings, profile: Profile | None
) -> Labels:
    """Label the history of a service as training does.

    Raises
    ------
    DataError
        For an unknown service.
    """
    series = store.demand(
        service.name,
        slot_s=settings.slot_s,
        log_sample=service.log_sample,
        profile=profile,
    )
    series = last_days(series, settings.history_days)
    load, _ = as_load(series)
    said = store.learning.judgements(service.name)
    spec = replace(service.calendar, judged=said)
    known = explained(Calendar(load.start_s, load.slot_s, spec), load.arrivals.size)
    found = found_in(load.arrivals, load.start_s, load.slot_s, known, _failed(store, series))
    recent = tuple(word for word in said if word.end_s > series.start_s)
    return Labels(series, labelled(found, recent))


def anomalies_to_dict(service: str, found: list[Anomaly]) -> dict[str, Any]:
    """Plain values for the API; times in epoch seconds."""
    return {
        "service": service,
        "anomalies": [asdict(each) | {"kind": each.kind.value} for each in found],
    }


def _failed(store: Store, series: DemandSeries) -> FloatArray:
    """Share of the requests of each slot that were refused; 0 where nobody tells."""
    served = store.served(series.service, series.start_s, series.end_s)
    slot = ((served.arrival_s - series.start_s) // series.slot_s).astype(np.int64)
    refused = served.answers.refused
    size = series.arrivals.size
    every = np.bincount(slot, minlength=size)[:size]
    return np.asarray(np.bincount(slot, refused, minlength=size)[:size] / np.maximum(every, 1))
