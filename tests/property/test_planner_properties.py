"""The plan against brute force, the risk against the closed form, and what must never turn round."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.planning.budget import LEAST, MOST, load_factor
from forecaster.planning.layers import Costs, convex_envelope, schedule, violation_price_s
from forecaster.planning.risk import expected_outside_rps, tabulate
from forecaster.seasonal.calibration import LEVELS

SLOT_S = 60.0
quick = settings(max_examples=150, deadline=None)


def convex(random: np.random.Generator, slots: int, units: int) -> FloatArray:
    """Requests/s outside with 0..units: falling and convex along the units."""
    saved = -np.sort(-random.gamma(0.6, 0.4, (slots, units)), axis=1)
    return np.concatenate(
        [np.cumsum(saved[:, ::-1], axis=1)[:, ::-1], np.zeros((slots, 1))], axis=1
    )


def some_costs(random: np.random.Generator, slots: int, least_on: int = 1) -> Costs:
    start, stop, price = random.choice([0.0, 30.0, 90.0, 300.0], 3)
    return Costs(SLOT_S, start, stop, price + 10.0, int(random.integers(0, slots)), least_on)


def some_bounds(random: np.random.Generator, slots: int, units: int) -> tuple[IntArray, IntArray]:
    """Floors and ceilings that may contradict each other and may be out of reach."""
    least = random.integers(0, units + 1, slots) * (random.random(slots) < 0.4)
    most = np.where(random.random(slots) < 0.3, random.integers(0, units + 1, slots), units)
    return least.astype(np.int64), most.astype(np.int64)


def broken(units: int, least: int, most: int, step: int, size: int) -> int:
    """Steps of units above the ceiling, and below the floor where the ceiling allows them."""
    numbers = range(step, size * step + 1, step)
    above = sum(number > most for number in numbers if number <= units)
    below = sum(number - step < least and number <= most for number in numbers if number > units)
    return above + below


def cost(
    plan: tuple[int, ...], outside: FloatArray, costs: Costs, present: int,
    bounds: tuple[IntArray, IntArray], step: int,
) -> tuple[int, float]:  # fmt: skip
    """(bounds broken, unit-seconds) of a fleet."""
    change = np.diff(np.array([present, *plan]))
    layers = (outside.shape[1] - 1) // step
    money = sum(
        SLOT_S * units + costs.violation_s * SLOT_S * outside[t, units]
        for t, units in enumerate(plan)
    )
    money += costs.start_s * change.clip(0).sum() + costs.stop_s * (-change).clip(0).sum()
    missed = sum(
        broken(units, int(bounds[0][t]), int(bounds[1][t]), step, layers)
        for t, units in enumerate(plan)
    )
    return missed, float(money)


def fleets(slots: int, units: int, step: int, present: int, lead: int) -> Iterator[tuple[int, ...]]:
    """Every fleet that can be: before the lead nothing appears."""
    for plan in itertools.product(range(0, units + 1, step), repeat=slots):
        if all(b <= a for a, b in itertools.pairwise((present, *plan[:lead]))):
            yield plan


@quick
@given(st.integers(0, 2**32), st.sampled_from([1, 1, 2]), st.booleans())
def test_the_plan_is_as_cheap_as_the_cheapest_of_all(seed: int, step: int, bounded: bool) -> None:
    random = np.random.default_rng(seed)
    slots, layers = int(random.integers(1, 6)), int(random.integers(1, 4))
    outside = convex(random, slots, layers * step)
    outside = np.maximum(outside, 0)
    present = int(random.integers(0, layers + 1)) * step
    costs = some_costs(random, slots)
    bounds = (np.zeros(slots, np.int64), np.full(slots, layers * step))
    if bounded:
        bounds = some_bounds(random, slots, layers * step)
    plan = schedule(outside, costs, present, step=step, least=bounds[0], most=bounds[1])
    ours = cost(tuple(plan.tolist()), outside, costs, present, bounds, step)
    best = min(
        cost(each, outside, costs, present, bounds, step)
        for each in fleets(slots, layers * step, step, present, costs.lead_slots)
    )
    assert ours[0] == best[0]
    assert ours[1] == pytest.approx(best[1], rel=1e-9, abs=1e-6)
    assert all(b <= a for a, b in itertools.pairwise([present, *plan[: costs.lead_slots].tolist()]))
    assert (plan % step == 0).all()


def on_off_cost(
    on: tuple[bool, ...], outside: FloatArray, costs: Costs, was_on: bool, held: int
) -> float:
    """Unit-seconds of one unit's hours; infinite where its rules forbid them."""
    total, before, began = 0.0, was_on, -99
    for t, now in enumerate(on):
        if now and not before:
            if t < costs.lead_slots:
                return math.inf
            total, began = total + costs.start_s, t
        if before and not now:
            if t - began < costs.least_on_slots or t < held:
                return math.inf
            total += costs.stop_s
        total += SLOT_S * now + costs.violation_s * SLOT_S * outside[t, int(now)]
        before = now
    return total


