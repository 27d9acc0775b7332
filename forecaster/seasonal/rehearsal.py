"""What the champion would have foreseen in the days before: verified forecasts without waiting for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecaster.domain.demand import DemandSeries, FloatArray
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.calibration import LEVELS
from forecaster.seasonal.champion import Calibrated
from forecaster.seasonal.live import LiveForecaster

DAYS = 3.0
LEAST_BEFORE_DAYS = 2.0
"""History that is left before the first rehearsed forecast."""
DAY_S = 86_400.0


def rehearsed(
    calibrated: Calibrated, series: DemandSeries, spec: CalendarSpec, lead_slots: int
) -> tuple[FloatArray, FloatArray]:
    """Forecasts made `lead_slots` before each slot of the last days, and what came.

    The season is fitted on what lies before each of those days; correction and quantiles are the
    champion's.

    Parameters
    ----------
    lead_slots : int
        Slots between the last known one and the forecast one, >= 0.

    Returns
    -------
    foreseen : float64[K, Q]
        Quantiles at `LEVELS`, units of the series per second; K is 0 for a short history.
    happened : float64[K]
        The same of what came; slots that are missing are left out.
    """
    day = round(DAY_S / series.slot_s)
    count = min(round(DAYS * day), series.arrivals.size - round(LEAST_BEFORE_DAYS * day))
    if count <= lead_slots:
        return np.zeros((0, len(LEVELS))), np.zeros(0)
    known = series.arrivals.size - count
    before = replace(
        series,
        arrivals=series.arrivals[:known],
        prompt_tokens=series.prompt_tokens[:known],
        output_tokens=series.output_tokens[:known],
    )
    live = LiveForecaster(calibrated, before, spec)
    foreseen = np.empty((count - lead_slots, len(LEVELS)))
    for k in range(count - lead_slots):
        foreseen[k] = live.forecast(lead_slots + 1, LEVELS, 0.0).arrival_rate_rps[-1]
        live.advance(series.arrivals[known + k : known + k + 1])
    happened = series.arrivals[known + lead_slots :] / series.slot_s
    seen = np.isfinite(happened)
    return foreseen[seen], happened[seen]
