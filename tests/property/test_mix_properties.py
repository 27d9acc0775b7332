"""The cheapest mix is the one that trying every mix finds."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.domain.errors import SettingError
from forecaster.planning.mix import Pool, cheapest

pools = st.lists(
    st.builds(
        lambda steps, price, least: Pool(
            "u", np.cumsum(np.array(steps)), price, min(least, len(steps))
        ),
        st.lists(st.floats(0.1, 10), min_size=1, max_size=6),
        st.floats(0.5, 9),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=3,
)


def carried(pool: Pool, count: int) -> float:
    return float(pool.capacity_rps[count - 1]) if count else 0.0


@settings(max_examples=200, deadline=None)
@given(pools, st.floats(0, 1))
def test_no_other_mix_that_carries_the_load_is_cheaper(found: list[Pool], part: float) -> None:
    rate = part * sum(float(pool.capacity_rps[-1]) for pool in found)
    mix = cheapest(found, rate)
    assert mix.capacity_rps >= rate * (1 - 1e-6)
    assert all(n >= pool.least for n, pool in zip(mix.units, found, strict=True))
    assert mix.price_per_hour == pytest.approx(
        sum(n * pool.price_per_hour for n, pool in zip(mix.units, found, strict=True))
    )
    assert sum(mix.share) == pytest.approx(1.0 if mix.capacity_rps else 0.0)
    counts = (range(pool.least, pool.capacity_rps.size + 1) for pool in found)
    prices = [
        sum(n * pool.price_per_hour for n, pool in zip(each, found, strict=True))
        for each in product(*counts)
        if sum(carried(pool, n) for n, pool in zip(each, found, strict=True)) >= rate
    ]
    assert mix.price_per_hour <= min(prices) * (1 + 1e-9)


@settings(max_examples=100, deadline=None)
@given(pools, st.floats(0, 1), st.floats(0, 1))
def test_more_load_is_never_cheaper(found: list[Pool], one: float, other: float) -> None:
    most = sum(float(pool.capacity_rps[-1]) for pool in found)
    low, high = (cheapest(found, part * most) for part in sorted((one, other)))
    assert low.price_per_hour <= high.price_per_hour * (1 + 1e-9)


def test_too_much_is_refused_with_what_there_is() -> None:
    pool = Pool("small", np.array([2.0, 4.0]), 1.0)
    with pytest.raises(SettingError, match="carry 4 requests/s"):
        cheapest([pool], 5.0)
    with pytest.raises(SettingError, match="price_per_hour of small"):
        cheapest([Pool("small", np.array([2.0]), 0.0)], 1.0)


def test_sixty_four_units_of_three_types_take_no_time() -> None:
    types = [Pool(n, c * np.arange(1, 65) ** 1.02, p) for n, c, p in (("a", 3.0, 9.0), ("b", 1.0, 3.1), ("c", 0.4, 1.3))]  # fmt: skip
    mix = cheapest(types, 200.0)
    assert mix.capacity_rps >= 200.0
