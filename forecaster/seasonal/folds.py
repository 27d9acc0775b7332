"""Folds: what a member said of the days to come, each once a day and before they came, and kept.

A training goes on from the folds of the last one: what is due is said, what came since is verified.
Only a service of which nothing is kept is backtested, which makes the same folds afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecaster.domain.demand import FloatArray

DAY_S = 86_400.0
FOLD_DAYS = 3
"""Days that each fold says: one more than the longest lead."""
LEARN_DAYS = 2
"""Days that the first of them learns from."""
VERIFIED_SLOTS = 4032
"""Slots that are verified: two weeks of five minutes, four weeks of ten."""
VERIFIED_DAYS = 28
"""Days beyond which coarser slots do not go for it."""


def days_verified(day: int) -> int:
    """Days that are verified on a grid of `day` slots a day."""
    return min(VERIFIED_SLOTS // day, VERIFIED_DAYS)


@dataclass(frozen=True, slots=True)
class Folds:
    """What one member said of one series.

    Attributes
    ----------
    first_s : float
        Start of the first fold, epoch seconds; the others follow a day apart.
    said : float64[F, H]
        Demand of the three days from each fold's start on.
    error : float64[F, M]
        Demand that the pool's seasons missed in a slot of the day before each fold; NaN where nobody
        knows. M is 0 for other members.
    """

    first_s: float
    said: FloatArray
    error: FloatArray

    def in_units(self, factor: float) -> Folds:
        """The same for demand that is counted `factor` times as high."""
        return replace(self, said=self.said * factor, error=self.error * factor)

    def last_s(self, slot_s: float) -> float:
        """Start of the last fold, epoch seconds."""
        count, length = (int(size) for size in self.said.shape)
        return self.first_s + (count - 1) * (length // FOLD_DAYS) * slot_s


@dataclass(frozen=True, slots=True)
class Kept:
    """The same of several members on N series, all of the same days.

    Attributes
    ----------
    first : int
        First slot of the first fold; negative where the history does not go back as far.
    count : int
        F, how many folds there are.
    said : dict of str to float64[F, H, N]
        By member.
    error : dict of str to float64[F, M, N]
        By member.
    """

    first: int
    count: int
    said: dict[str, FloatArray]
    error: dict[str, FloatArray]

    @classmethod
    def join(
        cls, folds: Sequence[Mapping[str, Folds]], members: Sequence[str], start_s: float, slot_s: float
    ) -> Kept:  # fmt: skip
        """What was kept of N series, side by side; slot 0 begins at `start_s`."""
        one = folds[0][members[0]]
        return cls(
            round((one.first_s - start_s) / slot_s),
            one.said.shape[0],
            {name: np.stack([each[name].said for each in folds], axis=-1) for name in members},
            {name: np.stack([each[name].error for each in folds], axis=-1) for name in members},
        )

    def last(self, day: int) -> int:
        """First slot of the last fold."""
        return self.first + (self.count - 1) * day

    def later(self, slots: int, known: int, day: int) -> Kept | None:
        """The same for a history of `known` slots that begins `slots` later; None when it is too old."""
        moved = replace(self, first=self.first - slots)
        return moved if _reaches(moved.last(day), known, day) else None

    def first_verified(self, slots: int, day: int) -> int:
        """First slot that is verified once `slots` are known."""
        newest = self.first + (slots - self.first) // day * day
        return max(self.first, newest - days_verified(day) * day)


def goes_on(
    folds: Mapping[str, Folds], members: Sequence[str], start_s: float, slot_s: float, slots: int
) -> bool:
    """Whether a training can go on from what is kept: every member's, of the same days, not long ago.

    Parameters
    ----------
    members : sequence of str
        Who is trained.
    start_s, slots
        The history: its start, epoch seconds, and slots.
    """
    if not members or any(name not in folds for name in members):
        return False
    day = max(round(DAY_S / slot_s), 1)
    one = folds[members[0]]
    same = (one.first_s, (one.said.shape[0], FOLD_DAYS * day))
    if any((folds[name].first_s, folds[name].said.shape) != same for name in members):
        return False
    last = (one.last_s(slot_s) - start_s) / slot_s
    return last.is_integer() and _reaches(int(last), slots, day)


def _reaches(last: int, slots: int, day: int) -> bool:
    """Whether the last fold has learnt from days of this history, and is of the days that are verified."""
    return LEARN_DAYS * day <= last <= slots < last + days_verified(day) * day


def unfolded(said: FloatArray, day: int, slots: int) -> FloatArray:
    """What was said of each slot, by the days since, float32[D, slots, N].

    Row d: z of each slot as the fold d days before the slot's own said it; NaN where there was none.

    Parameters
    ----------
    said : float32[F, H, N]
        Folds, the first of slot 0.

    Examples
    --------
    >>> unfolded(np.array([[1.0, 2.0], [3.0, 4.0]])[:, :, None], 1, 2)[:, :, 0].tolist()
    [[1.0, 3.0], [nan, 2.0]]
    """
    count, length, series = said.shape
    days = length // day
    found = np.full((days, count * day, series), np.nan, said.dtype)
    for d in range(min(days, count)):
        part = said[: count - d, d * day : (d + 1) * day]
        found[d, d * day :] = part.reshape(-1, series)
    return found[:, :slots]
