"""Choosing a champion, and the gate: what loses to seasonal naive is not crowned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.backtest import Verified
from forecaster.seasonal.calibration import interpolate_levels
from forecaster.seasonal.champion import Calibrated, Calibration, calibrate, centre_z
from forecaster.seasonal.correction import origins_of
from forecaster.seasonal.member import slots_per_day
from forecaster.seasonal.names import NAIVE, POOLS
from forecaster.seasonal.scores import coverage, pinball, wape
from forecaster.seasonal.softlog import from_z
from forecaster.seasonal.spread import spread_at

SCORE_LEVELS = (0.5, 0.9, 0.95, 0.99)
"""Pinball at the median and where capacity is bought."""

SCORED_SHARE = 0.2
"""The last part of the history scores; what was verified before it calibrates."""

POOL_MARGIN = 0.15
"""Who is to take the place of the pool must have this much less loss."""

DRAW = 1.3
"""Within this of seasonal naive is a draw on a fifth of the history: it goes to who goes on learning."""
PLANNED, SHORT_PRICE = 0.99, 100.0
"""What a plan holds, and what a request beyond it costs in units of one that is held: the level is the
least cost of that price."""
WIN, WIN_AT_ONCE, WINS = 0.03, 0.15, 2
"""A challenger costs so much less than the champion to win, so much less to be crowned at once, and on so
many days in a row otherwise: a retrain within the day scores what was foretold for it once more."""
BACK = 0.1
"""Where seasonal naive serves, a challenger must come so much closer to it than it needed not to lose."""
WAPE_MARGIN = 1.02
"""A median may be this much worse than seasonal naive's where the whole distribution is better."""


@dataclass(frozen=True, slots=True)
class MemberScore:
    """Out-of-sample scores on the last fifth of the history, mean over the leads.

    Attributes
    ----------
    wape : float
        Of the median.
    pinball : float
        Mean over the score levels, relative to mean demand.
    coverage : tuple of (float, float)
        (level, share of actuals at or below).
    cost : float
        Of the plan it would have made: what is held at `PLANNED` and what was short of it at
        `SHORT_PRICE`, relative to mean demand; 1 would be clairvoyant.
    """

    member: str
    wape: float
    pinball: float
    coverage: tuple[tuple[float, float], ...]
    cost: float


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The champion so far.

    Attributes
    ----------
    member : str
        Who serves.
    challenger : str
        Who won against it in the last retrains; empty: nobody.
    wins : int
        In how many of them, in a row.
    """

    member: str
    challenger: str = ""
    wins: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a retrain for one service.

    Attributes
    ----------
    champion : str
        The member that serves from now on.
    beats_naive : bool
        Whether it did, on the last fifth of the history; False = the reason says what serves and why.
    naive : MemberScore
        The better seasonal naive, uncorrected.
    challenger : str
        Who won against the champion without taking its place yet; empty: nobody.
    wins : int
        Retrains in a row that it won.
    """

    champion: str
    beats_naive: bool
    reason: str
    calibrated: Calibrated
    score: MemberScore
    naive: MemberScore
    scores: tuple[MemberScore, ...]
    challenger: str = ""
    wins: int = 0

    def scores_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "champion": asdict(self.score),
            "naive": asdict(self.naive),
            "members": [asdict(score) for score in self.scores],
            "challenger": self.challenger,
            "wins": self.wins,
        }


def choose(
    verified: Sequence[Verified], incumbents: Sequence[Incumbent | None] = ()
) -> tuple[list[Verdict], dict[str, Calibration]]:
    """Choose, for each series, of the members that stand up to seasonal naive the one whose plan costs least.

    The pool is preferred unless somebody is `POOL_MARGIN` better: it goes on weighing its members by
    their errors, and to choose one of them by a hair is to choose noise. For the same reason the
    champion so far stays until a challenger wins by `WIN` on `WINS` days, or by `WIN_AT_ONCE`.

    The gate asks for less pinball loss (what capacity is bought by) than the better of yesterday and
    last week as they are, and no more WAPE, on the last fifth of the history (what was verified
    before it calibrated). Where naive is clearly better than everybody, it serves itself, corrected
    at short leads by what it missed; in between it is a draw, and the verdict says so.

    Parameters
    ----------
    verified : sequence of Verified
        Backtests of the members, the seasonal naives among them, of the same N series.
    incumbents : sequence of Incumbent or None
        The champion so far of each series; empty: of none.

    Returns
    -------
    verdicts : list of Verdict
        One for each series.
    calibrations : dict of str to Calibration
        Of the members that are champion of any of them, on all series.
    """
    scores = {v.member.name: _score(v, corrected=v.member.name not in NAIVE) for v in verified}
    series = verified[0].actual.shape[1]
    before = incumbents or [None] * series
    news = any(each.fresh for each in verified)
    picks = [
        _pick({name: of[n] for name, of in scores.items()}, before[n], news) for n in range(series)
    ]
    names = {pick.champion for pick in picks}
    calibrations = {v.member.name: calibrate(v) for v in verified if v.member.name in names}
    verdicts = []
    for n, pick in enumerate(picks):
        score = scores[pick.champion][n]
        verdicts.append(
            Verdict(
                champion=pick.champion,
                beats_naive=pick.champion not in NAIVE and _beats(score, pick.bar),
                reason=pick.reason,
                calibrated=calibrations[pick.champion].of(n),
                score=score,
                naive=pick.bar,
                scores=tuple(of[n] for of in scores.values()),
                challenger=pick.challenger,
                wins=pick.wins,
            )
        )
    return verdicts, calibrations