@quick
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 4))
def test_one_unit_with_a_billing_minimum_against_every_sequence(
    seed: int, least_on: int, held: int
) -> None:
    random = np.random.default_rng(seed)
    slots = int(random.integers(1, 9))
    outside = convex(random, slots, 1)
    was_on = bool(random.integers(0, 2))
    held = min(held, slots) if was_on else 0
    costs = some_costs(random, slots, least_on)
    plan = schedule(outside, costs, int(was_on), held_slots=np.array([held]))
    ours = on_off_cost(tuple((plan > 0).tolist()), outside, costs, was_on, held)
    best = min(
        on_off_cost(on, outside, costs, was_on, held)
        for on in itertools.product((False, True), repeat=slots)
    )
    assert ours == pytest.approx(best, rel=1e-9)


@quick
@given(st.integers(0, 2**32), st.floats(1, 3))
def test_units_never_fall_as_the_price_of_a_violation_rises(seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)
    outside = convex(random, 12, 8)
    low = some_costs(random, 12)
    high = Costs(SLOT_S, low.start_s, low.stop_s, low.violation_s * factor, low.lead_slots)
    least, most = some_bounds(random, 12, 8)
    present = int(random.integers(0, 9))
    cheap, dear = (schedule(outside, each, present, least=least, most=most) for each in (low, high))
    assert (dear >= cheap).all()


@quick
@given(st.integers(0, 2**32))
def test_units_never_fall_as_each_unit_saves_more(seed: int) -> None:
    random = np.random.default_rng(seed)
    costs, present = some_costs(random, 12), int(random.integers(0, 9))
    outside = convex(random, 12, 8)
    more = outside + convex(random, 12, 8)  # every unit's saving grows
    assert (schedule(more, costs, present) >= schedule(outside, costs, present)).all()


@quick
@given(st.integers(0, 2**32), st.integers(0, 8))
def test_units_never_fall_as_the_fleet_or_the_floor_grows(seed: int, extra: int) -> None:
    random = np.random.default_rng(seed)
    costs, present = some_costs(random, 12), int(random.integers(0, 9))
    outside = convex(random, 12, 8)
    least, _ = some_bounds(random, 12, 8)
    plan = schedule(outside, costs, present, least=least)
    assert (schedule(outside, costs, min(present + extra, 8), least=least) >= plan).all()
    assert (schedule(outside, costs, present, least=np.minimum(least + extra, 8)) >= plan).all()


class Excess:
    """A curve with a closed form: what comes above `each_rps` a unit is outside."""

    def __init__(self, each_rps: float) -> None:
        self.each_rps = each_rps

    def violation_share(self, units: IntArray | int, rate_rps: FloatArray) -> FloatArray:
        return np.clip(1 - np.asarray(units) * self.each_rps / rate_rps, 0.0, 1.0)


def lognormal(median: float, sigma: float) -> FloatArray:
    return median * np.exp(sigma * ndtri(np.asarray(LEVELS)))


