"""Choosing a champion, and the gate: what loses to seasonal naive is not crowned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.backtest import Verified
from forecaster.seasonal.calibration import interpolate_levels
from forecaster.seasonal.champion import Calibrated, calibrate
from forecaster.seasonal.correction import residual_bank, shift
from forecaster.seasonal.names import NAIVE
from forecaster.seasonal.scores import coverage, pinball, wape
from forecaster.seasonal.softlog import from_z
from forecaster.seasonal.spread import spread_at

SCORE_LEVELS = (0.5, 0.9, 0.95, 0.99)
"""Pinball at the median and where capacity is bought."""

POOL_MARGIN = 0.15
"""Who is to take the place of the pool must have this much less loss."""

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
        Whether it was crowned; False = seasonal naive serves and the reason says why.
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


def choose(verified: Sequence[Verified], slot_s: float) -> Verdict:
    """Choose, of the members that beat seasonal naive, the one with the least pinball loss.

    The pool is preferred unless somebody is `POOL_MARGIN` better: it goes on weighing its members by
    their errors, and to choose one of them by a hair is to choose noise.

    The gate asks for less pinball loss (what capacity is bought by) than the better of yesterday
    and last week, uncorrected, and no more WAPE, on the last fifth of the history (the fifth before
    it calibrated).
    """
    scores = tuple(_score(v, slot_s, corrected=True) for v in verified)
    naive_index = [i for i, v in enumerate(verified) if v.member in NAIVE]
    naives = {i: _score(verified[i], slot_s, corrected=False) for i in naive_index}
    best_naive = min(naives, key=lambda i: naives[i].pinball)
    bar = naives[best_naive]
    better = [i for i, score in enumerate(scores) if _beats(score, bar)]
    best = min(better or range(len(scores)), key=lambda i: scores[i].pinball * _handicap(scores[i]))
    crowned = bool(better)
    if crowned:
        reason = f"{scores[best].member}: WAPE {scores[best].wape:.3f} against {bar.wape:.3f} of {bar.member}"
        return Verdict(
            scores[best].member,
            True,
            reason,
            calibrate(verified[best], slot_s),
            scores[best],
            bar,
            scores,
        )
    reason = (
        f"nobody beats {bar.member} (WAPE {bar.wape:.3f}; best rival {scores[best].member}"
        f" {scores[best].wape:.3f}): seasonal naive serves"
    )
    plain = calibrate(verified[best_naive], slot_s, corrected=False)
    return Verdict(bar.member, False, reason, plain, bar, bar, scores)


def _beats(score: MemberScore, bar: MemberScore) -> bool:
    return score.pinball < bar.pinball and score.wape < WAPE_MARGIN * bar.wape


def _handicap(score: MemberScore) -> float:
    return 1.0 if score.member == "pool" else 1.0 + POOL_MARGIN


def _score(verified: Verified, slot_s: float, corrected: bool) -> MemberScore:
    half = verified.residual.size // 2
    early = replace(
        verified,
        actual=verified.actual[:half],
        base=verified.base[:half],
        residual=verified.residual[:half],
    )
    learnt = calibrate(early, slot_s, corrected)
    bank = residual_bank(verified.residual, slot_s)
    rows = [_score_lead(verified, learnt, bank, row, half) for row in range(len(learnt.leads))]
    table = np.asarray(rows)
    n = len(SCORE_LEVELS)
    cover = tuple(zip(SCORE_LEVELS, table[:, 1 + n :].mean(axis=0).tolist(), strict=True))
    return MemberScore(
        verified.member, float(table[:, 0].mean()), float(table[:, 1 : 1 + n].mean()), cover
    )


def _score_lead(
    verified: Verified, learnt: Calibrated, bank: FloatArray, row: int, half: int
) -> list[float]:
    """WAPE, pinballs and coverages of one lead over the scored half."""
    lead = learnt.leads[row]
    origins = np.arange(max(half - lead, 0), verified.residual.size - lead)
    base_z = verified.base_z
    weights = np.asarray(learnt.correction[row])
    added = shift(weights, bank[origins], base_z[origins], base_z[origins + lead])
    errors = interpolate_levels(np.asarray([learnt.quantiles[row]]), np.asarray(SCORE_LEVELS))[0]
    centre = base_z[origins + lead] + added
    size = spread_at(
        np.asarray(learnt.spread[row]), from_z(centre, np.array(verified.scale)), verified.scale
    )
    z = centre[:, None] + size[:, None] * errors[None, :]
    forecast = from_z(z, np.array(verified.scale))
    actual = verified.actual[origins + lead]
    losses = [pinball(actual, forecast[:, i], q) for i, q in enumerate(SCORE_LEVELS)]
    covers = [coverage(actual, forecast[:, i]) for i in range(len(SCORE_LEVELS))]
    return [wape(actual, forecast[:, 0]), *losses, *covers]
