"""A sizing table: what share of requests any number of units leaves outside the SLO at any load."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from forecaster.capacity.sizing import Question
from forecaster.domain.demand import FloatArray, IntArray
from forecaster.domain.errors import SettingError
from forecaster.domain.plan import Binding
from forecaster.domain.pools import ONE_POOL, Split

FLEETS = (1, 2, 3, 5, 8, 13, 22, 38, 64)
"""Fleets that are simulated; a unit of a larger one carries no less."""
JUST_ABOVE = 1.3
"""What breaks first is looked up where this many times the allowed share is outside."""
MATCH = 1e-9
"""Relative difference below which two rates are the same rate."""


@dataclass(frozen=True, slots=True, eq=False)
class SizingTable:
    """What `units` carry, from trials on the discrete-event kernel.

    Attributes
    ----------
    question : Question
        What was asked. Its target moves no curve: only where `capacity_rps` reads it.
    units : int64[U]
        Numbers of units that were simulated, rising from 1. Between them the loads at each share
        are interpolated; beyond them a unit carries what it carried in the largest fleet.
    rate_per_unit_rps : float64[U, G]
        Loads of one unit, rising along G, requests/s.
    violation : float64[U, G]
        Share of requests outside any part of the SLO at those; from the saturation on, the share in
        the first ten minutes of the overload. Never falls along G.
    max_units : int
        Largest fleet that the table answers for.
    saturation_rps : float
        Most requests/s that one unit completes.
    at_per_unit_rps : float64[R]
        Loads of one unit at which the next two are known.
    parts : float64[U, R, 3]
        Share outside TTFT, TPOT, latency.
    times_s : float64[U, R, 3, 2]
        p50 and p99 of TTFT, TPOT, latency, seconds; NaN where there is none.
    bindings : tuple of Binding
        What breaks first in each simulated fleet.
    split : Split
        How fleets fall into pools or types.
    ladder_rps : float64[max_units, G]
        Load of each fleet at ``violation[0]``, never falling with units.
    """

    question: Question
    units: IntArray
    rate_per_unit_rps: FloatArray
    violation: FloatArray
    max_units: int
    saturation_rps: float
    at_per_unit_rps: FloatArray
    parts: FloatArray
    times_s: FloatArray
    bindings: tuple[Binding, ...]
    split: Split = ONE_POOL
    ladder_rps: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        fleets = np.arange(1, self.max_units + 1)
        per_unit = np.array(
            [
                np.interp(_place(fleets), _place(self.units), column)
                for column in self.rate_per_unit_rps.T
            ]
        ).T
        totals = np.maximum.accumulate(per_unit * fleets[:, None], axis=0)
        object.__setattr__(self, "ladder_rps", totals)

    def violation_share(self, units: IntArray | int, rate_rps: FloatArray | float) -> FloatArray:
        """Share of requests outside the SLO, float64 of the broadcast shape.

        Never falls with the rate, never rises with units. No units serve nobody; no requests are
        never outside. A fleet larger than the table is read as its largest.

        Parameters
        ----------
        units : int or int64[...]
            Ready units, >= 0.
        rate_rps : float64[...]
            Load on all of them together, requests/s, >= 0.

        Raises
        ------
        SettingError
            When a rate is negative or not finite, or units are negative.
        """
        rates = _checked(rate_rps)
        fleets = np.asarray(units)
        if (fleets < 0).any():
            raise SettingError("units", int(fleets.min()), "0 or more units")
        fleets, rates = np.broadcast_arrays(np.minimum(fleets, self.max_units), rates)
        share = np.ones(rates.shape)
        for fleet in np.unique(fleets):
            if fleet > 0:
                here = fleets == fleet
                share[here] = np.interp(rates[here], self.ladder_rps[fleet - 1], self.violation[0])
        return np.where(rates == 0.0, 0.0, share)

    def capacities(self, max_units: int | None = None) -> FloatArray:
        """Largest rates that 1..`max_units` units carry inside the target, float64, never falling."""
        allowed = 1.0 - self.question.slo.attainment
        share = self.violation[0]
        left = int(np.clip(np.searchsorted(share, allowed, side="right") - 1, 0, share.size - 2))
        part = np.clip((allowed - share[left]) / (share[left + 1] - share[left]), 0.0, 1.0)
        rates = (1 - part) * self.ladder_rps[:, left] + part * self.ladder_rps[:, left + 1]
        count = self.max_units if max_units is None else max_units
        if count > self.max_units:
            raise SettingError("max_units", count, f"at most the table's {self.max_units} units")
        return np.asarray(rates[:count])

    def capacity_rps(self, units: int) -> float:
        """Largest rate that `units` carry with at most ``1 - attainment`` outside, requests/s."""
        if not 0 <= units <= self.max_units:
            raise SettingError("units", units, f"0..{self.max_units} units")
        return float(self.capacities(units)[-1]) if units else 0.0

    def need(self, rate_rps: FloatArray | float, clipped: bool = False) -> IntArray:
        """Fewest units that carry each rate inside the target, int64, >= 1.

        Parameters
        ----------
        clipped : bool
            Whether a rate beyond the largest fleet is given that fleet instead of an error.

        Raises
        ------
        SettingError
            When a rate is negative, not finite or more than `max_units` carry.
        """
        rates = _checked(rate_rps)
        found = np.searchsorted(self.capacities(), rates * (1 - MATCH)) + 1
        found = np.maximum(found, self.split.least_units)
        if clipped:
            found = np.minimum(found, self.max_units)
        elif (found > self.max_units).any():
            raise SettingError(
                "rate",
                float(rates.max()),
                f"{self.max_units} units carry {self.capacity_rps(self.max_units):.4g} requests/s",
                "allow more units or use a larger one",
            )
        return np.asarray(found, np.int64)

    def binding(self, units: int) -> Binding:
        """What breaks first just above `capacity_rps(units)`; see `breaking.first_broken`.

        TTFT, TPOT or LATENCY; KV or BATCH where requests wait because all slots are taken;
        STABILITY where the queue grows before a part of the SLO breaks.
        """
        if not 1 <= units <= self.max_units:
            raise SettingError("units", units, f"1..{self.max_units} units")
        nearest = int(np.argmin(np.abs(_place(self.units) - _place(np.array([units])))))
        return self.bindings[nearest]

    def above_rps(self, units: int) -> float:
        """A load just above `capacity_rps(units)`: a little more than the allowed share breaks."""
        allowed = 1.0 - self.question.slo.attainment
        above = np.interp(JUST_ABOVE * allowed, self.violation[0], self.ladder_rps[units - 1])
        return float(above)

    def parts_at(self, units: int, rate_rps: float) -> FloatArray:
        """Share of requests outside TTFT, TPOT and latency, float64[3]."""
        return self._between(self.parts, units, rate_rps)

    def percentiles_s(self, units: int, rate_rps: float) -> FloatArray:
        """p50 and p99 of TTFT, TPOT and latency, float64[3, 2]; NaN where there is none."""
        return self._between(self.times_s, units, rate_rps)

    def _between(self, values: FloatArray, units: int, rate_rps: float) -> FloatArray:
        """Values at a load per unit, between the two fleets beside `units`."""
        load = min(rate_rps / units, float(self.at_per_unit_rps[-1]))
        right = int(
            np.clip(np.searchsorted(self.at_per_unit_rps, load), 1, self.at_per_unit_rps.size - 1)
        )
        low, high = self.at_per_unit_rps[right - 1], self.at_per_unit_rps[right]
        part = (load - low) / (high - low)
        at = (1 - part) * values[:, right - 1] + part * values[:, right]
        upper = int(np.clip(np.searchsorted(self.units, units), 0, self.units.size - 1))
        lower = max(upper - 1, 0) if self.units[upper] > units else upper
        if lower == upper:
            return np.asarray(at[upper])
        few, many, here = _place(np.array([self.units[lower], self.units[upper], units]))
        share = (here - few) / (many - few)
        return np.asarray((1 - share) * at[lower] + share * at[upper])


def corrected(table: SizingTable, measured_over_predicted: float) -> SizingTable:
    """The table with every load times what the units were measured to carry over what it says.

    A unit that carries 0.9 of what its profile promises has the same curve at 0.9 of the load: the
    correction moves capacity, never the shape. Percentiles move along.

    Parameters
    ----------
    measured_over_predicted : float
        Capacity as measured over capacity as predicted, > 0.

    Raises
    ------
    SettingError
        When the ratio is not a finite number above 0.
    """
    ratio = measured_over_predicted
    if not 0 < ratio < np.inf:
        raise SettingError("measured_over_predicted", ratio, "a finite number above 0")
    return replace(
        table,
        rate_per_unit_rps=table.rate_per_unit_rps * ratio,
        saturation_rps=table.saturation_rps * ratio,
        at_per_unit_rps=table.at_per_unit_rps * ratio,
    )


def _place(units: IntArray) -> FloatArray:
    """Where a fleet lies between others: fluctuations fall with the root of its size."""
    return np.asarray(-1.0 / np.sqrt(units))


def _checked(rate_rps: FloatArray | float) -> FloatArray:
    rates = np.asarray(rate_rps, np.float64)
    bad = ~(np.isfinite(rates) & (rates >= 0))
    if bad.any():
        raise SettingError(
            "rate", float(rates[bad].flat[0]), "a finite rate of 0 or more requests/s"
        )
    return rates