@quick
@given(st.floats(1, 100), st.floats(0.02, 0.6))
def test_the_expected_excess_is_that_of_a_lognormal(median: float, sigma: float) -> None:
    each = median / 8
    curve = Excess(each)
    grid = tabulate(curve, median / 50, median * 50, 30)
    outside, rate = expected_outside_rps(lognormal(median, sigma)[None], LEVELS, grid)
    mean = median * math.exp(sigma**2 / 2)
    strike = each * np.arange(1, 31)
    depth = (math.log(median) - np.log(strike)) / sigma
    exact = mean * ndtr(depth + sigma) - strike * ndtr(depth)  # E max(X - k, 0); Black, Scholes
    assert rate[0] == pytest.approx(mean, rel=5e-3)
    assert outside[0, 0] == pytest.approx(mean, rel=5e-3)
    assert outside[0, 1:] == pytest.approx(exact, rel=0.04, abs=2e-3 * mean)
    assert (np.diff(outside[0]) <= 1e-12).all()


@quick
@given(st.floats(1, 100), st.floats(0.02, 0.6), st.floats(1, 2), st.integers(0, 2**32))
def test_units_never_fall_as_the_load_rises(
    median: float, sigma: float, factor: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    grid = tabulate(Excess(4.0), 0.1, 2000.0, 60)
    load = median * np.exp(0.5 * np.sin(np.arange(12) / 2))
    # no start costs just as much as some slots: of two equal plans rounding chooses either
    costs = some_costs(random, 12)
    costs = replace(costs, start_s=costs.start_s + float(random.random()))
    few, many = (
        schedule(
            expected_outside_rps(f * load[:, None] * lognormal(1, sigma), LEVELS, grid)[0], costs, 5
        )
        for f in (1.0, factor)
    )
    assert (many >= few).all()


rows = st.lists(st.floats(0, 100), min_size=1, max_size=12)


@quick
@given(rows)
def test_the_envelope_is_convex_below_and_touches_both_ends(values: list[float]) -> None:
    row = np.array(values)
    found = convex_envelope(row[None])[0]
    assert found.size == row.size
    assert (found <= row + 1e-9).all()
    assert found[0] == row[0]
    assert found[-1] == pytest.approx(row[-1])
    assert (np.diff(found, 2) >= -1e-9).all()
    # nothing convex lies between: it turns only where it touches
    turns = np.flatnonzero(np.diff(found, 2) > 1e-9) + 1
    assert found[turns] == pytest.approx(row[turns])
    assert convex_envelope(found[None])[0] == pytest.approx(found)


@quick
@given(st.integers(0, 2**32), st.floats(0.001, 0.5), st.floats(0, 1), st.sampled_from([1, 2]))
def test_a_violation_costs_more_the_fewer_are_allowed(
    seed: int, share: float, tighter: float, step: int
) -> None:
    random = np.random.default_rng(seed)
    foreseen, happened = convex(random, 20, 8), convex(random, 20, 8)
    rate = happened[:, 0]
    loose = violation_price_s(foreseen, happened, rate, share, step)
    tight = violation_price_s(foreseen, happened, rate, share * tighter, step)
    assert tight >= loose >= 0


@quick
@given(st.integers(0, 2**32), st.floats(0.001, 0.9))
def test_the_price_keeps_the_share_of_what_happened(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    outside = convex(random, 20, 8)
    rate = outside[:, 0]
    price = violation_price_s(outside, outside, rate, share)
    plan = schedule(outside, Costs(1.0, 0.0, 0.0, price * (1 + 1e-9)), 0)
    kept = outside[np.arange(20), plan].sum()
    saved = outside[:, :-1] - outside[:, 1:]
    if price > 0 and price < 1 / max(saved[saved > 0].min(), 1e-4) * (1 - 1e-9):
        assert kept <= share * rate.sum() * (1 + 1e-9)
    if price == 0:
        assert rate.sum() <= share * rate.sum()


@quick
@given(
    st.floats(0, 1e5), st.floats(0, 1e6), st.floats(0, 1e5), st.floats(0.0005, 0.5),
    st.floats(1, 1e6),
)  # fmt: skip
def test_more_outside_plans_for_more_load(
    outside: float, requests: float, foreseen: float, share: float, day: float
) -> None:
    factor = load_factor(outside, requests, foreseen, share, day)
    assert LEAST <= factor <= MOST
    assert load_factor(outside + 10, requests, foreseen, share, day) >= factor
    assert load_factor(outside, requests + 10, foreseen, share, day) <= factor
    assert load_factor(outside, requests, foreseen + 10, share, day) <= factor
    assert load_factor(share * requests, requests, foreseen, share, day) == pytest.approx(1.0)
