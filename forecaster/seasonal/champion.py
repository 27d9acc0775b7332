"""A champion: a member with its correction and its calibrated quantiles, ready to be stored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy.special import ndtri

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import ModelError
from forecaster.seasonal.backtest import Verified
from forecaster.seasonal.calibration import LEVELS, conformal_quantiles, interpolate_levels
from forecaster.seasonal.correction import (
    SIGNALS,
    at_leads,
    fit_correction,
    mature,
    origins_of,
    signals,
)
from forecaster.seasonal.member import DAY_S, SlotArray, slots_per_day
from forecaster.seasonal.shift import fading, level_shift
from forecaster.seasonal.softlog import from_z
from forecaster.seasonal.spread import fit_spread, spread_at

LEADS_S = (300, 600, 900, 1800, 3600, 7200, 14400, 28800, 57600, 86400, 172800)
"""Leads at which the correction and the quantiles are learnt, seconds."""
HALF_LIFE_DAYS, HALF_LIFE_DAY_AHEAD_DAYS = 4.0, 14.0
"""Age at which an error weighs half: at short leads, and at a day or more. Long leads have fewer
independent errors, and remember longer."""


OVERLAP, OVERLAP_UNTIL_DAYS = 0.35, 14.0
"""Share of a lead after which its errors are news, while little is verified: full up to a week, none
from two weeks on, when the errors seen cover fresh ones as they are (docs/benchmarks.md)."""


SURE, SURE_FROM_DAYS = 1.0, 5.0
"""Standard errors of the median error that are put down to chance; with fewer verified days the season is a
day or two old itself, and its median error is the best that is known of the level."""
NORMAL_QUARTILES, MEDIAN_ERROR = 1.349, 1.253
"""Quartiles of a normal are so many deviations apart; its median errs by this over the root of n."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a backtest teaches about one member on one series; plain numbers, to be stored.

    Attributes
    ----------
    member : str
        Name in the registry.
    slot_s : float
        Grid, seconds.
    leads : tuple of int
        Leads in slots.
    scale : float
        The z scale of residuals.
    correction : tuple of tuple of float
        Weights of the signals, [L][6], see `correction.fit_correction`; all zero = uncorrected.
    quantiles : tuple of tuple of float
        Conformal errors in units of the spread, [L][len(LEVELS)].
    spread_c : tuple of tuple of float
        How the errors' size depends on the level, [L][2], see `spread.fit_spread`.
    """

    member: str
    slot_s: float
    leads: tuple[int, ...]
    scale: float
    correction: tuple[tuple[float, ...], ...]
    quantiles: tuple[tuple[float, ...], ...]
    spread_c: tuple[tuple[float, ...], ...]

    def in_units(self, factor: float) -> Calibrated:
        """The same for demand that is counted `factor` times as high: z does not change."""
        return replace(self, scale=self.scale * factor)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibrated:
        """Inverse of `to_dict`.

        Raises
        ------
        ModelError
            When another version of the program stored it.
        """
        try:
            return cls(
                member=str(values["member"]),
                slot_s=float(values["slot_s"]),
                leads=tuple(int(x) for x in values["leads"]),
                scale=float(values["scale"]),
                correction=_rows(values["correction"]),
                quantiles=_rows(values["quantiles"]),
                spread_c=_rows(values["spread_c"]),
            )
        except KeyError as error:
            raise ModelError(
                f"the stored model is of another version: it has no {error}",
                "run `tidegate retrain`",
            ) from error


@dataclass(frozen=True, slots=True)
class Calibration:
    """The same of one member on N series at once: what the arithmetic works on.

    Attributes
    ----------
    scale : float64[N]
        The z scale of each series.
    correction : float64[L, 6, N]
        Weights of the signals.
    quantiles : float64[L, len(LEVELS), N]
        Conformal errors in units of the spread.
    spread : float64[L, 2, N]
        (share, noise) of the errors' size.
    """

    member: str
    slot_s: float
    leads: tuple[int, ...]
    scale: FloatArray
    correction: FloatArray
    quantiles: FloatArray
    spread: FloatArray

    def of(self, n: int) -> Calibrated:
        """What it says of series `n`."""
        return Calibrated(
            self.member,
            self.slot_s,
            self.leads,
            float(self.scale[n]),
            _rows(self.correction[:, :, n].tolist()),
            _rows(self.quantiles[:, :, n].tolist()),
            _rows(self.spread[:, :, n].tolist()),
        )

    @classmethod
    def join(cls, parts: Sequence[Calibrated]) -> Calibration:
        """Calibrations of the same member on the same grid, side by side."""
        first = parts[0]
        return cls(
            first.member,
            first.slot_s,
            first.leads,
            np.array([each.scale for each in parts]),
            np.stack([np.asarray(each.correction) for each in parts], axis=-1),
            np.stack([np.asarray(each.quantiles) for each in parts], axis=-1),
            np.stack([np.asarray(each.spread_c) for each in parts], axis=-1),
        )


def _rows(table: Iterable[Iterable[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in table)


def leads_in_slots(
    slot_s: float, slots: int, leads_s: Sequence[float] = LEADS_S
) -> tuple[int, ...]:
    """Distinct leads of at least one slot that a residual series of `slots` can teach."""
    leads = sorted({max(round(lead / slot_s), 1) for lead in leads_s})
    return tuple(lead for lead in leads if lead < max(slots // 2, 2)) or (1,)


def calibrate(verified: Verified, corrected: bool = True) -> Calibration:
    """Learn correction and quantiles from verified errors."""
    slots = verified.actual.shape[0]
    leads = leads_in_slots(verified.slot_s, slots)
    weights = np.zeros((len(leads), SIGNALS, verified.actual.shape[1]))
    if corrected:
        weights = fit_correction(verified, leads)
    verified_days = slots * verified.slot_s / DAY_S
    rows, spreads = [], []
    for row, lead in enumerate(leads):
        origins = mature(verified, origins_of(slots, lead, slots_per_day(verified.slot_s)))
        centre = centre_z(verified, weights[row], origins, lead)
        error = verified.actual_z[origins + lead] - centre
        level = from_z(centre, np.array(1.0))
        spreads.append(fit_spread(error, level))
        age_days = (slots - 1 - lead - origins) * verified.slot_s / DAY_S
        ahead = min(lead * verified.slot_s / DAY_S, 1.0)
        half_life = HALF_LIFE_DAYS + ahead * (HALF_LIFE_DAY_AHEAD_DAYS - HALF_LIFE_DAYS)
        recent = 0.5 ** (age_days / half_life)
        stride = int(origins[1] - origins[0]) if origins.size > 1 else 1
        short = np.clip(2 - 2 * verified_days / OVERLAP_UNTIL_DAYS, 0.0, 1.0)
        overlap = max(float(lead / stride * OVERLAP * short), 1.0)
        sized = error / spread_at(spreads[-1], level)
        found = conformal_quantiles(sized, recent, overlap=overlap)
        if verified_days >= SURE_FROM_DAYS:
            found = sure_median(found, max(origins.size * stride / lead, 1.0))
        rows.append(found)
    return Calibration(
        verified.member.name,
        verified.slot_s,
        leads,
        verified.scale,
        weights,
        np.stack(rows),
        np.stack(spreads),
    )


def sure_median(quantiles: FloatArray, independent: float) -> FloatArray:
    """Quantiles of the error with a median that is moved only by what chance does not explain.

    The mean of a few errors of a long lead is noise that the median forecast is better without; the
    band is no matter of it.

    Parameters
    ----------
    quantiles : float64[len(LEVELS), N]
        Of the error.
    independent : float
        Errors of this lead that do not overlap.

    Examples
    --------
    >>> rows = np.linspace(-1.1, 1.1, len(LEVELS))[:, None] + 0.3
    >>> [sure_median(rows, n)[LEVELS.index(0.5)].round(3).item() for n in (2.0, 4000.0)]
    [0.0, 0.194]
    """
    low, middle, high = (LEVELS.index(level) for level in (0.25, 0.5, 0.75))
    size = (quantiles[high] - quantiles[low]) / NORMAL_QUARTILES
    chance = SURE * MEDIAN_ERROR * size / math.sqrt(independent)
    median = quantiles[middle]
    moved = np.sign(median) * np.maximum(np.abs(median) - chance, 0.0)
    sure = quantiles.copy()
    sure[middle] = np.clip(moved, quantiles[low], quantiles[high])
    return sure


def centre_z(verified: Verified, weights: FloatArray, origins: SlotArray, lead: int) -> FloatArray:
    """Corrected forecasts of one lead on the z scale, float64[n, N].

    Parameters
    ----------
    weights : float64[6, N]
        Of that lead.
    """
    if not weights.any():
        return verified.season_z(origins, lead).astype(np.float64)
    season, X = signals(verified, origins, lead)
    return np.asarray(season + np.einsum("nkm,km->nm", X, weights))


def corrected_quantiles(
    calibration: Calibration,
    base_z: FloatArray,
    base_now_z: FloatArray,
    bank: FloatArray,
    horizons: FloatArray,
    levels: FloatArray,
    unsure: FloatArray | None = None,
) -> FloatArray:
    """Quantiles of demand given the season and the residual bank at the origin.

    Parameters
    ----------
    base_z : float64[H, N]
        Season on the calibration's z scale.
    base_now_z : float64[N]
        Season at the origin.
    bank : float64[5, N]
        Residual bank at the origin.
    horizons : float64[H]
        Leads in slots, >= 1.
    levels : float64[Q]
        Levels inside (0, 1), rising.
    unsure : float64[H, N] or None
        Standard deviation on the log scale that comes on top: what is not known of an event.

    Returns
    -------
    float64[H, Q, N]
        Demand, never falling along Q.
    """
    leads = calibration.leads
    weights = at_leads(calibration.correction, leads, horizons)
    carried = np.einsum("hkn,kn->hn", weights[:, :-1], bank)
    carried += weights[:, -1] * (base_now_z - base_z)
    size_now = spread_at(calibration.spread[0], from_z(base_now_z, np.array(1.0)))
    new, share = level_shift(bank, size_now * calibration.quantiles[0][[0, -1]])
    fade = fading(horizons * calibration.slot_s)
    # where deviations were seen to last, the correction carries them as it learnt to
    unknown = 1 - np.minimum(weights[:, :-1].sum(axis=1), 1.0)
    centre = base_z + carried + (share * unknown * fade[:, None]) * (new - carried)
    spread = at_leads(calibration.spread, leads, horizons)
    level = from_z(centre, np.array(1.0))
    errors = interpolate_levels(at_leads(calibration.quantiles, leads, horizons), levels)
    away = spread_at(spread, level)[:, None] * errors
    if unsure is not None and unsure.any():
        away = _widened(away, (unsure * level / (level + 1))[:, None], levels)
    z = centre[:, None] + away
    return from_z(np.maximum.accumulate(z, axis=1), calibration.scale)


def _widened(away: FloatArray, unsure: FloatArray, levels: FloatArray) -> FloatArray:
    """Quantiles of the error with an independent normal one on top, root of the sum of squares."""
    more = unsure * ndtri(levels)[None, :, None]
    return np.asarray(
        np.sign(more) * np.hypot(np.where(away * more > 0, away, 0.0), more)
        + np.where(away * more > 0, 0.0, away)
    )


__all__ = [
    "LEADS_S",
    "LEVELS",
    "Calibrated",
    "Calibration",
    "calibrate",
    "centre_z",
    "corrected_quantiles",
    "leads_in_slots",
]
