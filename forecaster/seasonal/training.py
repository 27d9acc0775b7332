"""Training: backtest every member, choose, calibrate; one service, or thousands on one grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from forecaster.domain.demand import DemandSeries, FloatArray
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.backtest import History, Verified, backtest, first_slot
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.champion import Calibration
from forecaster.seasonal.member import slots_per_day
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
    trained = train_together(series.arrivals[:, None], calendar, members, on_member, series.service)
    return trained.verdicts[0]


@dataclass(frozen=True)
class Trained:
    """What training N series together gave.

    Attributes
    ----------
    verdicts : list of Verdict
        One for each series.
    verified : dict of str to Verified
        The backtest of each member, by its name.
    calibrations : dict of str to Calibration
        What those of the members taught that are champion of any series, by name.
    """

    verdicts: list[Verdict]
    verified: dict[str, Verified]
    calibrations: dict[str, Calibration]


def train_together(
    Y: FloatArray,
    calendar: Calendar,
    members: Sequence[str],
    on_member: Callable[[str], None] = lambda member: None,
    name: str = "series",
) -> Trained:
    """Train the N series of ``Y[T, N]`` (NaN = missing), which share a grid and a calendar."""
    history = History.of(Y, calendar)
    first = first_slot(Y.shape[0], slots_per_day(calendar.slot_s), name)
    verified = {}
    for member in dict.fromkeys([*NAIVE, *members]):
        on_member(member)
        verified[member] = backtest(member, history, first)
    verdicts, calibrations = choose(list(verified.values()))
    return Trained(verdicts, verified, calibrations)
