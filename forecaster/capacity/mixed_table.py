"""Sizing tables of several types: a table of each on the kernel, and the ladder of fleets from all.

The load of a fleet is split over its types in proportion to what each carries, at random, so each type
sees a thinned stream of the same kind and keeps the SLO by its own table: what they carry adds up. One
router over all units does better than chance: what is promised here is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecaster.capacity.curve import LEVELS, rising
from forecaster.capacity.ladder import best_ladder
from forecaster.capacity.sizing import Question
from forecaster.capacity.sizing_table import SizingTable
from forecaster.domain.demand import FloatArray
from forecaster.domain.plan import Binding
from forecaster.domain.pools import Pool, Split

RELATIVE = np.linspace(0.0, 1.4, 113)
"""Loads over the most that a unit of any type completes, at which percentiles are kept."""
ABOVE = 1.05
"""What breaks first is looked up at this many times what is carried."""


def mixed_table(
    question: Question, max_units: int, tables: Mapping[Pool, SizingTable]
) -> SizingTable:
    """Put the tables of the types together, along the best ladder.

    Parameters
    ----------
    question : Question
        Its unit stands for the types.
    max_units : int
        Largest fleet of all types together.
    tables : mapping
        Of each type that keeps the SLO at all, for as many units as there are of it; one or more.
    """
    return _Types(question, dict(tables)).table(max_units)


@dataclass(frozen=True, slots=True)
class _Types:
    """Tables of types, and what they say of any units of each."""

    question: Question
    tables: dict[Pool, SizingTable]

    def carried_rps(self, units: Mapping[Pool, int]) -> dict[Pool, float]:
        """Load that the units of each type carry inside the target."""
        return {pool: table.capacity_rps(units[pool]) for pool, table in self.tables.items()}

    def shares(self, units: Mapping[Pool, int]) -> dict[Pool, float]:
        """Share of the load that each type with units takes; in units where nothing is carried."""
        carried: dict[Pool, float] = {
            pool: x for pool, x in self.carried_rps(units).items() if x > 0
        }
        carried = carried or {pool: float(count) for pool, count in units.items() if count}
        total = sum(carried.values())
        return {pool: each / total for pool, each in carried.items()}

    @property
    def most(self) -> tuple[int, ...]:
        """Units that there are of each type."""
        mixed = self.question.unit.mixed
        assert mixed is not None
        there = {Pool(u.name): most for u, most in zip(mixed.types, mixed.most, strict=True)}
        return tuple(there[pool] for pool in self.tables)

    def split(self, max_units: int) -> Split:
        """The best ladder, and what a unit of each type carries in fleets like its last one."""
        types = self.question.unit.by_pool
        capacities = [table.capacities() for table in self.tables.values()]
        path = best_ladder(
            capacities, [types[pool].price_per_hour for pool in self.tables], max_units,
            self.question.seen_rps,
        ).path  # fmt: skip
        often = [max(path.count(i), 1) for i in range(len(capacities))]
        each = [float(column[n - 1]) / n for column, n in zip(capacities, often, strict=True)]
        most = max(*each, 1e-12)
        carries = tuple(max(round(x / most, 6), 1e-6) for x in each)
        return Split(tuple(self.tables), path, carries, self.most)

    def table(self, max_units: int) -> SizingTable:
        """The curve of every fleet along the ladder, and what it is like at each load."""
        split = self.split(max_units)
        fleets = np.arange(1, max_units + 1)
        most = max(table.saturation_rps for table in self.tables.values())
        at = RELATIVE * most
        rates = np.empty((max_units, LEVELS.size))
        parts = np.zeros((max_units, at.size, 3))
        times_s = np.full((max_units, at.size, 3, 2), np.nan)
        bindings = []
        for i, n in enumerate(fleets.tolist()):
            units = split.of(n)
            rates[i] = self._curve(units) / n
            parts[i], times_s[i] = self._at(units, at * n)
            bindings.append(self._binding(units))
        return SizingTable(
            self.question, fleets, rates, np.broadcast_to(LEVELS, rates.shape).copy(), max_units,
            most, at, parts, times_s, tuple(bindings), split,
        )  # fmt: skip

    def _curve(self, units: Mapping[Pool, int]) -> FloatArray:
        """Load of these units at each level of the share outside."""
        shares = self.shares(units)
        # the types' curves are linear between these, and so is their sum
        known = [self.tables[p].ladder_rps[units[p] - 1] / share for p, share in shares.items()]
        loads = np.unique(np.concatenate([[0.0], *known]))
        outside = np.zeros(loads.size)
        for pool, share in shares.items():
            outside += share * self.tables[pool].violation_share(units[pool], share * loads)
        outside = np.maximum.accumulate(outside) + np.arange(outside.size) * 1e-15
        return rising(np.interp(LEVELS, outside, loads))

    def _at(self, units: Mapping[Pool, int], loads: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Share outside each part, and percentiles: the mean p50 and the longest p99 of the types."""
        parts, times_s = np.zeros((loads.size, 3)), np.zeros((loads.size, 3, 2))
        for pool, share in self.shares(units).items():
            table, count = self.tables[pool], units[pool]
            for r, load in enumerate((share * loads).tolist()):
                parts[r] += share * table.parts_at(count, load)
                p50, p99 = table.percentiles_s(count, load).T
                times_s[r, :, 0] += share * p50
                times_s[r, :, 1] = np.maximum(times_s[r, :, 1], p99)
        return parts, times_s

    def _binding(self, units: Mapping[Pool, int]) -> Binding:
        """What breaks first: what the type says of which the largest share then breaks."""
        above = ABOVE * sum(self.carried_rps(units).values())
        shares = self.shares(units)
        broken = {
            pool: share * float(self.tables[pool].violation_share(units[pool], share * above))
            for pool, share in shares.items()
        }
        first = max(broken, key=lambda pool: broken[pool])
        return self.tables[first].binding(units[first])
