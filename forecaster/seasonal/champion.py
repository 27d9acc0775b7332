"""A champion: a member with its correction and its calibrated quantiles, ready to be stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import ModelError
from forecaster.seasonal.backtest import Verified
from forecaster.seasonal.calibration import LEVELS, conformal_quantiles, interpolate_levels
from forecaster.seasonal.correction import at_leads, fit_correction, residual_bank, shift
from forecaster.seasonal.softlog import from_z
from forecaster.seasonal.spread import fit_spread, spread_at

LEADS_S = (300, 600, 900, 1800, 3600, 7200, 14400, 28800, 57600, 86400)
"""Leads at which the correction and the quantiles are learnt, seconds."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a backtest teaches about one member.

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
    spread : tuple of tuple of float
        How the errors' size depends on the level, [L][2], see `spread.fit_spread`.
    """

    member: str
    slot_s: float
    leads: tuple[int, ...]
    scale: float
    correction: tuple[tuple[float, ...], ...]
    quantiles: tuple[tuple[float, ...], ...]
    spread: tuple[tuple[float, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

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
                spread=_rows(values["spread"]),
            )
        except KeyError as error:
            raise ModelError(
                f"the stored model is of another version: it has no {error}",
                "run `tidegate retrain`",
            ) from error


def _rows(table: Iterable[Iterable[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in table)


def leads_in_slots(slot_s: float, slots: int) -> tuple[int, ...]:
    """Distinct leads of at least one slot that a residual series of `slots` can teach."""
    leads = sorted({max(round(lead / slot_s), 1) for lead in LEADS_S})
    return tuple(lead for lead in leads if lead < max(slots // 2, 2)) or (1,)


def calibrate(verified: Verified, slot_s: float, corrected: bool = True) -> Calibrated:
    """Learn correction and quantiles from verified errors."""
    residual = verified.residual
    leads = leads_in_slots(slot_s, residual.size)
    bank = residual_bank(residual, slot_s)
    weights = fit_correction(residual, bank, leads, verified.base_z)
    if not corrected:
        weights = np.zeros_like(weights)
    scale = verified.scale
    rows, spreads = [], []
    for row, lead in enumerate(leads):
        centre, error = _forecast_z(verified, bank, weights[row], lead)
        level = from_z(centre, np.array(scale))
        spreads.append(fit_spread(error, level, scale))
        size = spread_at(np.asarray(spreads[-1]), level, scale)
        rows.append(tuple(conformal_quantiles(error / size).tolist()))
    return Calibrated(
        verified.member,
        slot_s,
        leads,
        verified.scale,
        tuple(tuple(row) for row in weights.tolist()),
        tuple(rows),
        tuple(spreads),
    )


def _forecast_z(
    verified: Verified, bank: FloatArray, weights: FloatArray, lead: int
) -> tuple[FloatArray, FloatArray]:
    """Corrected forecasts at one lead and their errors, on the z scale."""
    base_z = verified.base_z
    added = shift(weights, bank[:-lead], base_z[:-lead], base_z[lead:])
    return base_z[lead:] + added, verified.residual[lead:] - added


def corrected_quantiles(
    calibrated: Calibrated,
    base_z: FloatArray,
    base_now_z: float,
    bank_row: FloatArray,
    horizons: FloatArray,
    levels: FloatArray,
) -> FloatArray:
    """Quantiles of demand given the season and the residual bank at the origin.

    Parameters
    ----------
    base_z : float64[H]
        Season on the calibration's z scale.
    base_now_z : float
        Season at the origin.
    bank_row : float64[5]
        Residual bank at the origin.
    horizons : float64[H]
        Leads in slots, >= 1.
    levels : float64[Q]
        Levels inside (0, 1), rising.

    Returns
    -------
    float64[H, Q]
        Demand, never falling along Q.
    """
    weights = at_leads(np.asarray(calibrated.correction), calibrated.leads, horizons)
    errors = at_leads(np.asarray(calibrated.quantiles), calibrated.leads, horizons)
    centre = base_z + shift(weights, bank_row, np.array(base_now_z), base_z)
    scale = np.array(calibrated.scale)
    spread = at_leads(np.asarray(calibrated.spread), calibrated.leads, horizons)
    size = spread_at(spread, from_z(centre, scale), calibrated.scale)
    z = centre[:, None] + size[:, None] * interpolate_levels(errors, levels)
    return from_z(np.maximum.accumulate(z, axis=1), scale)


__all__ = ["LEADS_S", "LEVELS", "Calibrated", "calibrate", "corrected_quantiles", "leads_in_slots"]
