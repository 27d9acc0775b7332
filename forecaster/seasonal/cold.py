"""Cold start: a service with hours of history, or none, and what is known of others.

The prior is a week by the hour, relative to its mean: that of the services that were trained already, or
the day that somebody drew. It is laid before what was seen as two weeks of history, at the level that
was seen; seasons then forget it day by day as they forget everything. The band is that of counting, of
how far services differ from one another, and of how little was seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.special import ndtri

from forecaster.domain.anomaly import Judgement
from forecaster.domain.demand import DemandSeries, FloatArray
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.bank import HALF_LIVES_S
from forecaster.seasonal.calendar import EPOCH_WEEKDAY, Calendar
from forecaster.seasonal.calibration import LEVELS
from forecaster.seasonal.champion import LEADS_S, Calibrated
from forecaster.seasonal.correction import SIGNALS
from forecaster.seasonal.live import LiveForecaster
from forecaster.seasonal.member import DAY_S, SlotArray
from forecaster.seasonal.softlog import SOFTNESS

WEEK_HOURS, DAY_HOURS = 168, 24
HOUR_S = 3600.0
PRIOR_DAYS = 14
ALONE_DEVIATION, DRAWN_DEVIATION, LEAST_DEVIATION = 0.7, 0.4, 0.25
"""How far a service is from the prior, log scale: with nothing to go by, from a day that was drawn,
and at least where others tell."""
LEVEL_DEVIATION = 0.5
"""How far the level is from the drawn one while nothing was seen."""
LEVEL_HOURS = 1.0
"""Hours of demand that a drawn level counts as."""
FOLLOWS = {900.0: 0.35, 3600.0: 0.5}
"""Share of the mean of the last quarter and the last hour that is carried to the next slot."""
FOLLOWS_HALF_LIFE_S = 6 * HOUR_S
STEP_DEVIATION = 0.1
"""Slot-to-slot deviation beside counting, log scale."""
DISPERSION = 2.0
"""Counting noise over Poisson, while it is not known."""
FORGOTTEN_DAYS = 0.75
"""Days of history that halve the deviation from the prior, in variance."""
NAME = "cold-start"


@dataclass(frozen=True, slots=True)
class Prior:
    """What is thought of a service before it is known.

    Attributes
    ----------
    hours : float64[168]
        Demand by local hour of the week from Monday on, over its mean.
    deviation : float
        How far services are from it, log scale.
    level_rps : float or None
        Mean rate; None: only what is seen tells.
    told_by : str
        Where it is from, for people.
    """

    hours: FloatArray
    deviation: float
    level_rps: float | None
    told_by: str


def week_shape(series: DemandSeries, spec: CalendarSpec) -> FloatArray:
    """Mean demand by local hour of the week over its mean, float64[168]; 1 where nothing was seen."""
    hour = _hours(series.start_s, series.slot_s, series.arrivals.size, replace(spec, judged=()))
    seen = np.isfinite(series.arrivals)
    total = np.bincount(hour[seen], series.arrivals[seen], WEEK_HOURS)
    count = np.bincount(hour[seen], minlength=WEEK_HOURS).astype(float)
    day_total, day_count = (each.reshape(7, DAY_HOURS).sum(axis=0) for each in (total, count))
    mean = total.sum() / max(count.sum(), 1.0)
    by_day = np.where(day_count > 0, day_total / np.maximum(day_count, 1), mean)
    found = np.where(count > 0, total / np.maximum(count, 1), np.tile(by_day, 7))
    return np.asarray(found / found.mean()) if found.mean() > 0 else np.ones(WEEK_HOURS)


def hour_of_week(start_s: float, slot_s: float, slots: SlotArray, spec: CalendarSpec) -> SlotArray:
    """Local hour of the week of each slot, 0 = Monday midnight."""
    local = Calendar(start_s, slot_s, spec).local(slots).astype(np.int64)
    day = (local // int(DAY_S) + EPOCH_WEEKDAY) % 7
    return np.asarray(day * DAY_HOURS + local % int(DAY_S) // int(HOUR_S))


@lru_cache(maxsize=8)
def _hours(start_s: float, slot_s: float, slots: int, spec: CalendarSpec) -> SlotArray:
    """The same of the first `slots`: services of one grid share it."""
    return hour_of_week(start_s, slot_s, np.arange(slots), spec)


def prior_of(shapes: Sequence[Sequence[float]], drawn_rps: Sequence[float] = ()) -> Prior:
    """From the weeks of similar services, or the day that was drawn (requests/s by the hour).

    Examples
    --------
    >>> prior_of([], [1.0] * 12 + [3.0] * 12).hours[[0, 12]].tolist()
    [0.5, 1.5]
    """
    if len(drawn_rps):
        drawn = np.tile(np.asarray(drawn_rps, dtype=float), 7)
        level = float(drawn.mean())
        return Prior(drawn / level, DRAWN_DEVIATION, level, "the day drawn in the settings")
    if not len(shapes):
        return Prior(np.ones(WEEK_HOURS), ALONE_DEVIATION, None, "no other service")
    logs = np.log(np.maximum(np.asarray(shapes, dtype=float), 0.02))
    hours = np.exp(logs.mean(axis=0))
    apart = math.sqrt(float(logs.var(axis=0).mean()) + ALONE_DEVIATION**2 / len(shapes) / 4)
    return Prior(
        hours / hours.mean(), max(apart, LEAST_DEVIATION), None, f"{len(shapes)} other services"
    )


def begin(
    series: DemandSeries, spec: CalendarSpec, prior: Prior, log_sample: float
) -> LiveForecaster:
    """A forecaster for a service that is too young to be trained.

    Parameters
    ----------
    series : DemandSeries
        What was seen, on the grid of the season; nothing at all where the prior has a level.
    log_sample : float
        Share of the requests that the log keeps: its counting noise is that of fewer.
    """
    per_slot = _level(series, spec, prior)
    days = PRIOR_DAYS * round(DAY_S / series.slot_s)
    start_s = series.start_s - days * series.slot_s
    before = per_slot * prior.hours[hour_of_week(start_s, series.slot_s, np.arange(days), spec)]
    none = np.zeros(days)
    history = replace(
        series,
        start_s=start_s,
        arrivals=np.concatenate([before, series.arrivals]),
        prompt_tokens=np.concatenate([none, series.prompt_tokens]),
        output_tokens=np.concatenate([none, series.output_tokens]),
        work_s=np.zeros(0),
    )
    # what differs from the prior is news, and no anomaly
    learn = Judgement(start_s, series.end_s + PRIOR_DAYS * DAY_S, keep=True)
    spec = replace(spec, judged=(learn, *spec.judged))
    seen_days = float(np.isfinite(series.arrivals).sum()) * series.slot_s / DAY_S
    calibrated = _calibrated(per_slot, series.slot_s, prior, seen_days, log_sample)
    return LiveForecaster(calibrated, history, spec, NAME)


def _level(series: DemandSeries, spec: CalendarSpec, prior: Prior) -> float:
    """Mean demand per slot of a usual week, by what was seen of it."""
    hour = hour_of_week(series.start_s, series.slot_s, np.arange(series.arrivals.size), spec)
    seen = np.isfinite(series.arrivals)
    total, share = float(series.arrivals[seen].sum()), float(prior.hours[hour[seen]].sum())
    if prior.level_rps is not None:
        weight = LEVEL_HOURS * HOUR_S / series.slot_s
        total += weight * prior.level_rps * series.slot_s
        share += weight
    return max(total / max(share, 1e-9), 1e-9)


def _calibrated(
    per_slot: float, slot_s: float, prior: Prior, seen_days: float, log_sample: float
) -> Calibrated:
    """Correction and quantiles that nothing taught: what is carried on, and how wide it must be."""
    scale = SOFTNESS * per_slot
    leads = sorted({max(round(lead / slot_s), 1) for lead in LEADS_S})
    known = 0.5 ** (seen_days / FORGOTTEN_DAYS)
    hour = min(seen_days * DAY_S / HOUR_S, 1.0)
    correction, spread = [], []
    for lead in leads:
        fades = 0.5 ** (lead * slot_s / FOLLOWS_HALF_LIFE_S)
        weights = [FOLLOWS.get(memory, 0.0) * fades for memory in HALF_LIVES_S]
        correction.append((*weights, *[0.0] * (SIGNALS - len(weights))))
        # what the last hour told is told for the next ones
        variance = STEP_DEVIATION**2 + prior.deviation**2 * known * (1 - hour * fades)
        variance += LEVEL_DEVIATION**2 * (1 - hour)
        spread.append((variance, DISPERSION / max(log_sample * scale, 1e-9)))
    quantiles = tuple(ndtri(np.asarray(LEVELS)).tolist() for _ in leads)
    return Calibrated(
        "pool", slot_s, tuple(leads), scale, tuple(correction),
        tuple(tuple(row) for row in quantiles), tuple(spread),
    )  # fmt: skip
