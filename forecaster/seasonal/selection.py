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
from forecaster.seasonal.names import NAIVE
from forecaster.seasonal.scores import coverage, pinball, wape
from forecaster.seasonal.softlog import from_z
from forecaster.seasonal.spread import spread_at

SCORE_LEVELS = (0.5, 0.9, 0.95, 0.99)
"""Pinball at the median and where capacity is bought."""

SCORED_SHARE = 0.2
"""The last part of the history scores; what was verified before it calibrates."""

POOL_MARGIN = 0.15
"""Who is to take the place of the pool must have this much less loss."""

DRAW = 1.2
"""Within this of seasonal naive is a draw on a fifth of the history: it goes to who goes on learning."""
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
    """

    member: str
    wape: float
    pinball: float
    coverage: tuple[tuple[float, float], ...]


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
    """

    champion: str
    beats_naive: bool
    reason: str
    calibrated: Calibrated
    score: MemberScore
    naive: MemberScore
    scores: tuple[MemberScore, ...]

    def scores_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "champion": asdict(self.score),
            "naive": asdict(self.naive),
            "members": [asdict(score) for score in self.scores],
        }


def choose(verified: Sequence[Verified]) -> tuple[list[Verdict], dict[str, Calibration]]:
    """Choose, for each series, of the members that stand up to seasonal naive the one with the least loss.

    The pool is preferred unless somebody is `POOL_MARGIN` better: it goes on weighing its members by
    their errors, and to choose one of them by a hair is to choose noise.

    The gate asks for less pinball loss (what capacity is bought by) than the better of yesterday and
    last week as they are, and no more WAPE, on the last fifth of the history (what was verified
    before it calibrated). Where naive is clearly better than everybody, it serves itself, corrected
    at short leads by what it missed; in between it is a draw, and the verdict says so.

    Parameters
    ----------
    verified : sequence of Verified
        Backtests of the members, the seasonal naives among them, of the same N series.

    Returns
    -------
    verdicts : list of Verdict
        One for each series.
    calibrations : dict of str to Calibration
        Of the members that are champion of any of them, on all series.
    """
    scores = {v.member.name: _score(v, corrected=v.member.name not in NAIVE) for v in verified}
    picks = [
        _pick({name: of[n] for name, of in scores.items()})
        for n in range(verified[0].actual.shape[1])
    ]
    names = {champion for champion, _, _ in picks}
    calibrations = {v.member.name: calibrate(v) for v in verified if v.member.name in names}
    verdicts = []
    for n, (champion, bar, reason) in enumerate(picks):
        every = tuple(of[n] for of in scores.values())
        verdicts.append(
            Verdict(
                champion=champion,
                beats_naive=champion not in NAIVE and _beats(scores[champion][n], bar),
                reason=reason,
                calibrated=calibrations[champion].of(n),
                score=scores[champion][n],
                naive=bar,
                scores=every,
            )
        )
    return verdicts, calibrations


def _pick(scores: dict[str, MemberScore]) -> tuple[str, MemberScore, str]:
    """Champion, the bar it was held to, and why."""
    bar = min((scores[name] for name in NAIVE if name in scores), key=_loss)
    rivals = [score for name, score in scores.items() if name not in NAIVE]
    better = [score for score in rivals if _stands(score, bar)]
    if better:
        best = min(better, key=_loss)
        reason = f"{best.member}: WAPE {best.wape:.3f} against {bar.wape:.3f} of {bar.member}"
        return best.member, bar, reason if _beats(best, bar) else f"{reason}: a draw"
    said = "; no rival" if not rivals else ""
    if rivals:
        best = min(rivals, key=_loss)
        said = f"; best rival {best.member} {best.wape:.3f}"
    reason = f"nobody beats {bar.member} (WAPE {bar.wape:.3f}{said}): seasonal naive serves"
    return bar.member, bar, reason


def _loss(score: MemberScore) -> float:
    """Pinball loss; the pool's counts as it is, that of others with a margin."""
    loss = score.pinball * (1.0 if score.member == "pool" else 1.0 + POOL_MARGIN)
    return loss if np.isfinite(loss) else float("inf")


def _beats(score: MemberScore, bar: MemberScore) -> bool:
    return score.pinball < bar.pinball and score.wape < WAPE_MARGIN * bar.wape


def _stands(score: MemberScore, bar: MemberScore) -> bool:
    return score.pinball < DRAW * bar.pinball and score.wape < DRAW * bar.wape


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
            tuple(zip(SCORE_LEVELS, column[1 + n :].tolist(), strict=True)),
        )
        for column in table.T
    ]


def _score_lead(verified: Verified, learnt: Calibration, row: int, split: int) -> FloatArray:
    """WAPE, pinballs and coverages of one lead over the scored part, float64[9, N]."""
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
    return np.stack([wape(actual, forecast[:, 0]), *losses, *covers])
