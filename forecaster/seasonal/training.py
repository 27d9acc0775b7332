"""Training one service: backtest every member, choose, calibrate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from forecaster.domain.demand import DemandSeries
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.backtest import backtest, first_slot
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.names import NAIVE
from forecaster.seasonal.selection import Verdict, choose


def last_days(series: DemandSeries, days: float) -> DemandSeries:
    """The last `days` of a series."""
    keep = min(round(days * 86_400 / series.slot_s), series.arrivals.size)
    skipped = series.arrivals.size - keep
    return replace(
        series,
        start_s=series.start_s + skipped * series.slot_s,
        arrivals=series.arrivals[skipped:],
        prompt_tokens=series.prompt_tokens[skipped:],
        output_tokens=series.output_tokens[skipped:],
    )


def train(
    series: DemandSeries,
    spec: CalendarSpec,
    members: Sequence[str],
    on_member: Callable[[str], None] = lambda member: None,
) -> Verdict:
    """Backtest `members` (and both seasonal naives) on the series and choose.

    Parameters
    ----------
    series : DemandSeries
        History on the grid of the season.
    spec : CalendarSpec
        Calendar of the service.
    members : sequence of str
        Candidates.
    on_member : callable
        Told the name of each member before its backtest, for progress.

    Raises
    ------
    TooLittleHistoryError
        Below three days.
    SettingError
        For an unknown member.
    """
    calendar = Calendar(series.start_s, series.slot_s, spec)
    mask = np.isfinite(series.arrivals)
    y = np.where(mask, series.arrivals, 0.0)
    first = first_slot(y.size, max(round(86_400 / series.slot_s), 1), series.service)
    verified = []
    for name in dict.fromkeys([*NAIVE, *members]):
        on_member(name)
        verified.append(backtest(name, y, calendar, mask, first))
    return choose(verified, series.slot_s)
