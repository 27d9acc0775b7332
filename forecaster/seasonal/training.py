"""Training: backtest every member, choose, calibrate; one service, or thousands on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecaster.domain.demand import DemandSeries, FloatArray
from forecaster.domain.errors import TooLittleHistoryError
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.backtest import History, Verified, backtest, first_slot
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.champion import Calibration
from forecaster.seasonal.member import slots_per_day
from forecaster.seasonal.names import MEMBER_NAMES, NAIVE
from forecaster.seasonal.selection import Incumbent, Verdict, choose


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
    incumbent: Incumbent | None = None,
) -> Verdict:
    """Backtest `members` (and both seasonal naives, and who serves) on the series and choose.

    Parameters
    ----------
    series : DemandSeries
        History on the grid of the season.
    spec : CalendarSpec
        Calendar of the service.
    members : sequence of str
        Candidates.
    incumbent : Incumbent or None
        The champion so far.

    Raises
    ------
    TooLittleHistoryError
        Below three days.
    SettingError
        For an unknown member.
    """
    calendar = Calendar(series.start_s, series.slot_s, spec)
    trained = train_together(
        series.arrivals[:, None], calendar, members, series.service, [incumbent]
    )
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
    name: str = "series",
    incumbents: Sequence[Incumbent | None] = (),
) -> Trained:
    """Train the N series of ``Y[T, N]`` (NaN = missing), which share a grid and a calendar."""
    serving = [each.member for each in incumbents if each is not None]
    members = [*members, *(each for each in serving if each in MEMBER_NAMES)]
    history = History.of(Y, calendar)
    first = first_slot(Y.shape[0], slots_per_day(calendar.slot_s), name)
    verified = {}
    for member in dict.fromkeys([*NAIVE, *members]):
        verified[member] = backtest(member, history, first)
    verdicts, calibrations = choose(list(verified.values()), incumbents)
    return Trained(verdicts, verified, calibrations)


@dataclass(frozen=True)
class Lesson:
    """One service to train."""

    series: DemandSeries
    spec: CalendarSpec
    members: tuple[str, ...]
    incumbent: Incumbent | None = None


def train_batch(lessons: Sequence[Lesson]) -> list[Verdict | TooLittleHistoryError]:
    """Train services, those together that share a grid, a calendar and their candidates; in their order."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for n, each in enumerate(lessons):
        grid = (each.series.start_s, each.series.slot_s, each.series.arrivals.size)
        groups.setdefault((*grid, each.spec, each.members), []).append(n)
    found: dict[int, Verdict | TooLittleHistoryError] = {}
    for at in groups.values():
        first = lessons[at[0]]
        Y = np.column_stack([lessons[n].series.arrivals for n in at])
        calendar = Calendar(first.series.start_s, first.series.slot_s, first.spec)
        try:
            trained = train_together(
                Y, calendar, first.members, name=first.series.service,
                incumbents=[lessons[n].incumbent for n in at],
            )  # fmt: skip
        except TooLittleHistoryError as error:
            for n in at:
                name = lessons[n].series.service
                found[n] = TooLittleHistoryError(name, error.have_s, error.need_s)
        else:
            found |= dict(zip(at, trained.verdicts, strict=True))
    return [found[n] for n in range(len(lessons))]
