"""Hygiene: stretches of demand that are not the service's own tide, found and named.

A stretch is unlike the usual when it is far from the same time of other days *and* from the level of
the days around: a weekend, a new level and what recurs at the same time are usual. A service whose
demand is made of such stretches is bursty: none of them is singled out. What has not ended yet is not
named: it may be a new level.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forecaster.demand.lids import lids
from forecaster.demand.runs import BoolArray, runs
from forecaster.demand.usual import DAY_S, HOUR_S, SOFTNESS, Usual, usual
from forecaster.domain.anomaly import Anomaly, AnomalyKind, Judgement
from forecaster.domain.demand import FloatArray

LEAST_DAYS = 4.0
"""History below which only gaps are named: nothing else is known to be unusual."""
FAR = 6.0
"""Usual deviations that make a slot unusual."""
SURGE_Z, FALL_Z = 0.8, -1.0
"""And so far on the log scale: 2.2 times the usual (where it is not small), about a tenth of it."""
FALLEN_SHARE = 0.1
LONGEST_S = 18 * HOUR_S
"""What lasts longer is a level or a day."""
LEFT_S = HOUR_S
"""A stretch has ended when so much usual time came after it."""
RECURRING = 0.5
"""The same time on another day was at least so far from usual: it recurs, and is a season."""
AROUND_S = HOUR_S
MOST_SHARE, DAYS_APART = 0.05, 3.0
"""More of the time than this, or more often than every so many days: the service is bursty."""
AFTER_FALL_S = HOUR_S
"""A surge that begins within this after a fall is the same requests again."""
IDLE_SHARE, IDLE_BELOW = 0.4, 0.05
"""A service with less than so much of its mean for such a share of the time comes and goes as it is."""
LID_HOURS, LID_SPREAD = 2, 0.05
"""A lid lasts so many hours or more, within this relative spread."""
LEVEL_SPREAD = 0.12
"""Relative spread of the inner slots of a level surge."""
SUDDEN_SHARE = 0.6
"""Share of a step that its first slots bring when it comes at once."""


def found_in(
    y: FloatArray,
    start_s: float,
    slot_s: float,
    known: BoolArray | None = None,
    failed: FloatArray | None = None,
) -> list[Anomaly]:
    """Name the unusual stretches of one series, gaps included, by time.

    Parameters
    ----------
    y : float64[T]
        Demand per slot; NaN where missing.
    start_s, slot_s : float
        Start of the first slot (epoch seconds) and slot length (seconds).
    known : bool[T] or None
        Slots that the calendar explains: holidays and events.
    failed : float64[T] or None
        Share of the requests that were refused or failed, where answers are known.

    Examples
    --------
    Ten days of one request a second, and half an hour of four times as many:

    >>> y = np.full(10 * 96, 900.0) + np.tile([5.0, -5.0], 480)
    >>> y[500:502] = 3600.0
    >>> [(a.kind.value, a.start_s / 900, a.size) for a in found_in(y, 0.0, 900.0)]
    [('flash-crowd', 500.0, 4.0)]
    """
    return _named(y[:, None], start_s, slot_s, known, failed)[0]


def untaught(
    Y: FloatArray, start_s: float, slot_s: float, known: BoolArray | None = None
) -> BoolArray:
    """Slots of ``Y[T, N]`` that are not to teach the season, bool[T, N]."""
    mask = np.zeros(Y.shape, np.bool_)
    for n, found in enumerate(_named(Y, start_s, slot_s, known, None)):
        for each in found:
            mask[_slots(each, start_s, slot_s), n] = True
    return mask


def judged(
    mask: BoolArray, start_s: float, slot_s: float, said: tuple[Judgement, ...]
) -> BoolArray:
    """The mask as operators would have it; the newest judgement comes last and counts."""
    for each in said:
        mask[_slots(each, start_s, slot_s)] = not each.keep
    return mask


def labelled(found: list[Anomaly], said: tuple[Judgement, ...]) -> list[Anomaly]:
    """What was found and what operators said, by time."""
    rows = []
    for each in found:
        words = [w for w in said if w.start_s < each.end_s and each.start_s < w.end_s]
        kept = bool(words) and words[-1].keep and each.kind is not AnomalyKind.GAP
        why = f"{each.why}; kept by hand{_because(words[-1])}" if kept else each.why
        rows.append(Anomaly(each.kind, each.start_s, each.end_s, each.size, why, taught=kept))
    for at, word in enumerate(said):
        over = any(w.start_s <= word.start_s and word.end_s <= w.end_s for w in said[at + 1 :])
        if not word.keep and not over:
            why = f"dropped by hand{_because(word)}"
            rows.append(Anomaly(AnomalyKind.BY_HAND, word.start_s, word.end_s, float("nan"), why))
    return sorted(rows, key=lambda row: row.start_s)


def _because(word: Judgement) -> str:
    return f": {word.why}" if word.why else ""


def _slots(stretch: Anomaly | Judgement, start_s: float, slot_s: float) -> slice:
    first = np.floor((stretch.start_s - start_s) / slot_s + 1e-6)
    end = np.ceil((stretch.end_s - start_s) / slot_s - 1e-6)
    return slice(max(int(first), 0), max(int(end), 0))


def _named(
    Y: FloatArray, start_s: float, slot_s: float, known: BoolArray | None, failed: FloatArray | None
) -> list[list[Anomaly]]:
    if Y.shape[0] * slot_s < LEAST_DAYS * DAY_S:
        return [_gaps(Y[:, n], start_s, slot_s) for n in range(Y.shape[1])]
    off = usual(Y, slot_s)
    unusual = np.abs(off.off) > FAR * off.size
    unusual &= (off.off > SURGE_Z) | (off.off < FALL_Z)
    flat = lids(Y, off, slot_s)
    idle = np.exp(off.z) - 1 < IDLE_BELOW / SOFTNESS
    steady = (idle & np.isfinite(off.z)).mean(axis=0) < IDLE_SHARE
    suspects = set(np.flatnonzero(steady & (unusual.any(axis=0) | flat.any(axis=0))).tolist())
    rows = []
    for n in range(Y.shape[1]):
        found = _gaps(Y[:, n], start_s, slot_s)
        if n in suspects:
            one = _One(Y[:, n], n, off, start_s, slot_s, known)
            found += one.stretches(unusual[:, n], found, failed) + one.lids(flat[:, n])
        rows.append(sorted(found, key=lambda each: each.start_s))
    return rows


def _gaps(y: FloatArray, start_s: float, slot_s: float) -> list[Anomaly]:
    return [
        Anomaly(
            AnomalyKind.GAP, start_s + a * slot_s, start_s + b * slot_s, 0.0,
            "nothing was measured",
        )
        for a, b in runs(np.isnan(y))
        if not (a == 0 and b == y.size)
    ]  # fmt: skip


class _One:
    """One series under suspicion, on its own slots."""

    def __init__(
        self, y: FloatArray, n: int, off: Usual, start_s: float, slot_s: float,
        known: BoolArray | None,
    ) -> None:  # fmt: skip
        self.y, self.start_s, self.slot_s = y, start_s, slot_s
        self.per, self.off, self.size = off.per, off.off[:, n], off.size[:, n]
        at = np.arange(y.size) // off.per
        self.expected = np.expm1(np.maximum(off.expected_z[at, n], 0.0)) * off.scale[n]
        self.apart = np.log1p(np.maximum(y, 0.0) / off.scale[n]) - off.expected_z[at, n]
        self.known = np.zeros(y.size, np.bool_) if known is None else known

    def stretches(
        self, unusual: BoolArray, gaps: list[Anomaly], failed: FloatArray | None
    ) -> list[Anomaly]:
        """Surges and falls that came once, ended, and are rare."""
        found: list[tuple[int, int]] = []
        for a, b in runs(unusual):
            stretch = self._once(a, b)
            if stretch is not None and (not found or stretch[0] >= found[-1][1]):
                found.append(stretch)
        days = self.y.size * self.slot_s / DAY_S
        share = sum(b - a for a, b in found) / self.y.size
        if share > MOST_SHARE or len(found) > 1 + days / DAYS_APART:
            return []
        rows: list[Anomaly] = []
        for a, b in found:
            row = self._name(a, b, [*gaps, *rows], failed)
            rows += [row] if row else []
        return rows

    def lids(self, flat: BoolArray) -> list[Anomaly]:
        """Stretches under a lid."""
        rows = []
        for a, b in runs(np.repeat(flat, self._hour)[: self.y.size]):
            want = float(np.nanmean(self.expected[a:b]))
            level = float(np.nanmean(self.y[a:b]))
            still = float(np.nanstd(self.y[a:b])) < LID_SPREAD * level
            if b - a < LID_HOURS * self._hour or not still or not want > level:
                continue
            if self.known[a:b].any():
                continue
            why = f"level at {level:.4g} a slot where {want:.4g} are usual"
            rows.append(self._row(AnomalyKind.THROTTLED, a, b, level / want, why))
        return rows

    @property
    def _hour(self) -> int:
        return max(round(HOUR_S / self.slot_s), 1)

    def _once(self, first: int, last: int) -> tuple[int, int] | None:
        """Slots of an unusual stretch of coarse slots; None for what recurs, lasts or goes on."""
        hour = max(round(HOUR_S / (self.per * self.slot_s)), 1)
        peak = float(self.off[first:last][np.argmax(np.abs(self.off[first:last]))])
        near = self.off * np.sign(peak) > 0.3 * abs(peak)
        while first > 0 and near[first - 1]:
            first -= 1
        while last < near.size and near[last]:
            last += 1
        if (last - first) * self.per * self.slot_s > LONGEST_S:
            return None
        left = self.off[last : last + hour]
        if left.size < hour or self._recurs(first, last, peak):
            return None
        a, b = first * self.per, min(last * self.per, self.y.size)
        inside = np.flatnonzero(self.apart[a:b] * np.sign(peak) > 0.3 * abs(peak))
        if not inside.size:
            return None
        a, b = a + int(inside[0]), a + int(inside[-1]) + 1
        return None if self.known[a:b].any() else (a, b)

    def _recurs(self, first: int, last: int, peak: float) -> bool:
        coarse_s = self.per * self.slot_s
        day, around = max(round(DAY_S / coarse_s), 1), max(round(AROUND_S / coarse_s), 1)
        sign = np.sign(peak)
        for shift in range(-(last // day) - 1, self.off.size // day + 2):
            low, high = first + shift * day - around, last + shift * day + around
            window = self.off[max(low, 0) : max(high, 0)] * sign
            if shift and window.size and window.max() > RECURRING * abs(peak):
                return True
        return False

    def _name(
        self, a: int, b: int, before: list[Anomaly], failed: FloatArray | None
    ) -> Anomaly | None:
        expected = float(np.nansum(np.where(np.isnan(self.y[a:b]), np.nan, self.expected[a:b])))
        ratio = float(np.nansum(self.y[a:b])) / max(expected, 1e-9)
        span = f"for {(b - a) * self.slot_s / 60:.0f} min"
        if ratio < 1:
            if ratio > FALLEN_SHARE or not self._sudden(a):
                return None  # a quiet day that the calendar does not know
            return self._row(AnomalyKind.OUTAGE, a, b, ratio, f"{ratio:.0%} of the usual {span}")
        said = f"{ratio:.1f} times the usual {span}"
        begin_s = self.start_s + a * self.slot_s
        fallen = (AnomalyKind.GAP, AnomalyKind.OUTAGE)
        if any(e.kind in fallen and 0 <= begin_s - e.end_s <= AFTER_FALL_S for e in before):
            return self._row(AnomalyKind.RETRY_STORM, a, b, ratio, f"{said}, right after a fall")
        share = 0.0 if failed is None else float(np.nanmean(failed[a:b]))
        if share > FALLEN_SHARE:
            return self._row(AnomalyKind.RETRY_STORM, a, b, ratio, f"{said}, {share:.0%} refused")
        if self._level(a, b):
            return self._row(
                AnomalyKind.LOAD_TEST, a, b, ratio, f"{said}, level, at once on and off"
            )
        return self._row(AnomalyKind.FLASH_CROWD, a, b, ratio, said)

    def _row(self, kind: AnomalyKind, a: int, b: int, size: float, why: str) -> Anomaly:
        return Anomaly(
            kind, self.start_s + a * self.slot_s, self.start_s + b * self.slot_s,
            round(size, 3), why,
        )  # fmt: skip

    def _sudden(self, at: int) -> bool:
        """Whether demand moved at once at slot `at`: most of the way within two slots."""
        before = self.apart[max(at - self._hour, 0) : at]
        after = self.apart[at : at + max(self._hour, 3)]
        way = _median(after) - _median(before)
        soon = _median(self.apart[at : at + 2]) - _median(before)
        return way != 0 and soon / way > SUDDEN_SHARE

    def _level(self, a: int, b: int) -> bool:
        inner = self.y[a + 1 : b - 1]
        inner = inner[np.isfinite(inner)]
        if inner.size < 4:
            return False
        change = np.diff(inner)
        noise = float(np.sqrt(np.mean(change**2) / 2)) / float(inner.mean())
        spread = float(inner.std() / inner.mean())
        return spread < min(LEVEL_SPREAD, max(2 * noise, 0.04)) and self._sudden(a)


def _median(values: npt.NDArray[np.float64]) -> float:
    seen = values[np.isfinite(values)]
    return float(np.median(seen)) if seen.size else 0.0
