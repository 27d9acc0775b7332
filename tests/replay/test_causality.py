"""A rule sees what lay before its tick and nothing else; the clairvoyants, and only they, see ahead."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.replay import mean_planner, rules
from forecaster.replay.scene import Scene
from tests.replay.conftest import MakeScene

HOUR = 60
FIRST, MINUTES = 30 * HOUR, 34 * HOUR
Rule = Callable[[Scene], IntArray]
CAUSAL: dict[str, Rule] = {
    "last-value": partial(rules.last_value, knob=1.3),
    "smoothed": partial(rules.smoothed, knob=1.3, half_life_s=1200.0, hold_s=1800.0),
    "smoothed, no hold": partial(rules.smoothed, knob=1.3, half_life_s=300.0, hold_s=0.0),
    "seasonal-naive": partial(rules.seasonal_naive, knob=1.3),
    "hpa": partial(rules.hpa, knob=1.5),
    "knative": partial(rules.knative, knob=1.5),
}
HINDSIGHT: dict[str, Rule] = {
    "static-peak": partial(rules.static_peak, knob=1.0),
    "tide-clairvoyant": partial(rules.tide_clairvoyant, knob=1.0),
    "clairvoyant": partial(rules.clairvoyant, knob=1.0),
}


def some_load(seed: int, minutes: int = MINUTES) -> FloatArray:
    random = np.random.default_rng(seed)
    tide = 1.2 + np.sin(np.arange(minutes) * 2 * np.pi / 1440)
    return np.asarray(2.0 * tide * random.gamma(8.0, 1 / 8.0, minutes))


def other_future(load: FloatArray, tick: int, seed: int) -> FloatArray:
    """The same until scored tick `tick` begins, something else from there on."""
    at = FIRST + tick
    changed = load.copy()
    changed[at:] = 3 * some_load(seed + 1)[at:]
    return changed


seeds = st.integers(0, 2**20)
ticks = st.integers(0, MINUTES - FIRST - 5)
quick = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("lead_s", [0.0, 1800.0])
@quick
@given(seed=seeds, tick=ticks)
def test_another_future_changes_no_order_before_it(
    scene_of: MakeScene, name: str, lead_s: float, seed: int, tick: int
) -> None:
    load = some_load(seed)
    ours = CAUSAL[name](scene_of(load, FIRST, lead_s))
    theirs = CAUSAL[name](scene_of(other_future(load, tick, seed), FIRST, lead_s))
    known = tick + 1
    assert np.array_equal(ours[:known], theirs[:known])


@pytest.mark.parametrize("name", HINDSIGHT)
def test_who_is_said_to_see_ahead_does(scene_of: MakeScene, name: str) -> None:
    load = some_load(3)
    ours = HINDSIGHT[name](scene_of(load, FIRST))
    theirs = HINDSIGHT[name](scene_of(other_future(load, 100, 3), FIRST))
    assert not np.array_equal(ours[:101], theirs[:101])


@pytest.mark.parametrize("name", ["constant", "arima", "kalman"])
@quick
@given(seed=seeds, known=st.integers(1, 300))
def test_predictors_know_only_what_was(name: str, seed: int, known: int) -> None:
    means = some_load(seed, 400)
    changed = means.copy()
    changed[known:] = 7.0
    predictor = mean_planner.PREDICTORS[name]
    first = min(known, 40)
    until = known - first + 1  # the forecast of interval `known` is made when it begins
    assert np.allclose(predictor(means, first)[:until], predictor(changed, first)[:until])


def test_prophet_knows_only_what_was() -> None:
    means = some_load(1, 120)
    changed = means.copy()
    changed[90:] *= 5
    ours, theirs = (mean_planner.prophet(each, 60) for each in (means, changed))
    assert np.allclose(ours[:31], theirs[:31])


@quick
@given(seed=seeds, tick=ticks)
def test_the_mean_planner_orders_on_what_was(scene_of: MakeScene, seed: int, tick: int) -> None:
    load = some_load(seed)
    ours, theirs = (
        mean_planner.predicted(scene_of(each, FIRST), mean_planner.arima)
        for each in (load, other_future(load, tick, seed))
    )
    until = tick // round(mean_planner.INTERVAL_S / 60) + 1
    assert np.allclose(ours[:until], theirs[:until])


@pytest.mark.parametrize("name", [*CAUSAL, *HINDSIGHT])
def test_limits_and_steps_are_kept(scene_of: MakeScene, name: str) -> None:
    scene = scene_of(some_load(2), FIRST, 600.0, min_units=2, max_units=8, step_units=2)
    units = {**CAUSAL, **HINDSIGHT}[name](scene)
    assert units.size == scene.ticks
    assert set(np.unique(units)) <= {2, 4, 6, 8}


@pytest.mark.parametrize(
    "name", ["static-peak", "last-value", "seasonal-naive", "tide-clairvoyant"]
)
def test_a_larger_knob_never_takes_units_away(scene_of: MakeScene, name: str) -> None:
    rule = getattr(rules, name.replace("-", "_"))
    scene = scene_of(some_load(4), FIRST)
    fleets = [rule(scene, knob) for knob in (0.5, 1.0, 1.7, 3.0)]
    for fewer, more in itertools.pairwise(fleets):
        assert (fewer <= more).all()
