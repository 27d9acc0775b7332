"""Training: backtest every member, choose, calibrate; one service, or thousands on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from forecaster.domain.demand import DemandSeries, FloatArray
from forecaster.domain.errors import TooLittleHistoryError
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.backtest import History, Verified, backtest, first_slot
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.champion import Calibration
from forecaster.seasonal.folds import Folds, Kept, goes_on
from forecaster.seasonal.member import slots_per_day
from forecaster.seasonal.names import MEMBER_NAMES, NAIVE
from forecaster.seasonal.selection import Incumbent, Verdict, choose
from forecaster.seasonal.softlog import from_z

HOUR_S = 3600.0


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
        What each member said and what came, by its name.
    calibrations : dict of str to Calibration
        What those of the members taught that are champion of any series, by name.
    """

    verdicts: list[Verdict]
    verified: dict[str, Verified]
    calibrations: dict[str, Calibration]

    def folds(self, n: int, start_s: float) -> dict[str, Folds]:
        """What members said anew of series `n`, to be kept; slot 0 begins at `start_s`."""
        found = {}
        for name, each in self.verified.items():
            if name not in NAIVE and each.fresh:
                over = each.said.shape[0] - each.fresh
                first = each.first + over * slots_per_day(each.slot_s)
                said = from_z(each.said[over:, :, n], each.scale[n])
                first_s = start_s + first * each.slot_s
                found[name] = Folds(first_s, said, each.error[over:, :, n] * each.scale[n])
        return found

    def kept(self) -> Kept:
        """All that its members said, of these days and those before."""
        rolled = {name: each for name, each in self.verified.items() if name not in NAIVE}
        one = next(iter(self.verified.values()))
        return Kept(
            one.first,
            one.said.shape[0],
            {name: from_z(each.said, each.scale) for name, each in rolled.items()},
            {name: each.error * each.scale for name, each in rolled.items()},
        )


def train_together(
    Y: FloatArray,
    calendar: Calendar,
    members: Sequence[str],
    name: str = "series",
    incumbents: Sequence[Incumbent | None] = (),
    kept: Kept | None = None,
) -> Trained:
    """Train the N series of ``Y[T, N]`` (NaN = missing), which share a grid and a calendar.

    Parameters
    ----------
    kept : Kept or None
        What the candidates said at the time; None: all of it is backtested.
    """
    day = slots_per_day(calendar.slot_s)
    first = first_slot(Y.shape[0], day, name)
    if kept is not None:
        first = kept.first_verified(Y.shape[0], day)
    history = History.of(Y, calendar)
    verified = {
        member: backtest(member, history, first, kept)
        for member in (*NAIVE, *candidates(members, incumbents))
    }
    verdicts, calibrations = choose(list(verified.values()), incumbents)
    return Trained(verdicts, verified, calibrations)


def candidates(
    members: Sequence[str], incumbents: Sequence[Incumbent | None] = ()
) -> tuple[str, ...]:
    """Who is trained beside the seasonal naives: those asked for and those that serve."""
    serving = [each.member for each in incumbents if each is not None]
    named = [*members, *(each for each in serving if each in MEMBER_NAMES)]
    return tuple(dict.fromkeys(each for each in named if each not in NAIVE))


@dataclass(frozen=True)
class Lesson:
    """One service to train.

    Attributes
    ----------
    folds : mapping of str to Folds
        What was said of it before, by member; empty: it is backtested.
    unit_s : float
        What one request of the series stands for, busy seconds; 1 where requests are not weighed.
    """

    series: DemandSeries
    spec: CalendarSpec
    members: tuple[str, ...]
    incumbent: Incumbent | None = None
    folds: Mapping[str, Folds] = field(default_factory=dict)
    unit_s: float = 1.0


@dataclass(frozen=True)
class Learnt:
    """What training one service gave.

    Attributes
    ----------
    folds : dict of str to Folds
        What its members said anew, by member: to be kept for the next training.
    anew : bool
        It was backtested: what was kept before is no matter any more.
    """

    verdict: Verdict
    folds: Mapping[str, Folds]
    anew: bool


def train_batch(lessons: Sequence[Lesson]) -> list[Learnt | TooLittleHistoryError]:
    """Train services, those together that share a grid, a calendar and their candidates; in their order."""
    groups: dict[tuple[object, ...], list[int]] = {}
    found: dict[int, Learnt | TooLittleHistoryError] = {}
    for n, each in enumerate(lessons):
        try:
            check_history(each.series)
        except TooLittleHistoryError as error:
            found[n] = error
            continue
        on_grid = on_the_hour(each)
        series = on_grid.series
        grid = (series.start_s, series.slot_s, series.arrivals.size)
        groups.setdefault((*grid, each.spec, each.members, _kept_days(on_grid)), []).append(n)
    for at in groups.values():
        found |= dict(zip(at, _train_alike([on_the_hour(lessons[n]) for n in at]), strict=True))
    return [found[n] for n in range(len(lessons))]


def train_one(lesson: Lesson) -> Learnt:
    """Train one service.

    Raises
    ------
    TooLittleHistoryError
        Below three days.
    SettingError
        For an unknown member.
    """
    check_history(lesson.series)
    return _train_alike([on_the_hour(lesson)])[0]


def check_history(series: DemandSeries) -> None:
    """Raise `TooLittleHistoryError` for a series of less than three days."""
    first_slot(series.arrivals.size, slots_per_day(series.slot_s), series.service)


def on_the_hour(lesson: Lesson) -> Lesson:
    """The lesson from the hour in which its series begins to that in which it ends, the rest missing.

    Logs that begin and end within the same hours are so on one grid, and train together.
    """
    series, slot_s = lesson.series, lesson.series.slot_s
    if HOUR_S % slot_s:
        return lesson
    before = round(series.start_s % HOUR_S / slot_s)
    after = round(-series.end_s % HOUR_S / slot_s)
    padded = np.pad(series.arrivals, (before, after), constant_values=np.nan)
    start_s = series.start_s - before * slot_s
    return replace(lesson, series=replace(series, start_s=start_s, arrivals=padded))


def _train_alike(lessons: Sequence[Lesson]) -> list[Learnt]:
    """Train services of one group."""
    first, series = lessons[0], lessons[0].series
    Y = np.column_stack([each.series.arrivals for each in lessons])
    calendar = Calendar(series.start_s, series.slot_s, first.spec)
    kept = None
    if _kept_days(first):
        names = candidates(first.members, [first.incumbent])
        kept = Kept.join([each.folds for each in lessons], names, series.start_s, series.slot_s)
    incumbents = [each.incumbent for each in lessons]
    trained = train_together(Y, calendar, first.members, series.service, incumbents, kept)
    return [
        Learnt(verdict, trained.folds(n, series.start_s), kept is None)
        for n, verdict in enumerate(trained.verdicts)
    ]


def _kept_days(each: Lesson) -> tuple[object, ...]:
    """Which days of which members a training of this service can go on from; empty: it is backtested."""
    series, slot_s = each.series, each.series.slot_s
    members = candidates(each.members, [each.incumbent])
    if not goes_on(each.folds, members, series.start_s, slot_s, series.arrivals.size):
        return ()
    one = each.folds[members[0]]
    return (one.first_s, one.said.shape[0], *members)
