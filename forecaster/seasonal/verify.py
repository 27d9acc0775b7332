"""Verified forecasts: what was foretold beside what came, by lead; and whether it still holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.domain.forecast import QuantileForecast
from forecaster.seasonal.scores import pinball

VERIFIED_LEADS_S = (300.0, 600.0, 1800.0, 3600.0, 10_800.0, 21_600.0, 86_400.0)
"""Leads that are kept of every forecast, seconds."""
RECENT_S = 2 * 86_400.0
"""The newest part, which drift is looked for in."""
DRIFT_LEVEL, DRIFT_LEAST = 0.95, 50
"""Quantile whose coverage tells drift, and verified forecasts below which nothing is told."""
DRIFT_SIGMAS, DRIFT_OFF = 4.0, 0.03
"""Standard errors, and points of coverage, that the recent past may be off."""
DRIFT_WAPE = 1.5
"""Times the error of the time before that the recent error may have."""
PLANNING = 0.99


@dataclass(frozen=True, slots=True)
class Foretold:
    """One forecast, as far as it will be verified.

    Attributes
    ----------
    made_s, start_s : float
        When it was made, and the start of slot 0, epoch seconds.
    model_id : int
        Version that made it; 0 when it is gone.
    load : bool
        In busy units; else requests/s.
    slots : tuple of int
        Indices of the slots ahead.
    said : float64[len(slots), len(levels)]
        Quantiles.
    """

    made_s: float
    start_s: float
    slot_s: float
    model_id: int
    load: bool
    slots: tuple[int, ...]
    levels: tuple[float, ...]
    said: FloatArray


def to_verify(forecast: QuantileForecast, model_id: int) -> Foretold:
    """What is kept of a forecast: a few leads at every level."""
    horizon = forecast.arrival_rate_rps.shape[0]
    slots = sorted({max(round(lead / forecast.slot_s), 1) - 1 for lead in VERIFIED_LEADS_S})
    slots = [slot for slot in slots if slot < horizon]
    load = bool(np.isfinite(forecast.offered_load_erl).all())
    table = forecast.offered_load_erl if load else forecast.arrival_rate_rps
    return Foretold(
        forecast.made_s, forecast.start_s, forecast.slot_s, model_id, load,
        tuple(slots), forecast.levels, table[slots],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LeadAccuracy:
    """How forecasts of one lead did.

    Attributes
    ----------
    wape, bias : float
        Of the median: sum of absolute errors, and of errors, over the sum of demand.
    pinball : float
        At 0.99, relative to mean demand.
    coverage : tuple of (float, float)
        (level, share of what came at or below).
    """

    lead_s: float
    verified: int
    wape: float
    bias: float
    pinball: float
    coverage: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How the forecasts of one service did.

    Attributes
    ----------
    leads : tuple of LeadAccuracy
        By lead, over the whole time.
    pending : int
        Forecast slots whose demand is not known yet.
    drift : str
        Why the recent forecasts are not as good as they say; empty: they are.
    """

    leads: tuple[LeadAccuracy, ...]
    pending: int
    drift: str


def accuracy(
    found: Sequence[Foretold], start_s: float, slot_s: float, came: FloatArray
) -> Accuracy:
    """Hold forecasts to the demand that came.

    Parameters
    ----------
    found : sequence of Foretold
        Of one grid, the oldest first.
    start_s, slot_s : float
        Start of the first slot of `came`, epoch seconds, and the grid.
    came : float64[T]
        Demand in the unit of the forecasts; NaN where missing.
    """
    by_lead: dict[int, list[tuple[float, tuple[float, ...], FloatArray, float]]] = {}
    pending = 0
    for each in found:
        for row, slot in enumerate(each.slots):
            at = round((each.start_s - start_s) / slot_s) + slot
            if at >= came.size:
                pending += 1
            elif at >= 0 and np.isfinite(came[at]):
                entry = (each.made_s, each.levels, each.said[row], float(came[at]))
                by_lead.setdefault(slot, []).append(entry)
    leads, alarms = [], []
    for slot, entries in sorted(by_lead.items()):
        levels = entries[-1][1]
        same = [entry for entry in entries if entry[1] == levels]
        made = np.array([entry[0] for entry in same])
        said = np.stack([entry[2] for entry in same])
        actual = np.array([entry[3] for entry in same])
        leads.append(_lead((slot + 1) * slot_s, levels, said, actual))
        alarms.append(_drift((slot + 1) * slot_s, levels, made, said, actual))
    return Accuracy(tuple(leads), pending, next(filter(None, alarms), ""))


def _lead(
    lead_s: float, levels: tuple[float, ...], said: FloatArray, actual: FloatArray
) -> LeadAccuracy:
    median = said[:, _nearest(levels, 0.5)]
    total = max(float(actual.sum()), 1e-12)
    planned = said[:, _nearest(levels, PLANNING)]
    return LeadAccuracy(
        lead_s,
        int(actual.size),
        float(np.abs(median - actual).sum()) / total,
        float((median - actual).sum()) / total,
        float(pinball(actual, planned, PLANNING)) * actual.size / total,
        tuple((level, float((actual <= said[:, q]).mean())) for q, level in enumerate(levels)),
    )


def _drift(
    lead_s: float, levels: tuple[float, ...], made: FloatArray, said: FloatArray, actual: FloatArray
) -> str:
    """Whether the last two days break what the quantiles promise, or err far more than before."""
    recent = made > made[-1] - RECENT_S
    count = int(recent.sum())
    if count < DRIFT_LEAST:
        return ""
    q = _nearest(levels, DRIFT_LEVEL)
    share = float((actual[recent] <= said[recent, q]).mean())
    # forecasts whose leads overlap share their errors
    apart_s = max(float(made[recent][-1] - made[recent][0]) / max(count - 1, 1), 1.0)
    independent = max(count / max(lead_s / apart_s, 1.0), 1.0)
    error = math.sqrt(levels[q] * (1 - levels[q]) / independent)
    label = f"{lead_s / 60:.0f} min ahead"
    if levels[q] - share > max(DRIFT_SIGMAS * error, DRIFT_OFF):
        return f"{label}: {share:.1%} of the last two days were below the {levels[q]:g} quantile"
    before = ~recent
    if int(before.sum()) >= count:
        median = said[:, _nearest(levels, 0.5)]
        now, then = (
            float(np.abs(median[part] - actual[part]).sum()) / max(float(actual[part].sum()), 1e-12)
            for part in (recent, before)
        )
        if now > DRIFT_WAPE * then and independent >= 4:
            return f"{label}: WAPE {now:.3f} in the last two days, {then:.3f} before"
    return ""


def _nearest(levels: tuple[float, ...], level: float) -> int:
    return int(np.argmin(np.abs(np.asarray(levels) - level)))
