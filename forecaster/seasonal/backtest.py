"""Rolling-origin backtest: the out-of-sample season of every slot, from what lay before its day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import TooLittleHistoryError
from forecaster.domain.ports import CalendarFeatures
from forecaster.seasonal import registry
from forecaster.seasonal.softlog import from_z, scale_of, to_z

BACKTEST_SHARE = 0.4
"""Last share of the history that is forecast out of sample: half calibrates, half scores."""
MIN_HISTORY_DAYS = 3.0


@dataclass(frozen=True, slots=True)
class Verified:
    """Out-of-sample seasons of one member.

    Attributes
    ----------
    member : str
        Name of the member.
    first : int
        First backtested slot.
    actual : float64[B]
        Demand; NaN where missing.
    base : float64[B]
        The season's forecast, made before the slot's day began.
    residual : float64[B]
        Verified error on the common z scale; NaN where missing.
    scale : float
        The common z scale.
    """

    member: str
    first: int
    actual: FloatArray
    base: FloatArray
    residual: FloatArray
    scale: float

    @property
    def base_z(self) -> FloatArray:
        """The season on the common z scale, float64[B]."""
        return to_z(self.base, np.array(self.scale))


def first_slot(slots: int, slots_per_day: int, service: str = "series") -> int:
    """First slot to backtest: the last 40 %, but never with less than two days to learn from.

    Raises
    ------
    TooLittleHistoryError
        Below three days.
    """
    if slots < MIN_HISTORY_DAYS * slots_per_day:
        day_s = 86_400.0
        raise TooLittleHistoryError(
            service, slots / slots_per_day * day_s, MIN_HISTORY_DAYS * day_s
        )
    start = round(slots * (1 - BACKTEST_SHARE))
    return max(start, 2 * slots_per_day + 1)


def backtest(
    member: str, y: FloatArray, calendar: CalendarFeatures, mask: npt.NDArray[np.bool_], first: int
) -> Verified:
    """Forecast every slot from `first` on, refitting as often as the member is meant to be.

    Parameters
    ----------
    member : str
        Name in the registry.
    y : float64[T]
        Demand per slot.
    calendar : CalendarFeatures
        Calendar of the same grid.
    mask : bool[T]
        True where `y` was measured.
    first : int
        First slot to forecast.
    """
    T = y.size
    day = max(round(86_400 / calendar.slot_s), 1)
    base = np.full(T - first, np.nan)
    fitted = None
    for fold, start in enumerate(range(first, T, day)):
        steps = min(day, T - start)
        if fitted is None or fold % fitted.refit_days == 0:
            fitted = registry.make(member).fit(y[:start, None], calendar, mask[:start, None])
        else:
            for t in range(start - day, start):
                fitted.update(np.array([y[t] if mask[t] else np.nan]))
        path = fitted.path(range(1, steps + 1))
        base[start - first : start - first + steps] = from_z(path, fitted.scale)[:, 0]
    scale = float(scale_of(y[:first, None], mask[:first, None])[0])
    actual = np.where(mask[first:], y[first:], np.nan)
    residual = to_z(actual, np.array(scale)) - to_z(base, np.array(scale))
    return Verified(member, first, actual, base, residual, scale)
