"""A forecast: quantiles of the arrival rate and of the offered load on a grid of slots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import FloatArray

CARRIED_LEVEL = 0.8
"""Quantile of a slot's load for which units are thought to be held."""


@dataclass(frozen=True, slots=True)
class QuantileForecast:
    """Quantiles of the coming demand of one service.

    Attributes
    ----------
    start_s : float
        Start of the first slot, epoch seconds.
    slot_s : float
        Slot length, seconds.
    levels : tuple of float
        Quantile levels, rising, inside (0, 1).
    arrival_rate_rps : float64[H, Q]
        Quantiles of the mean arrival rate in each slot; rising along Q.
    offered_load_erl : float64[H, Q]
        The same in busy units; NaN without a unit type.
    made_s : float
        When it was made, epoch seconds.
    model : str
        Name of the champion that made it.
    """

    service: str
    start_s: float
    slot_s: float
    levels: tuple[float, ...]
    arrival_rate_rps: FloatArray
    offered_load_erl: FloatArray
    made_s: float
    model: str

    def at_level(self, level: float) -> FloatArray:
        """Arrival rate at `level`, linear between the stored levels, float64[H], requests/s."""
        return self._at(self.arrival_rate_rps, level)

    def load_at_level(self, level: float) -> FloatArray:
        """Offered load at `level`, float64[H], busy units."""
        return self._at(self.offered_load_erl, level)

    def row_at(self, at_s: float) -> int:
        """The slot of a moment, the nearest where it has none."""
        row = int((at_s - self.start_s) // self.slot_s)
        return min(max(row, 0), len(self.arrival_rate_rps) - 1)

    @property
    def seen_erl(self) -> tuple[float, ...]:
        """Loads that are to be carried, rising, each as likely: eleven quantiles over the slots."""
        loads = np.quantile(self.load_at_level(CARRIED_LEVEL), np.linspace(0, 1, 11))
        return tuple(loads.tolist())

    def _at(self, table: FloatArray, level: float) -> FloatArray:
        levels = np.asarray(self.levels)
        right = int(np.clip(np.searchsorted(levels, level), 1, levels.size - 1))
        left = right - 1
        share = np.clip((level - levels[left]) / (levels[right] - levels[left]), 0.0, 1.0)
        return np.asarray(table[:, left] + share * (table[:, right] - table[:, left]))
