"""From orders to units: nobody answers before the lead, nobody appears or vanishes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.capacity.kernel import UnitEventKind
from forecaster.planning.course import ahead
from forecaster.replay.timeline import timeline
from tests.replay.conftest import MakeScene

TICK_S = 60.0
orders = st.lists(st.integers(0, 9), min_size=1, max_size=60).map(lambda each: np.array(each))
leads = st.sampled_from([0.0, 30.0, 60.0, 180.0, 601.0])
quick = settings(max_examples=200, deadline=None)


@quick
@given(wanted=orders, lead_s=leads)
def test_ready_is_never_above_what_was_wanted(wanted: np.ndarray, lead_s: float) -> None:
    fleet = timeline(wanted, 0.0, TICK_S, lead_s)
    assert (fleet.ready <= wanted).all()
    assert (fleet.ready >= 0).all()
    assert fleet.ready[0] == wanted[0]


@quick
@given(wanted=orders, lead_s=leads)
def test_units_are_conserved(wanted: np.ndarray, lead_s: float) -> None:
    fleet = timeline(wanted, 0.0, TICK_S, lead_s)
    warming = fleet.wanted - fleet.ready
    assert np.isclose(fleet.warming_s, warming.sum() * TICK_S)
    assert np.isclose(fleet.ready_s + fleet.warming_s, wanted.sum() * TICK_S)
    assert fleet.moved == np.abs(np.diff(wanted)).sum()
    assert fleet.actions == (np.diff(wanted) != 0).sum()


@quick
@given(wanted=orders, lead_s=leads)
def test_nobody_answers_before_the_lead(wanted: np.ndarray, lead_s: float) -> None:
    fleet = timeline(wanted, 0.0, TICK_S, lead_s)
    lead = int(np.ceil(lead_s / TICK_S))
    for t in range(wanted.size):
        assert fleet.ready[t] <= wanted[max(t - lead, 0) : t + 1].min()
        if t >= lead:  # what was wanted all the while is there
            assert fleet.ready[t] == wanted[t - lead : t + 1].min()


@quick
@given(wanted=orders, lead_s=leads)
def test_events_make_the_ready_units(wanted: np.ndarray, lead_s: float) -> None:
    fleet = timeline(wanted, 1000.0, TICK_S, lead_s)
    present, follow = int(fleet.ready[0]), list(fleet.events)
    for t, ready in enumerate(fleet.ready.tolist()):
        while follow and follow[0].at_s <= 1000.0 + t * TICK_S:
            present += 1 if follow.pop(0).kind is UnitEventKind.READY else -1
        assert present == ready
    assert not follow


@quick
@given(wanted=orders, ticks=st.integers(0, 12))
def test_orders_ahead_are_ready_in_time(wanted: np.ndarray, ticks: int) -> None:
    fleet = timeline(ahead(wanted, ticks), 0.0, TICK_S, ticks * TICK_S)
    assert (fleet.ready >= wanted).all()


def test_a_quick_start_overtakes_a_slow_one() -> None:
    leads_s = np.array([0.0, 240.0, 60.0, 60.0, 60.0, 60.0])
    fleet = timeline(np.array([1, 2, 3, 3, 3, 3]), 0.0, TICK_S, leads_s)
    assert fleet.ready.tolist() == [1, 1, 1, 2, 2, 3]
    assert fleet.warming_s == (4 + 1) * TICK_S


@given(orders, st.integers(0, 5))
def test_leads_that_are_all_alike_are_one_lead(wanted: np.ndarray, ticks: int) -> None:
    one = timeline(wanted, 0.0, TICK_S, ticks * TICK_S)
    each = timeline(wanted, 0.0, TICK_S, np.full(wanted.size, ticks * TICK_S))
    assert (one.ready == each.ready).all()
    assert (one.warming_s, one.actions) == (each.warming_s, each.actions)


def test_nine_starts_in_ten_keep_the_lead_and_every_policy_meets_the_same(
    scene_of: MakeScene,
) -> None:
    scene = replace(scene_of(np.full(4000, 1.0), 1000), lead_sigma=0.5)
    share = (scene.leads_s <= scene.lead_s).mean()
    assert share == pytest.approx(0.9, abs=0.02)
    assert (replace(scene, elasticity=0.5).leads_s == scene.leads_s).all()
    assert not (replace(scene, seed=1).leads_s == scene.leads_s).any()
    assert (replace(scene, lead_sigma=0.0).leads_s == scene.lead_s).all()