@dataclass(frozen=True, slots=True)
class _Pick:
    """Champion, the bar it was held to, why, and who is on the way to its place."""

    champion: str
    bar: MemberScore
    reason: str
    challenger: str = ""
    wins: int = 0


def _pick(scores: dict[str, MemberScore], incumbent: Incumbent | None, news: bool = True) -> _Pick:
    bar = min((scores[name] for name in NAIVE if name in scores), key=lambda each: each.pinball)
    rivals = [score for name, score in scores.items() if name not in NAIVE]
    draw = DRAW - BACK if incumbent is not None and incumbent.member in NAIVE else DRAW
    better = [score for score in rivals if _stands(score, bar, draw)]
    if better:
        best = min(better, key=_loss)
        return _held(best, incumbent, {each.member: each for each in better}, bar, news)
    said = "; no rival" if not rivals else ""
    if rivals:
        best = min(rivals, key=_loss)
        said = f"; best rival {best.member} {best.wape:.3f}"
    reason = f"nobody beats {bar.member} (WAPE {bar.wape:.3f}{said}): seasonal naive serves"
    return _Pick(bar.member, bar, reason)


def _held(
    best: MemberScore,
    incumbent: Incumbent | None,
    standing: dict[str, MemberScore],
    bar: MemberScore,
    news: bool,
) -> _Pick:
    """The best, or the champion so far where it has not lost clearly or often enough."""
    held = standing.get(incumbent.member) if incumbent is not None else None
    if incumbent is None or held is None or held.member == best.member:
        return _Pick(best.member, bar, _said(best, bar))
    less = 1 - _loss(best) / _loss(held)
    wins = 0
    if less >= WIN:
        wins = int(news) + (incumbent.wins if incumbent.challenger == best.member else 0)
    if less >= WIN_AT_ONCE or wins >= WINS:
        return _Pick(best.member, bar, f"{_said(best, bar)}; {less:.0%} cheaper than {held.member}")
    note = f"{best.member} is {less:.0%} cheaper" + (f", {wins} of {WINS} wins" if wins else "")
    challenger = best.member if wins else ""
    return _Pick(held.member, bar, f"{_said(held, bar)}; {note}", challenger, wins)


def _said(score: MemberScore, bar: MemberScore) -> str:
    reason = f"{score.member}: WAPE {score.wape:.3f} against {bar.wape:.3f} of {bar.member}"
    return reason if _beats(score, bar) else f"{reason}: a draw"


def _loss(score: MemberScore) -> float:
    """Cost of the plan; a pool's counts as it is, that of others with a margin."""
    loss = score.cost * (1.0 if score.member in POOLS else 1.0 + POOL_MARGIN)
    return loss if np.isfinite(loss) else float("inf")


def _beats(score: MemberScore, bar: MemberScore) -> bool:
    return score.pinball < bar.pinball and score.wape < WAPE_MARGIN * bar.wape


def _stands(score: MemberScore, bar: MemberScore, draw: float) -> bool:
    return score.pinball < draw * bar.pinball and score.wape < draw * bar.wape


def _score(verified: Verified, corrected: bool) -> list[MemberScore]:
    """Score of one member on each series."""
    slots = verified.actual.shape[0]
    scored = round((verified.first + slots) * SCORED_SHARE)
    split = max(slots - scored, slots // 2)
    learnt = calibrate(verified.head(split), corrected)
    rows = [_score_lead(verified, learnt, row, split) for row in range(len(learnt.leads))]
    table = np.mean(rows, axis=0)
    n = len(SCORE_LEVELS)
    return [
        MemberScore(
            verified.member.name,
            float(column[0]),
            float(column[1 : 1 + n].mean()),
            tuple(zip(SCORE_LEVELS, column[1 + n : 1 + 2 * n].tolist(), strict=True)),
            float(column[-1]),
        )
        for column in table.T
    ]


def _score_lead(verified: Verified, learnt: Calibration, row: int, split: int) -> FloatArray:
    """WAPE, pinballs, coverages and cost of one lead over the scored part, float64[10, N]."""
    lead = learnt.leads[row]
    origins = origins_of(verified.actual.shape[0], lead, slots_per_day(verified.slot_s))
    origins = origins[origins >= split - lead]
    errors = interpolate_levels(learnt.quantiles[row : row + 1], np.asarray(SCORE_LEVELS))[0]
    centre = centre_z(verified, learnt.correction[row], origins, lead)
    size = spread_at(learnt.spread[row], from_z(centre, np.array(1.0)))
    forecast = from_z(centre[:, None] + size[:, None] * errors, verified.scale)
    actual = verified.actual[origins + lead]
    losses = [pinball(actual, forecast[:, i], q) for i, q in enumerate(SCORE_LEVELS)]
    covers = [coverage(actual, forecast[:, i]) for i in range(len(SCORE_LEVELS))]
    cost = plan_cost(actual, forecast[:, SCORE_LEVELS.index(PLANNED)])
    return np.stack([wape(actual, forecast[:, 0]), *losses, *covers, cost])


def plan_cost(actual: FloatArray, held: FloatArray) -> FloatArray:
    """What was held and what was short of it at its price, over demand, float64[N]; missing slots do not count.

    Examples
    --------
    Held 3 for 2, and 3 for 4 that were 1 short:

    >>> plan_cost(np.array([[2.0], [4.0]]), np.array([[3.0], [3.0]])).item() == (6 + 100) / 6
    True
    """
    seen = np.isfinite(actual)
    short = np.maximum(np.where(seen, actual - held, 0.0), 0.0)
    paid = np.where(seen, held, 0.0).sum(axis=0) + SHORT_PRICE * short.sum(axis=0)
    total = np.where(seen, actual, 0.0).sum(axis=0)
    return np.asarray(paid / np.where(total > 0, total, np.nan))
