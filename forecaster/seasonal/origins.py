"""Rolling origins as production lives them: trained once a day, corrected with every slot between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.folds import Kept
from forecaster.seasonal.live import LiveFleet
from forecaster.seasonal.member import DAY_S, slots_per_day
from forecaster.seasonal.training import Trained, train_together


@dataclass(frozen=True, slots=True)
class Origin:
    """Forecasts of N series made at one origin.

    Attributes
    ----------
    slot : int
        Slots known by then.
    quantiles : float64[H, Q, N]
        Demand of the slots to come.
    champions : tuple of str
        Who said so, for each series.
    """

    slot: int
    quantiles: FloatArray
    champions: tuple[str, ...]


class Champions:
    """Every series under its own champion."""

    def __init__(self, trained: Trained) -> None:
        self.names = tuple(verdict.champion for verdict in trained.verdicts)
        self.columns = {
            name: [n for n, each in enumerate(self.names) if each == name]
            for name in dict.fromkeys(self.names)
        }
        self.fleets = {
            name: LiveFleet.after(trained.calibrations[name], trained.verified[name])
            for name in self.columns
        }

    def advance(self, Y: FloatArray) -> None:
        """Append slots, float64[k, N]."""
        for fleet in self.fleets.values():
            fleet.advance(Y)

    def quantiles(self, slots: int, levels: Sequence[float]) -> FloatArray:
        """Demand of the next slots, float64[H, Q, N]."""
        found = np.empty((slots, len(levels), len(self.names)))
        for name, columns in self.columns.items():
            found[:, :, columns] = self.fleets[name].quantiles(slots, levels)[:, :, columns]
        return found


def roll_origins(
    Y: FloatArray,
    calendar: Calendar,
    origins: Sequence[int],
    horizon: int,
    levels: Sequence[float],
    *,
    members: Sequence[str] = ("pool",),
    history_days: float = 42.0,
) -> Iterator[Origin]:
    """Forecast `horizon` slots from each origin, knowing only what lay before it.

    Parameters
    ----------
    Y : float64[T, N]
        Series on one grid; NaN is missing.
    calendar : Calendar
        Calendar of the grid.
    origins : sequence of int
        Known slots at each origin, rising.
    members : sequence of str
        Candidates beside the seasonal naives.
    history_days : float
        Days that a training sees.

    Raises
    ------
    TooLittleHistoryError
        When the first origin has less than three days before it.
    """
    day = slots_per_day(calendar.slot_s)
    most = round(history_days * DAY_S / calendar.slot_s)
    champions: Champions | None = None
    kept: Kept | None = None
    trained_at, known, begins = 0, 0, 0
    for origin in origins:
        if champions is None or origin - trained_at >= day:
            low = max(origin - most, 0)
            past = replace(calendar, start_s=calendar.start_s + low * calendar.slot_s)
            before = kept.later(low - begins, origin - low, day) if kept else None
            trained = train_together(Y[low:origin], past, members, kept=before)
            champions, kept = Champions(trained), trained.kept()
            trained_at, begins = origin, low
        else:
            champions.advance(Y[known:origin])
        known = origin
        yield Origin(origin, champions.quantiles(horizon, levels), champions.names)
