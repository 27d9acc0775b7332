"""What teaches the season: demand without its anomalies and without its events."""

from __future__ import annotations

import numpy as np

from forecaster.demand.anomalies import judged, untaught
from forecaster.domain.demand import FloatArray
from forecaster.seasonal.calendar import HOLIDAY, Calendar
from forecaster.seasonal.events import event_slots
from forecaster.seasonal.member import BoolArray


def explained(calendar: Calendar, slots: int) -> BoolArray:
    """Slots that the calendar explains: holidays and events with the windows around them."""
    where = np.arange(slots)
    known = event_slots(calendar, where)
    if calendar.spec.country:
        known |= calendar.day_type(where) == HOLIDAY
    return known


def left_out(Y: FloatArray, calendar: Calendar) -> BoolArray:
    """Slots of ``Y[T, N]`` that do not teach the season, bool[T, N]."""
    known = explained(calendar, Y.shape[0])
    mask = untaught(Y, calendar.start_s, calendar.slot_s, known)
    mask = judged(mask, calendar.start_s, calendar.slot_s, calendar.spec.judged)
    mask[event_slots(calendar, np.arange(Y.shape[0]))] = True
    return mask


def cleaned(Z: FloatArray, Y: FloatArray, calendar: Calendar) -> FloatArray:
    """``Z[T, N]`` with NaN where ``Y[T, N]`` is not to be learnt; Z itself where all of it is."""
    mask = left_out(Y, calendar)
    return np.where(mask, np.nan, Z).astype(Z.dtype) if mask.any() else Z
