"""Several types planned, ordered, billed and replayed as one fleet on a ladder."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.capacity.kernel import MixedSimulation, UnitEventKind, simulate
from forecaster.capacity.kernel import UnitEvent as FleetEvent
from forecaster.capacity.kernel.arrivals import chat
from forecaster.config import load_unit_type
from forecaster.daemon.floor import floor_table
from forecaster.domain.errors import SettingError
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.plan import Binding, Reason, SlotPlan, TideTable, Verb
from forecaster.domain.pools import Pool, Split, in_order
from forecaster.domain.profile import GenerativeProfile
from forecaster.domain.service import Limits
from forecaster.domain.units import Fleet, UnitView
from forecaster.planning.composition import Pools, lacking, to_spare
from forecaster.planning.course import worth
from forecaster.planning.decide import decide
from forecaster.planning.journal import (
    decision_from_dict,
    decision_to_dict,
    fleet_to_dict,
    replay_decision,
    table_from_dict,
    table_to_dict,
)
from forecaster.planning.layers import Costs, schedule, violation_price_s
from forecaster.planning.policy import Policy
from forecaster.planning.shadow import shadow_units
from forecaster.replay.scorecard import rows_of

MODELS = Path(__file__).resolve().parents[2] / "models"
T0_S = 1_700_000_000.0
SMALL, LARGE = Pool("small"), Pool("large")
LADDER = Split((SMALL, LARGE), (0, 0, 1, 1, 0, 1), (1.0, 3.0), (4, 6))
POLICY = Policy(limits=Limits(1, 12), lead_time_s=60.0, split=LADDER)


def tide(*holds: int) -> TideTable:
    """Ten minutes at each hold."""
    slots = tuple(
        SlotPlan(T0_S + 60.0 * i, 1.0, 1.2, 1.0, hold, hold, 0.0, Reason.LOAD, Binding.TPOT)
        for i, hold in enumerate(np.repeat(holds, 10).tolist())
    )
    return TideTable("chat", T0_S, 60.0, 60.0, T0_S, max(holds), 3600.0, slots, LADDER)


def fleet(small: int, large: int, state: UnitState = UnitState.READY) -> Fleet:
    units = tuple(
        UnitView(f"{pool}-{n}", "chat", state, T0_S, T0_S, pool=pool)
        for pool, count in ((SMALL, small), (LARGE, large))
        for n in range(count)
    )
    return Fleet("chat", T0_S, units)


@pytest.mark.parametrize(
    ("have", "hold", "verb", "pools"),
    [
        ((0, 0), 3, Verb.PREWARM, ((SMALL, 2), (LARGE, 1))),
        ((2, 0), 4, Verb.PREWARM, ((LARGE, 2),)),
        ((2, 2), 4, Verb.HOLD, ()),
        ((5, 1), 4, Verb.HOLD, ()),  # off the ladder, and as much: nothing is exchanged
        ((1, 2), 4, Verb.PREWARM, ((SMALL, 1),)),
        ((3, 2), 2, Verb.DRAIN, ((SMALL, 1), (LARGE, 2))),
        ((0, 2), 2, Verb.DRAIN, ((LARGE, 1),)),  # one large unit does for two small ones
        ((6, 0), 1, Verb.DRAIN, ((SMALL, 5),)),
    ],
)
def test_each_type_gets_its_own_order(
    have: tuple[int, int], hold: int, verb: Verb, pools: tuple[tuple[Pool, int], ...]
) -> None:
    made = decide(tide(hold, hold), fleet(*have), POLICY, T0_S)
    assert (made.verb, made.pools) == (verb, pools)
    assert made.units == sum(count for _, count in pools)


def test_a_type_that_was_denied_is_made_up_for_by_others() -> None:
    refused = replace(POLICY, denied_pools=(LARGE,))
    made = decide(tide(3), fleet(2, 0), refused, T0_S)
    # two more small ones exist; the tick goes on asking for what is still missing
    assert made.pools == ((SMALL, 2), (LARGE, 1))
    assert "large denied lately, others go first" in made.explanation
    other = decide(tide(4), fleet(2, 1), replace(POLICY, denied_pools=(SMALL,)), T0_S)
    assert other.pools == ((LARGE, 1),)


def test_orders_stay_under_the_ceiling_and_inside_a_quota() -> None:
    tight = replace(POLICY, limits=Limits(1, 4), denied_pools=(LARGE,))
    assert decide(tide(4), fleet(3, 0), tight, T0_S).pools == ((SMALL, 1),)
    room = replace(POLICY, quota="h100", room_units=1)
    made = decide(tide(4), fleet(2, 0), room, T0_S)
    assert (made.pools, made.target_units) == (((LARGE, 1),), 3)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 6),
    st.sets(st.sampled_from([SMALL, LARGE])),
)
def test_orders_and_drains_leave_what_is_wanted(
    small: int, large: int, wanted: int, denied: set[Pool]
) -> None:
    have: Pools = {SMALL: small, LARGE: large}
    added = lacking(LADDER, have, wanted, denied)
    after = {pool: have[pool] + added[pool] for pool in have}
    assert LADDER.whole(after) >= wanted
    if LADDER.whole(have) >= wanted:
        assert not any(added.values())
    given_back = to_spare(LADDER, have, wanted)
    rest = {pool: have[pool] - given_back[pool] for pool in have}
    assert min(rest.values()) >= 0
    assert LADDER.whole(rest) >= min(wanted, LADDER.whole(have))
    if any(given_back.values()):
        assert not any(added.values())


def test_fleets_on_the_ladder_move_along_it() -> None:
    for n in range(7):
        for m in range(7):
            have, aim = LADDER.of(n), LADDER.of(m)
            added, spare = lacking(LADDER, have, m), to_spare(LADDER, have, m)
            assert added == {p: max(aim[p] - have[p], 0) for p in aim}
            assert spare == {p: max(have[p] - aim[p], 0) for p in aim}


def test_journal_table_shadow_and_floor() -> None:
    table, now = tide(4), fleet(1, 1)
    made = decide(table, now, POLICY, T0_S)
    again = table_from_dict(json.loads(json.dumps(table_to_dict(table))))
    assert again == table
    inputs = json.loads(
        json.dumps({"fleet": fleet_to_dict(now), "policy": asdict(POLICY), "now_s": T0_S})
    )
    assert replay_decision(inputs, again) == made
    assert decision_from_dict(json.loads(json.dumps(decision_to_dict(made)))) == made
    assert shadow_units(tide(4, 4), POLICY, 2, T0_S) == 4
    start = in_order((SMALL, LARGE), (2, 9), 5)
    assert start.of(5) == {SMALL: 2, LARGE: 3}
    floor = floor_table("chat", replace(POLICY, split=start, limits=Limits(3, 8)), T0_S)
    assert decide(floor, fleet(0, 0), POLICY, T0_S).pools == ((SMALL, 2), (LARGE, 1))


def test_a_journal_from_before_ladders_is_read() -> None:
    old = asdict(POLICY)
    del old["split"], old["denied_pools"]
    inputs = {"fleet": fleet_to_dict(Fleet("chat", T0_S)), "now_s": T0_S}
    for paired in (True, False):
        made = replay_decision(inputs | {"policy": old | {"paired": paired}}, tide(3))
        assert made.verb is Verb.PREWARM


# -- what a plan costs ---------------------------------------------------------------------------


def cheapest_course(
    outside_rps: np.ndarray, costs: Costs, present: int, price: np.ndarray
) -> float:
    """Cost of the best schedule of all, by a dynamic programme over all fleets."""
    slots, size = outside_rps.shape
    held = np.concatenate([[0.0], np.cumsum(price)])
    start = costs.start_s * held
    stop = costs.stop_s * held
    ahead = np.zeros(size)
    move = np.maximum(start[None, :] - start[:, None], 0) + np.maximum(
        stop[:, None] - stop[None, :], 0
    )
    for t in range(slots - 1, -1, -1):
        here = costs.slot_s * held + costs.violation_s * costs.slot_s * outside_rps[t] + ahead
        ahead = (move + here[None, :]).min(axis=1)
    return float(ahead[present])


def cost_of(
    plan: np.ndarray, outside_rps: np.ndarray, costs: Costs, present: int, price: np.ndarray
) -> float:
    held = np.concatenate([[0.0], np.cumsum(price)])
    change = np.diff(held[np.concatenate([[present], plan])])
    moved = costs.start_s * change[change > 0].sum() - costs.stop_s * change[change < 0].sum()
    violated = costs.violation_s * outside_rps[np.arange(plan.size), plan].sum()
    return float(costs.slot_s * (held[plan].sum() + violated) + moved)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6))
def test_layers_of_different_prices_give_the_best_schedule(seed: int, present: int) -> None:
    """Exactly, where what a unit saves for its price falls along the ladder."""
    random = np.random.default_rng(seed)
    units, slots = 6, 24
    price = random.uniform(0.3, 3.0, units)
    load = 3 + 3 * np.sin(np.arange(slots) / 4 + random.uniform(0, 6))
    saved = price * np.sort(random.uniform(0.05, 2.0, units))[::-1] * load[:, None]
    outside = saved.sum(axis=1, keepdims=True) - np.concatenate(
        [np.zeros((slots, 1)), np.cumsum(saved, axis=1)], axis=1
    )
    costs = Costs(60.0, random.uniform(10, 300), random.uniform(0, 100), random.uniform(0.3, 4.0))
    plan = schedule(outside, costs, present, prices=price)
    best = cheapest_course(outside, costs, present, price)
    assert cost_of(plan, outside, costs, present, price) == pytest.approx(best, rel=1e-9)


def test_prices_decide_what_a_unit_is_worth() -> None:
    outside = np.array([[10.0, 6.0, 2.0, 1.0]])
    assert worth(outside, 0.4).tolist() == [2]
    assert worth(outside, 0.4, prices=np.array([1.0, 1.5, 0.2])).tolist() == [3]
    rate = np.array([10.0])
    dear = violation_price_s(outside, outside, rate, 0.2, prices=np.array([1.0, 4.0, 4.0]))
    assert dear == pytest.approx(1.0)  # the second unit saves 4 for the price of 4
    assert violation_price_s(outside, outside, rate, 0.2) == pytest.approx(0.25)


def test_money_counts_each_unit_at_its_price() -> None:
    mix = load_unit_type(MODELS, "llama70b-mix")
    h100, a100 = (Pool(name) for name in ("llama70b-h100x8", "llama70b-a100x8"))
    split = Split((h100, a100), (1, 0, 0, 1), (1.0, 0.4), (9, 9))
    assert mix.hour_price(split, 3) == 41.0 + 98.0 + 98.0
    steps = mix.step_prices(split)
    assert steps is not None
    assert (steps * mix.price_per_hour).tolist() == pytest.approx([41.0, 98.0, 98.0, 41.0])
    one = load_unit_type(MODELS, "llama70b-pd")
    assert one.step_prices(Split.pair((0, 1))) is None  # both cost the same


# -- the kernel ----------------------------------------------------------------------------------

UNIT = GenerativeProfile(0.03, 2e-3, 1e-5, 1e-3, max_batch=8, chunk_tokens=100, kv_tokens=5_000)
FAST = replace(UNIT, alpha_s=0.01, beta_s=7e-4, kappa_s=3e-6, gamma_s=3e-4)


def test_a_fleet_of_several_types_is_played_in_pieces_and_each_type_takes_its_share() -> None:
    some = chat(np.random.default_rng(3), 6.0, 6_000, (100, 20, 1.0))
    simulation = MixedSimulation([UNIT, FAST], LADDER, 4, seed=1)
    parts = [simulation.run(rows_of(some, slice(i, i + 170))) for i in range(0, 6_000, 170)]
    nothing = np.zeros(0, np.int64)
    parts.append(simulation.run(type(some)("s", np.zeros(0), nothing, nothing), last=True))
    number = np.concatenate([each.number for each in parts])
    unit = np.concatenate([each.unit for each in parts])
    order = np.argsort(number)
    assert number[order].tolist() == list(range(6_000))
    assert simulation.unfinished == 0
    arrival = np.concatenate([each.arrival_s for each in parts])[order]
    assert (arrival == some.arrival_s).all()
    assert (unit % 2 == 1).mean() == pytest.approx(
        6 / 8, abs=0.03
    )  # two of three against two of one
    whole = MixedSimulation([UNIT, FAST], LADDER, 4, seed=1).run(some, last=True).in_order
    latency = np.concatenate([each.latency_s for each in parts])[order]
    assert latency == pytest.approx(whole.latency_s)


def test_one_type_alone_is_what_the_kernel_says_of_it() -> None:
    some = chat(np.random.default_rng(3), 1.0, 2_000, (100, 20, 1.0))
    found = MixedSimulation([UNIT, FAST], LADDER, 2).run(some, last=True).in_order
    assert found.latency_s == pytest.approx(simulate(UNIT, some, 2).latency_s)


def test_a_fleet_grows_and_shrinks_by_the_type_whose_turn_it_is() -> None:
    ready, drain = UnitEventKind.READY, UnitEventKind.DRAIN
    events = [FleetEvent(10.0, ready), FleetEvent(20.0, ready), FleetEvent(500.0, drain)]
    simulation = MixedSimulation([UNIT, FAST], LADDER, 2, events)
    done = simulation.run(chat(np.random.default_rng(3), 4.0, 3_000, (100, 20, 1.0)), last=True)
    spans = simulation.spans()
    assert (done.arrival_s[done.unit % 2 == 1] >= 10.0).all()  # no large unit before
    assert sorted(spans.ready_s.tolist()) == [-np.inf] * 2 + [10.0, 20.0]
    assert np.isfinite(spans.drain_s).sum() == 1


# -- unit files ----------------------------------------------------------------------------------


def test_a_mixed_type_is_read_with_its_types() -> None:
    mix = load_unit_type(MODELS, "tiny-llama-mix")
    assert mix.mixed is not None
    assert list(mix.by_pool) == ["tiny-llama", "tiny-llama-wide"]
    assert mix.price_per_hour == pytest.approx((2.5 + 6.5) / 2)
    assert mix.profile == mix.mixed.types[0].profile


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "mixed"', "go together"),
        ('kind = "mixed"\n[mixed]\ntypes = ["tiny-llama"]', "types"),
        ('kind = "mixed"\n[mixed]\ntypes = ["tiny-llama", "tiny-llama"]', "each type once"),
        ('kind = "mixed"\n[mixed]\ntypes = ["tiny-llama", "tiny-llama-pd"]', "mixed.types"),
        ('kind = "mixed"\n[mixed]\ntypes = ["tiny-llama", "mlp-classifier"]', "mixed.types"),
        ('kind = "mixed"\n[mixed]\ntypes = ["tiny-llama", "tiny-llama-wide"]\nmost = { h = 1 }', "most.h"),
        ('kind = "mixed"\n[mixed]\ntypes = ["tiny-llama", "tiny-llama-wide"]\nmost = { tiny-llama = 0 }', "most.tiny-llama"),
    ],
)  # fmt: skip
def test_unit_files_that_are_no_mix(tmp_path: Path, text: str, said: str) -> None:
    for name in ("tiny-llama", "tiny-llama-wide", "tiny-llama-pd", "mlp-classifier"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "unit.toml").write_text((MODELS / name / "unit.toml").read_text())
    (tmp_path / "mix").mkdir()
    (tmp_path / "mix" / "unit.toml").write_text(text)
    with pytest.raises(SettingError, match=said):
        load_unit_type(tmp_path, "mix")
