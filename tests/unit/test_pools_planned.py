"""Two pools planned, ordered, billed and replayed as one fleet."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from forecaster.capacity.kernel import (
    PairSimulation,
    UnitEventKind,
    simulate_disaggregated,
)
from forecaster.capacity.kernel import (
    UnitEvent as FleetEvent,
)
from forecaster.capacity.kernel.arrivals import chat
from forecaster.daemon.floor import floor_table
from forecaster.daemon.pooled import Pooled, carry_out
from forecaster.domain.errors import CapacityDeniedError
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.money import Tariff
from forecaster.domain.plan import Binding, Decision, Reason, SlotPlan, TideTable, Verb
from forecaster.domain.pools import EVEN, PAIR, Pool, Split
from forecaster.domain.profile import GenerativeProfile, PdProfile
from forecaster.domain.service import Limits
from forecaster.domain.units import Fleet, UnitEvent, UnitView
from forecaster.planning.billing import bills
from forecaster.planning.decide import decide
from forecaster.planning.journal import (
    decision_from_dict,
    decision_to_dict,
    fleet_to_dict,
    replay_decision,
    table_from_dict,
    table_to_dict,
)
from forecaster.planning.ledger import lives
from forecaster.planning.policy import Policy
from forecaster.planning.shadow import shadow_units
from forecaster.replay.scorecard import rows_of

T0_S = 1_700_000_000.0
SPLIT = Split.pair((0, 1, 2, 3, 3, 4))
POLICY = Policy(limits=Limits(2, 8), lead_time_s=60.0, split=EVEN)


def tide(*holds: int, split: Split = SPLIT) -> TideTable:
    """Ten minutes at each hold."""
    slots = tuple(
        SlotPlan(T0_S + 60.0 * i, 1.0, 1.2, 1.0, hold, hold, 0.0, Reason.LOAD, Binding.TPOT)
        for i, hold in enumerate(np.repeat(holds, 10).tolist())
    )
    return TideTable("chat", T0_S, 60.0, 60.0, T0_S, max(holds), 3600.0, slots, split)


def fleet(prefill: int, decode: int, state: UnitState = UnitState.READY) -> Fleet:
    units = tuple(
        UnitView(f"{pool}-{n}", "chat", state, T0_S, T0_S, pool=pool)
        for pool, count in zip(PAIR, (prefill, decode), strict=True)
        for n in range(count)
    )
    return Fleet("chat", T0_S, units)


@pytest.mark.parametrize(
    ("have", "hold", "verb", "pools"),
    [
        ((1, 2), 5, Verb.PREWARM, ((Pool.PREFILL, 1), (Pool.DECODE, 1))),
        ((0, 0), 2, Verb.PREWARM, ((Pool.PREFILL, 1), (Pool.DECODE, 1))),
        ((1, 5), 5, Verb.PREWARM, ((Pool.PREFILL, 1),)),  # the surplus stays until both are there
        ((2, 5), 5, Verb.DRAIN, ((Pool.DECODE, 2),)),
        ((2, 4), 3, Verb.DRAIN, ((Pool.PREFILL, 1), (Pool.DECODE, 2))),
        ((1, 7), 6, Verb.DRAIN, ((Pool.DECODE, 3),)),  # no room beside them under the ceiling
        ((2, 3), 5, Verb.HOLD, ()),
    ],
)
def test_each_pool_gets_its_own_order(
    have: tuple[int, int], hold: int, verb: Verb, pools: tuple[tuple[Pool, int], ...]
) -> None:
    made = decide(tide(hold, hold), fleet(*have), POLICY, T0_S)
    assert (made.verb, made.pools) == (verb, pools)
    assert made.units == sum(count for _, count in pools)
    if pools:
        assert f"{pools[0][1]} {pools[0][0]}" in made.explanation


def test_a_pool_that_warms_is_supply_and_one_that_hangs_is_not() -> None:
    assert decide(tide(3), fleet(1, 2, UnitState.WARMING), POLICY, T0_S).verb is Verb.HOLD
    late = decide(tide(3), fleet(1, 2, UnitState.WARMING), POLICY, T0_S + 500.0)
    assert late.pools == ((Pool.PREFILL, 1), (Pool.DECODE, 2))


def test_a_quota_with_little_room_grants_a_whole_pair_first() -> None:
    room = replace(POLICY, quota="h100", room_units=2)
    made = decide(tide(6), fleet(0, 0), room, T0_S)
    assert made.pools == ((Pool.PREFILL, 1), (Pool.DECODE, 1))
    assert "4 more wait" in made.explanation


def test_a_drain_leaves_what_the_coming_slots_need_in_both_pools() -> None:
    """A lull of ten minutes before six units are needed again gives nothing back."""
    assert decide(tide(6, 6), fleet(2, 4), POLICY, T0_S).verb is Verb.HOLD
    windowed = replace(POLICY, drain_window_s=1200.0)
    assert decide(tide(2, 6), fleet(2, 4), windowed, T0_S).verb is Verb.HOLD


def test_journal_and_table_come_back_byte_for_byte() -> None:
    table, now = tide(5), fleet(1, 2)
    made = decide(table, now, POLICY, T0_S)
    again = table_from_dict(json.loads(json.dumps(table_to_dict(table))))
    assert again == table
    inputs = json.loads(
        json.dumps({"fleet": fleet_to_dict(now), "policy": asdict(POLICY), "now_s": T0_S})
    )
    assert replay_decision(inputs, again) == made
    assert decision_from_dict(json.loads(json.dumps(decision_to_dict(made)))) == made
    plain = decide(tide(5, split=Split(())), Fleet("chat", T0_S), POLICY, T0_S)
    assert "pools" not in decision_to_dict(plain)  # journals of one pool read as ever


def test_shadow_and_floor_hold_pairs() -> None:
    assert shadow_units(tide(5, 5), POLICY, 2, T0_S) == 5
    floor = floor_table("chat", replace(POLICY, limits=Limits(4, 8)), T0_S)
    assert decide(floor, fleet(0, 0), POLICY, T0_S).pools == ((Pool.PREFILL, 2), (Pool.DECODE, 2))


class Tier:
    """Knows each pool as a service of its own; denies the decode pool."""

    tier = "t"

    def __init__(self) -> None:
        self.orders: list[tuple[str, str, int, str]] = []

    def observe(self, service: str) -> Fleet:
        return Fleet(
            service, T0_S, (UnitView(f"{service}-1", service, UnitState.READY, T0_S, T0_S),)
        )

    def lead(self, fence: int) -> None: ...

    def prewarm(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        if service.endswith("decode"):
            raise CapacityDeniedError("full", "wait")
        self.orders.append(("prewarm", service, units, order_key))
        return ()

    def drain(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        self.orders.append(("drain", service, units, order_key))
        return ()

    def drain_unit(self, unit_id: str, *, reason: str) -> None: ...

    def events_after(self, seq: int, limit: int = 1000) -> list[UnitEvent]:
        return [event(n, name) for n, name in enumerate(("chat:decode", "mail"))]

    def requests_after(self, seq: int, limit: int = 10000) -> list:
        return []


def event(seq: int, service: str, pool: Pool = Pool.WHOLE, at_s: float = T0_S) -> UnitEvent:
    cold, ready = UnitState.COLD, UnitState.READY
    return UnitEvent("t", seq, f"{service}{pool}", service, at_s, cold, ready, 0.0, pool=pool)


def test_a_tier_that_knows_pools_by_name_serves_as_one() -> None:
    tier = Tier()
    seen = Pooled(tier, {"chat": PAIR})
    assert seen.observe("chat").by_pool(UnitState.READY) == {Pool.PREFILL: 1, Pool.DECODE: 1}
    assert {unit.service for unit in seen.observe("chat").units} == {"chat"}
    assert seen.observe("mail").by_pool(UnitState.READY) == {Pool.WHOLE: 1}
    assert [(e.service, e.pool) for e in seen.events_after(0)] == [
        ("chat", Pool.DECODE),
        ("mail", Pool.WHOLE),
    ]
    order = decide(tide(5), fleet(1, 2), POLICY, T0_S)
    said, denied = carry_out(seen, order, 7)
    assert (denied, "full" in said) == ([Pool.DECODE], True)
    assert tier.orders == [("prewarm", "chat:prefill", 1, f"chat:{T0_S:.3f}:prefill")]
    plain = Decision("mail", T0_S, Verb.DRAIN, 2, 1, T0_S, Reason.LOAD, "")
    assert carry_out(seen, plain, 7) == ("", [])
    assert tier.orders[-1] == ("drain", "mail", 2, f"mail:{T0_S:.3f}")


def test_each_pool_is_billed_at_its_own_price() -> None:
    tariffs = [
        Tariff("pd", 3.0),
        Tariff("reader", 2.0, pool=Pool.PREFILL),
        Tariff("writer", 4.0, pool=Pool.DECODE),
    ]
    units = lives([event(1, "chat", Pool.PREFILL), event(2, "chat", Pool.DECODE)])
    (bill,) = bills(units, tariffs, (T0_S, T0_S + 3600.0))
    assert {name: each.money for name, each in bill.items()} == {"reader": 2.0, "writer": 4.0}


UNIT = GenerativeProfile(0.03, 2e-3, 1e-5, 1e-3, max_batch=8, chunk_tokens=100, kv_tokens=5_000)
PD = PdProfile(UNIT, UNIT, handover_s=0.05, handover_per_token_s=1e-4)


def test_a_fleet_of_two_pools_is_played_in_pieces_as_in_one() -> None:
    some = chat(np.random.default_rng(3), 4.0, 3_000, (100, 20, 1.0))
    whole = simulate_disaggregated(PD, some, (2, 3))
    simulation = PairSimulation(PD, SPLIT, 5)
    parts = [simulation.run(rows_of(some, slice(i, i + 170))) for i in range(0, 3_000, 170)]
    nothing = np.zeros(0, np.int64)
    parts.append(simulation.run(type(some)("s", np.zeros(0), nothing, nothing), last=True))
    number = np.concatenate([each.number for each in parts])
    order = np.argsort(number)
    assert number[order].tolist() == list(range(3_000))
    assert simulation.unfinished == 0
    for name in ("arrival_s", "ttft_s", "tpot_s", "latency_s", "status"):
        found = np.concatenate([getattr(each, name) for each in parts])[order]
        assert found == pytest.approx(getattr(whole, name), nan_ok=True), name


def test_a_fleet_that_grows_and_shrinks_changes_the_pool_whose_turn_it_is() -> None:
    ready, drain = UnitEventKind.READY, UnitEventKind.DRAIN
    events = [FleetEvent(10.0, ready), FleetEvent(20.0, ready), FleetEvent(500.0, drain)]
    simulation = PairSimulation(PD, SPLIT, 4, events)
    some = chat(np.random.default_rng(3), 4.0, 3_000, (100, 20, 1.0))
    done = simulation.run(some, last=True)
    assert len(done) == 3_000
    spans = simulation.spans()
    assert sorted(spans.ready_s.tolist()) == [-np.inf] * 4 + [10.0, 20.0]
    assert np.isfinite(spans.drain_s).sum() == 1
