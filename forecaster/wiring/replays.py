"""A replay from request log to verdict: refusals first, then the table, then the contest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecaster.capacity.sizing import Question, check_slo
from forecaster.capacity.sizing_table import SizingTable
from forecaster.domain.demand import IntArray, RequestBatch
from forecaster.domain.errors import DataError, SettingError, TooLittleHistoryError
from forecaster.domain.profile import UnitType
from forecaster.replay.contest import POLICIES, Contest, Court, Terms, check_policies, set_scene
from forecaster.replay.frontier import Frontier, check_settings, frontier
from forecaster.replay.scene import DAY_S, SLOT_S
from forecaster.replay.summary import skipped
from forecaster.replay.trace import Trace
from forecaster.wiring.tables import Tables

RATE_SCALE_MOST = 100_000.0
DAYS_MOST = 400.0
SEEDS = 1 << 31
SPAN_DAYS_MOST = 1100.0
"""Loads are kept by ten seconds: three years are 150 MB."""
Progress = Callable[[str, float], None]
"""Told what is done now, and the share that is done, 0..1."""
_SIZING_SHARE = 0.15
_LONG = {"mean-planner": 4.0, "tidegate": 5.0, "smoothed": 2.0}
"""Policies that take longer than the others, for the bar."""


@dataclass(frozen=True)
class Order:
    """What is to be replayed.

    Attributes
    ----------
    terms : Terms
        Unit, SLO, lead, window, limits, calendar, seed.
    rate_scale : float
        Copies of the log, above 0.
    policies : tuple of str
        Whom to play.
    untuned : bool
        Whether Tidegate is also played without hindsight.
    """

    terms: Terms
    rate_scale: float = 1.0
    policies: tuple[str, ...] = POLICIES
    untuned: bool = True

    def checked(self) -> Order:
        """Return the order with its policies in their order.

        Raises
        ------
        SettingError
            For what is out of range, before anything is read.
        """
        for key, value, most in (
            ("--rate-scale", self.rate_scale, RATE_SCALE_MOST),
            ("--days", self.terms.days, DAYS_MOST),
        ):
            if not 0 < value <= most:
                raise SettingError(key, value, f"above 0, at most {most:g}")
        if not 0 <= self.terms.seed < SEEDS:
            raise SettingError("--seed", self.terms.seed, f"0 to {SEEDS - 1}")
        if not self.policies:
            raise SettingError("--policies", "", f"among {', '.join(POLICIES)}", "name one or more")
        check_slo(self.terms.slo, self.terms.unit.profile)
        return replace(self, policies=check_policies(self.policies))


def play(
    requests: RequestBatch,
    order: Order,
    tables: Tables,
    progress: Progress = lambda name, share: None,
) -> Contest:
    """Play the policies on a log.

    Raises
    ------
    SettingError
        For an order out of range.
    DataError
        When the log cannot answer: no tokens for a generative unit, too short, nothing to score.
    SloInfeasibleError
        When no number of units keeps the SLO.
    """
    order = order.checked()
    court = set_court(requests, order, tables, progress, _weighted(order, progress))
    try:
        contest = court.play(order.policies, order.untuned)
    except TooLittleHistoryError as error:
        raise too_little(
            error, court.scene.trace, order.terms.days, "leave tidegate out of --policies"
        ) from error
    if not contest.entries:
        why = "; ".join(f"{name}: {reason}" for name, reason in skipped(contest).items())
        raise DataError(f"not one policy could be played ({why})", "replay a longer log")
    return contest


def play_frontier(
    requests: RequestBatch,
    order: Order,
    tables: Tables,
    settings: tuple[Sequence[float], Sequence[float]],
    progress: Progress = lambda name, share: None,
) -> Frontier:
    """Play every setting, elasticities and targets, on a log.

    Raises
    ------
    SettingError, DataError, SloInfeasibleError
        As `play` does.
    """
    order = order.checked()
    elasticities, targets = check_settings(*settings)

    def told(name: str, share: float) -> None:
        progress(name, _SIZING_SHARE + (1 - _SIZING_SHARE) * share)

    court = set_court(requests, order, tables, progress, told)
    try:
        return frontier(court, elasticities, targets, told)
    except TooLittleHistoryError as error:
        raise too_little(error, court.scene.trace, order.terms.days) from error


def set_court(
    requests: RequestBatch, order: Order, tables: Tables, progress: Progress, played: Progress
) -> Court:
    """Refuse what cannot be answered, size the tier, and open the court on the scored window.

    Parameters
    ----------
    progress, played : callable
        Told of the sizing, and by the court of what is played.

    Raises
    ------
    DataError, SloInfeasibleError
        As `play` does.
    """
    check_span(requests)
    check_tokens(requests, order.terms.unit)
    trace = Trace(requests, order.rate_scale, order.terms.seed)

    def table_of(question: Question, units: int, lengths: tuple[IntArray, IntArray]) -> SizingTable:
        def built(share: float) -> None:
            progress("sizing", share * _SIZING_SHARE)

        return tables.table(question, units, lengths, built)

    progress("measuring the log", 0.0)
    court = Court(set_scene(trace, order.terms, table_of), order.terms, played)
    if not court.minute_requests.sum():
        raise DataError("the scored window has no requests", "raise --days")
    return court


def too_little(
    error: TooLittleHistoryError, trace: Trace, days: float, otherwise: str = ""
) -> DataError:
    """Say how many days can be scored instead."""
    have_days = (trace.to_s - trace.from_s) / DAY_S
    left = np.floor(10 * (have_days - error.need_s / DAY_S)) / 10
    remedy = f"give --days {left:g}" if left > 0 else "replay a longer log"
    return DataError(
        f"Tidegate learns from {error.need_s / DAY_S:g} days before the scored window:"
        f" the log has {have_days:.1f} days and --days {days:g} are scored",
        f"{remedy}, or {otherwise}" if otherwise else remedy,
    )


def check_span(requests: RequestBatch) -> None:
    """Refuse a log that is over before it begins, and one with a broken clock.

    Raises
    ------
    DataError
        When the log spans less than a slot, or years.
    """
    if not len(requests):
        raise DataError("the log has no requests", "replay a log with requests")
    span_s = float(requests.arrival_s[-1] - requests.arrival_s[0])
    if span_s < 2 * SLOT_S:
        count = len(requests)
        raise DataError(
            f"the log spans {span_s:.0f} s with {count} request{'s' if count > 1 else ''}:"
            " too short to score anything",
            f"replay one of {2 * SLOT_S / 60:.0f} minutes or more; days are better",
        )
    if span_s > SPAN_DAYS_MOST * DAY_S:
        raise DataError(
            f"the log spans {span_s / DAY_S:,.0f} days, at most {SPAN_DAYS_MOST:g} are replayed",
            "look for a broken clock in its first and last lines, or cut it",
        )


def check_tokens(requests: RequestBatch, unit: UnitType) -> None:
    """Refuse a log that says nothing about the work of a generative unit.

    Raises
    ------
    DataError
        When the log has no prompt tokens or no output tokens at all.
    """
    if not unit.generative:
        return
    for role, tokens in (
        ("prompt_tokens", requests.prompt_tokens),
        ("output_tokens", requests.output_tokens),
    ):
        if not tokens.any():
            raise DataError(
                f"the log has no {role.replace('_', ' ')}, and {unit.name!r} is a generative unit",
                f"map the column with --column {role}=NAME, or name a classic unit",
            )


def _weighted(order: Order, progress: Progress) -> Progress:
    """Shares of the time rather than of the names, behind the sizing."""
    names = [*order.policies, *(["untuned"] if order.untuned else [])]
    weights = np.array([_LONG.get(name, 1.0) for name in names])
    begins = dict(
        zip(names, np.concatenate([[0.0], np.cumsum(weights)]) / weights.sum(), strict=False)
    )

    def told(name: str, share: float) -> None:
        key = "untuned" if "untuned" in name else name
        at = float(begins.get(key, share))
        progress(name, _SIZING_SHARE + (1 - _SIZING_SHARE) * at)

    return told
