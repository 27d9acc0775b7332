"""Rolling-origin backtest: the season of every slot, said by days that lay before it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import SettingError, TooLittleHistoryError
from forecaster.seasonal import registry
from forecaster.seasonal.bank import residual_bank
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.events import Lifts, event_slots, learn_lifts
from forecaster.seasonal.folds import FOLD_DAYS, LEARN_DAYS, Kept, days_verified, unfolded
from forecaster.seasonal.hygiene import cleaned
from forecaster.seasonal.member import Member, SlotArray, slots_per_day
from forecaster.seasonal.softlog import scale_of, to_z

MIN_HISTORY_DAYS = 3.0
PRECISION: npt.DTypeLike = np.float32
"""Of what is verified: z is right to a millionth, and half the memory is half the time."""


@dataclass(frozen=True, slots=True)
class History:
    """What is known of N series.

    Attributes
    ----------
    Y : float64[T, N]
        Demand per slot; NaN where missing, and during events: they are no matter of the season.
    taught : float32[T, N]
        What is learnt of it on the z scale: without anomalies.
    scale : float64[N]
        The z scale.
    calendar : Calendar
        Calendar of the grid.
    lifts : Lifts
        What events did.
    """

    Y: FloatArray
    taught: FloatArray
    scale: FloatArray
    calendar: Calendar
    lifts: Lifts

    @classmethod
    def of(cls, Y: FloatArray, calendar: Calendar) -> History:
        """From demand, float64[T, N], NaN where missing."""
        lifts = learn_lifts(Y, calendar)
        during = event_slots(calendar, np.arange(Y.shape[0]))
        if during.any():
            Y = np.where(during[:, None], np.nan, Y)
        mask = np.isfinite(Y)
        scale = scale_of(np.where(mask, Y, 0.0), mask)
        Z = to_z(Y, scale).astype(PRECISION)
        return cls(Y, cleaned(Z, Y, calendar), scale, calendar, lifts)


@dataclass(frozen=True, slots=True)
class Verified:
    """Out-of-sample seasons of one member, for N series.

    Attributes
    ----------
    member : Member
        Who was rolled.
    first : int
        First backtested slot.
    slot_s : float
        Grid, seconds.
    scale : float64[N]
        The z scale.
    actual : float64[B, N]
        Demand; NaN where missing.
    actual_z : float64[B, N]
        The same on the z scale, without anomalies.
    base_z : float64[D, B, N]
        Row d: the season's z as said at the start of the day d days before the slot's own.
    bank : float64[B, 5, N]
        Residual bank after each slot.
    lifts : Lifts
        What events do.
    said : float64[F, H, N]
        Its folds, see `folds.Folds`.
    error : float64[F, M, N]
        What the pool's seasons missed on the day before each, in units of the scale.
    fresh : int
        How many of the last folds were not kept before.
    """

    member: Member
    first: int
    slot_s: float
    scale: FloatArray
    actual: FloatArray
    actual_z: FloatArray
    base_z: FloatArray
    bank: FloatArray
    lifts: Lifts
    said: FloatArray
    error: FloatArray
    fresh: int = 0

    def season_z(self, origins: SlotArray, lead: int) -> FloatArray:
        """Season `lead` slots after each origin as it stood at the origin, float64[n, N].

        The season that a day learnt serves until the next day begins: at an origin late in the day
        it is nearly a day old, and a lead that reaches beyond the day meets its second day.
        """
        day = slots_per_day(self.slot_s)
        target = origins + lead
        return np.asarray(self.base_z[target // day - (origins + 1) // day, target])

    def head(self, slots: int) -> Verified:
        """The first `slots` of it: what was verified by then."""
        return replace(
            self,
            actual=self.actual[:slots],
            actual_z=self.actual_z[:slots],
            base_z=self.base_z[:, :slots],
            bank=self.bank[:slots],
        )


def first_slot(slots: int, day: int, service: str = "series") -> int:
    """First slot to backtest: the last two to four weeks, but never with less than two days to learn from.

    Raises
    ------
    TooLittleHistoryError
        Below three days.
    """
    if slots < MIN_HISTORY_DAYS * day:
        day_s = 86_400.0
        raise TooLittleHistoryError(service, slots / day * day_s, MIN_HISTORY_DAYS * day_s)
    days = min((slots - LEARN_DAYS * day - 1) // day, days_verified(day))
    return slots - max(days, 1) * day


def backtest(member: str, history: History, first: int, kept: Kept | None = None) -> Verified:
    """Verify a member from slot `first` on, by what it said of every day before that came.

    Parameters
    ----------
    member : str
        Name in the registry.
    history : History
        What is known.
    first : int
        First slot to verify.
    kept : Kept or None
        What was said at the time, by this member among others: only the days since are said anew. None:
        all of it is said now, each day from what lay before it.

    Raises
    ------
    SettingError
        For a member that is not meant for slots of this length.
    """
    rolled = registry.make(member)
    taught, slot_s = history.taught, history.calendar.slot_s
    if not rolled.suits(slot_s):
        raise SettingError(
            "retrain.members", member, f"it is not meant for slots of {slot_s:g} s",
            "leave it out, or set retrain.slot_s to 1800 or more",
        )  # fmt: skip
    day = slots_per_day(slot_s)
    if kept is None or member not in kept.said:
        said = rolled.roll(taught, history.scale, history.calendar, first, FOLD_DAYS)
        error, fresh = rolled.recalled(), said.shape[0]
    else:
        # the last fold is rolled once more: what its seasons missed is not known before its day is over
        missed = kept.error[member] / history.scale
        rolled.recall(missed)
        new = rolled.roll(taught, history.scale, history.calendar, kept.last(day), FOLD_DAYS)
        over = (first - kept.first) // day
        before = to_z(kept.said[member][over:], history.scale).astype(PRECISION)
        said = np.concatenate([before, new[1:]])
        error = np.concatenate([missed[over:], rolled.recalled()[1:]])
        fresh = new.shape[0] - 1
    base_z = unfolded(said, day, taught.shape[0] - first)
    bank = residual_bank(taught[first:] - base_z[0], slot_s)
    return Verified(
        rolled, first, slot_s, history.scale, history.Y[first:], taught[first:], base_z, bank,
        history.lifts, said, error, fresh,
    )  # fmt: skip
