"""Ladders of fleets of several types: nested, inside what there is, and near the cheapest mix."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.capacity.ladder import Ladder, best_ladder
from forecaster.domain.demand import FloatArray
from forecaster.planning.mix import Pool, cheapest

Types = tuple[list[FloatArray], list[float]]
MEAN_EXCESS, ONCE_EXCESS = 0.35, 0.05
"""Bars: the mean over the loads of any two or three types, and the mean over many such draws."""


@st.composite
def types(draw: st.DrawFn, most: int = 10) -> Types:
    """Two or three types of which larger units are somewhat cheaper or dearer for what they carry."""
    capacities, prices = [], []
    for _ in range(draw(st.integers(2, 3))):
        one = draw(st.floats(1.0, 10.0))
        count = np.arange(1, draw(st.integers(2, most)) + 1)
        # a unit of a larger fleet carries more
        capacities.append(one * count * (1 - draw(st.floats(0.0, 0.4)) / np.sqrt(count)))
        prices.append(one * draw(st.floats(0.6, 1.6)))
    return capacities, prices


def fleets(capacities: list[FloatArray], prices: list[float], ladder: Ladder) -> FloatArray:
    """What each fleet of a ladder carries and costs, float64[N, 2]."""
    counts, found = [0] * len(prices), []
    for i in ladder.path:
        counts[i] += 1
        carried = sum(c[n - 1] for c, n in zip(capacities, counts, strict=True) if n)
        found.append((carried, sum(n * p for n, p in zip(counts, prices, strict=True))))
    return np.array(found)


def excesses(capacities: list[FloatArray], prices: list[float], ladder: Ladder) -> FloatArray:
    """Price of the ladder over the cheapest mix, less one, over the loads that it carries."""
    steps = fleets(capacities, prices, ladder)
    pools = [Pool(str(i), c, p) for i, (c, p) in enumerate(zip(capacities, prices, strict=True))]
    least = min(float(c[0]) for c in capacities)
    loads = np.geomspace(0.5 * least, steps[-1, 0] * 0.999, 40)
    at = np.searchsorted(steps[:, 0], loads)
    best = np.array([cheapest(pools, load).price_per_hour for load in loads])
    return np.asarray(steps[at, 1] / best - 1)


@settings(max_examples=120, deadline=None)
@given(types(), st.integers(1, 24))
def test_it_is_nested_inside_what_there_is_and_carries_more_with_each_step(
    drawn: Types, max_units: int
) -> None:
    capacities, prices = drawn
    ladder = best_ladder(capacities, prices, max_units)
    there = sum(column.size for column in capacities)
    assert len(ladder.path) == min(max_units, there)
    used = Counter(ladder.path)
    assert all(used[i] <= column.size for i, column in enumerate(capacities))
    assert (np.diff(fleets(capacities, prices, ladder)[:, 0]) >= -1e-9).all()


@settings(max_examples=60, deadline=None)
@given(types())
def test_its_price_is_near_that_of_the_cheapest_mix(drawn: Types) -> None:
    capacities, prices = drawn
    found = best_ladder(capacities, prices, sum(column.size for column in capacities))
    dearer = excesses(capacities, prices, found)
    assert (dearer > -1e-6).all()  # nothing is cheaper than the cheapest
    assert dearer.mean() < MEAN_EXCESS


def test_over_many_types_nesting_costs_a_few_per_cent() -> None:
    random = np.random.default_rng(7)
    seen = []
    for _ in range(40):
        one = random.uniform(1, 10, random.integers(2, 4))
        capacities = [x * np.arange(1, 13) * (1 - 0.3 / np.sqrt(np.arange(1, 13))) for x in one]
        prices = (one * random.uniform(0.7, 1.4, one.size)).tolist()
        ladder = best_ladder(capacities, prices, 12 * one.size)
        seen.append(float(excesses(capacities, prices, ladder).mean()))
        assert ladder.excess == pytest.approx(seen[-1], abs=0.05)
    assert np.mean(seen) < ONCE_EXCESS


def test_no_other_ladder_has_a_smaller_mean_excess() -> None:
    """Against every ladder of two types and six units, by its own measure."""
    random = np.random.default_rng(3)
    for _ in range(6):
        one = random.uniform(1, 8, 2)
        capacities = [x * np.arange(1, 7) for x in one]
        prices = (one * random.uniform(0.6, 1.5, 2)).tolist()
        best = best_ladder(capacities, prices, 12).excess
        full = [p for p in product((0, 1), repeat=8) if max(p.count(0), p.count(1)) <= 6]
        others = [
            _excess(capacities, prices, [*p, *[0] * (6 - p.count(0)), *[1] * (6 - p.count(1))])
            for p in full
        ]
        assert best <= min(others) + 1e-9


def _excess(capacities: list[FloatArray], prices: list[float], path: list[int]) -> float:
    """Mean excess of a path over the logarithm of the load, on a fine grid of loads."""
    steps = fleets(capacities, prices, Ladder(tuple(path), 0.0))
    least = min(float(c[0]) for c in capacities)
    units = np.array([(a, b) for a in range(7) for b in range(7)])
    columns = [np.concatenate([[0.0], c]) for c in capacities]
    carried = columns[0][units[:, 0]] + columns[1][units[:, 1]]
    paid = units @ np.array(prices)
    edges = np.unique(np.concatenate([[0.0], carried]))
    width = np.diff(np.log1p(edges / least))
    best = np.array([paid[carried >= edge - 1e-9].min() for edge in edges[1:]])
    at = np.searchsorted(steps[:, 0] + 1e-9, edges[1:])
    return float((width * steps[at, 1] / best).sum() / width.sum() - 1)


def test_a_long_ladder_is_found_in_time_and_goes_on_to_its_end() -> None:
    capacities = [3.0 * np.arange(1, 2001), 1.0 * np.arange(1, 2001)]
    ladder = best_ladder(capacities, [3.0, 1.2], 2000)
    assert len(ladder.path) == 2000
    assert ladder.path[-1] == 0  # the large ones are the better value


def test_units_that_cost_nothing_come_first() -> None:
    assert best_ladder([2.0 * np.arange(1, 3), np.arange(1.0, 3.0)], [1.0, 0.0], 4).path[:2] == (
        1,
        1,
    )


@settings(max_examples=40, deadline=None)
@given(types(), st.lists(st.floats(0.05, 0.9), min_size=3, max_size=11))
def test_loads_that_are_seen_are_carried_for_less(drawn: Types, parts: list[float]) -> None:
    """What a ladder for these loads costs over them is no more than what one for all loads does."""
    capacities, prices = drawn
    units = sum(column.size for column in capacities)
    most = sum(float(column[-1]) for column in capacities)
    seen = sorted(part * most for part in parts)
    found = [best_ladder(capacities, prices, units, each) for each in (seen, ())]
    random = np.random.default_rng(1)
    loads = np.interp(random.random(400), (np.arange(len(seen)) + 0.5) / len(seen), seen)
    own, other = (
        steps[np.searchsorted(steps[:, 0], loads), 1].mean()
        for steps in (fleets(capacities, prices, each) for each in found)
    )
    assert own <= other * 1.05  # noise of the draw, and the little weight of all other loads
