"""The tide table and the decision: short stories over time."""

import math
from dataclasses import asdict, replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pytest

from forecaster.domain.deferred import Backlog
from forecaster.domain.demand import FloatArray
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.money import Tariff
from forecaster.domain.plan import Binding, Reason, TideTable, Verb
from forecaster.domain.service import Limits, Pin, Window
from forecaster.domain.units import Fleet, UnitEvent, UnitView
from forecaster.planning.billing import bill, total
from forecaster.planning.decide import decide
from forecaster.planning.journal import (
    decision_from_dict,
    decision_to_dict,
    fleet_to_dict,
    replay_decision,
    table_from_dict,
    table_to_dict,
)
from forecaster.planning.leads import lead_p90_s, lead_times_s
from forecaster.planning.ledger import counts_at, lives
from forecaster.planning.policy import Policy
from forecaster.planning.share import Share, claim, shares
from forecaster.planning.tide import Present, foresee, settle, tide_table
from tests.unit.curves import WORK_S, sharp

TEN_EACH = sharp(10.0, 20)
POLICY = Policy(Limits(1, 20, 1), lead_time_s=180, drain_window_s=300, churn_s=300, price_s=100)
NOW = 1_800_000_000.0


def forecast(rates: FloatArray | list[float], slot_s: float = 60.0) -> QuantileForecast:
    table = np.repeat(np.asarray(rates, dtype=float)[:, None], 2, axis=1)
    return QuantileForecast("s", NOW, slot_s, (0.1, 0.9), table, table * WORK_S, NOW, "test")


def plan(
    rates: FloatArray | list[float],
    policy: Policy = POLICY,
    present: int = 0,
    paid_s: tuple[float, ...] = (),
) -> TideTable:
    return tide_table(forecast(rates), TEN_EACH, policy, Present(present, paid_s))


def with_work(
    rates: list[float], waits: list[Backlog], policy: Policy = POLICY, present: int = 2
) -> TideTable:
    start = Present(present, backlog=tuple(waits))
    return tide_table(forecast(rates), TEN_EACH, policy, start)


def steady(units: int, minutes: int = 60) -> list[float]:
    """A load that so many units carry, and not one fewer."""
    return [10.0 * units - 5.0] * minutes


def holds(table: TideTable) -> list[int]:
    return [slot.hold_units for slot in table.slots]


def fleet(ready: int, warming: int = 0, failed: int = 0, draining: int = 0) -> Fleet:
    states = [UnitState.READY] * ready + [UnitState.LOADING] * warming
    states += [UnitState.FAILED] * failed + [UnitState.DRAINING] * draining
    units = tuple(UnitView(f"u{i}", "s", state, NOW, NOW) for i, state in enumerate(states))
    return Fleet("s", NOW, units)


def test_need_follows_the_load() -> None:
    table = plan([*steady(1), *steady(3), *steady(2)], present=1)
    assert [holds(table)[at] for at in (30, 90, 150)] == [1, 3, 2]
    assert {table.slots[at].reason for at in (30, 90, 150)} == {Reason.LOAD}
    assert table.slots[90].binding is Binding.TTFT
    assert table.slots[90].offered_load_erl == pytest.approx(1.25, rel=0.01)
    assert table.slots[90].outside_share < 0.01
    assert table.price_s == POLICY.price_s


def test_limits_and_steps_say_so() -> None:
    policy = replace(POLICY, limits=Limits(2, 6, 2))
    table = plan([*steady(1), *steady(3), *steady(10)], policy, present=2)
    seen = [table.slots[at] for at in (30, 90, 150)]
    assert [slot.hold_units for slot in seen] == [2, 4, 6]
    assert [slot.reason for slot in seen] == [Reason.STEP, Reason.STEP, Reason.MAX_UNITS]
    assert seen[2].need_units == 10
    assert seen[2].outside_share == pytest.approx(35 / 95, abs=0.02)


def test_min_units_is_a_floor() -> None:
    table = plan(steady(1), replace(POLICY, limits=Limits(3, 6, 1)), present=3)
    assert set(holds(table)) == {3}
    assert table.slots[0].reason is Reason.MIN_UNITS


@pytest.mark.parametrize(("e", "hold"), [(1.0, 1), (0.75, 4), (0.5, 6), (0.0, 10)])
def test_elasticity_gives_back_its_share_of_the_gap(e: float, hold: int) -> None:
    table = plan([*steady(1, 120), *steady(10)], replace(POLICY, elasticity=e), present=1)
    assert table.slots[30].hold_units == hold == 1 + math.ceil((1 - e) * 9)
    assert table.peak_units == 10
    if e < 1:
        assert table.slots[30].reason is Reason.ELASTICITY


def test_peak_comes_from_beyond_the_horizon() -> None:
    policy = replace(POLICY, elasticity=0.0, horizon_s=600)
    table = plan([*steady(1), *steady(10)], policy, present=1)
    assert len(table.slots) == 10
    assert holds(table)[0] == 10


def test_a_lull_shorter_than_a_start_is_worth_keeps_its_units() -> None:
    # three units through a lull: 3 x its length against 3 starts (lead 180 + churn 300) and 3 stops
    short = plan([*steady(4, 30), *steady(1, 10), *steady(4, 30)], present=4)
    assert set(holds(short)) == {4}
    assert short.slots[35].reason is Reason.COMING_LOAD
    long = plan([*steady(4, 30), *steady(1, 60), *steady(4, 30)], present=4)
    assert holds(long)[60] == 1
    assert holds(long)[95] == 4


def test_a_bump_that_does_not_pay_a_start_is_not_served() -> None:
    policy = replace(POLICY, price_s=1.0)
    brief = plan([*steady(1, 30), *[12.0] * 5, *steady(1, 30)], policy, present=1)
    assert set(holds(brief)) == {1}
    assert brief.slots[32].need_units == 2
    assert brief.slots[32].reason is Reason.BRIEF
    dear = plan([*steady(1, 30), *[12.0] * 5, *steady(1, 30)], present=1)
    assert holds(dear)[32] == 2


def test_what_is_ordered_now_is_not_there_before_the_lead() -> None:
    table = plan(steady(3), present=1)
    assert holds(table)[:4] == [1, 1, 1, 3]
    assert table.slots[0].reason is Reason.LEAD


def test_a_unit_that_is_paid_anyway_is_kept() -> None:
    night = [*steady(4, 5), *steady(1, 120)]
    assert holds(plan(night, present=4))[10] == 1
    billed = replace(POLICY, min_billing_s=3600)
    kept = plan(night, billed, present=4, paid_s=(0.0, 1800.0, 3000.0, 3300.0))
    assert [holds(kept)[at] for at in (20, 40, 70)] == [3, 2, 1]


def test_the_plan_never_gives_up_on_a_hopeless_load() -> None:
    high = plan([300.0, *[3000.0] * 60], present=20)
    assert set(holds(high)) == {20}
    assert high.slots[30].reason is Reason.LOAD or high.slots[30].reason is Reason.MAX_UNITS


def test_windows_and_pins_set_floor_and_ceiling_and_say_so() -> None:
    start = datetime.fromtimestamp(NOW, ZoneInfo("UTC"))
    minute = start.hour * 60 + start.minute
    window = Window((start.weekday(),), minute + 10, minute + 30, min_units=5)
    policy = replace(POLICY, windows=(window,))
    table = plan(steady(2), policy, present=2)
    assert [holds(table)[at] for at in (5, 15, 35)] == [2, 5, 2]
    assert table.slots[15].reason is Reason.WINDOW
    pinned = replace(policy, pin=Pin(3, NOW, NOW + 1200, "release night"))
    table = plan(steady(2), pinned, present=3)
    assert [holds(table)[at] for at in (5, 15, 25)] == [3, 3, 5]
    assert table.slots[15].reason is Reason.PIN
    text = decide(table, fleet(3), pinned, NOW).explanation
    assert "pinned at 3 (release night)" in text


def test_more_is_planned_for_behind_the_budget() -> None:
    even = plan(steady(10), present=10)
    behind = plan(steady(10), replace(POLICY, load_factor=1.3), present=13)
    assert (holds(even)[30], holds(behind)[30]) == (10, 13)
    assert behind.slots[30].arrival_rate_rps == pytest.approx(95, rel=0.01)


def test_forecast_grid_is_interpolated_to_the_minute() -> None:
    table = tide_table(forecast([10, 40], slot_s=300), TEN_EACH, POLICY, Present(4))
    rates = [slot.arrival_rate_rps for slot in table.slots]
    assert len(rates) == 10
    assert rates == sorted(rates)
    assert (rates[0], rates[-1]) == pytest.approx((10, 40), rel=0.001)


def test_a_plan_begins_when_it_is_made() -> None:
    found = replace(forecast([*steady(1, 10), *steady(3, 60)]), made_s=NOW + 300)
    table = tide_table(found, TEN_EACH, POLICY, Present(1))
    assert table.slots[0].start_s == NOW + 300
    assert table.slots[5].need_units == 3


def test_a_morning() -> None:
    """Ordered a lead and a tick before the load: minute 5 hold, minute 6 pre-warm, then it warms."""
    table = plan([*steady(1, 10), *steady(2)], present=1)
    at = lambda minute, fl: decide(table, fl, POLICY, NOW + 60 * minute)  # noqa: E731
    assert at(5, fleet(1)).verb is Verb.HOLD
    order = at(6, fleet(1))
    assert (order.verb, order.units, order.target_units) == (Verb.PREWARM, 1, 2)
    assert order.needed_s == NOW + 600
    assert "1 ready, 0 warming" in order.explanation
    assert at(8, fleet(1, warming=1)).verb is Verb.HOLD


def test_a_night() -> None:
    table = plan([*steady(4, 5), *steady(1, 90)], present=4)
    assert decide(table, fleet(4), POLICY, NOW).verb is Verb.HOLD
    order = decide(table, fleet(4), POLICY, NOW + 360)
    assert (order.verb, order.units, order.target_units) == (Verb.DRAIN, 3, 1)


def test_a_unit_that_hangs_while_it_warms_is_replaced_below_the_ceiling() -> None:
    table = plan(steady(3), present=3)
    late = NOW + POLICY.slow_s + 60
    order = decide(table, fleet(2, warming=1), POLICY, late)
    assert (order.verb, order.units, order.target_units) == (Verb.PREWARM, 1, 3)
    assert "1 slow to warm and not counted" in order.explanation
    full = replace(POLICY, limits=Limits(1, 3, 1))
    assert decide(table, fleet(2, warming=1), full, late).verb is Verb.HOLD


def test_nothing_is_given_back_that_was_denied_lately_and_is_needed_again() -> None:
    evening = plan([*steady(2, 120), *steady(4, 60)], present=4)
    free = decide(evening, fleet(4), POLICY, NOW + 600)
    assert (free.verb, free.units) == (Verb.DRAIN, 2)
    denied = decide(evening, fleet(4), replace(POLICY, denied=True), NOW + 600)
    assert denied.verb is Verb.HOLD
    assert "capacity was denied lately" in denied.explanation
    over = plan([*steady(4, 5), *steady(1, 120)], present=4)
    assert decide(over, fleet(5), replace(POLICY, denied=True), NOW + 600).verb is Verb.DRAIN


def test_failed_and_draining_units_are_no_supply() -> None:
    table = plan(steady(3), present=3)
    order = decide(table, fleet(1, failed=2, draining=1), POLICY, NOW)
    assert (order.verb, order.units) == (Verb.PREWARM, 2)


def test_a_stale_plan_holds() -> None:
    table = plan([5] * 30)
    late = decide(table, fleet(6), POLICY, NOW + POLICY.stale_s + 1)
    assert (late.verb, late.reason, late.target_units) == (Verb.HOLD, Reason.NO_FORECAST, 6)


def test_a_silent_log_never_scales_in_but_still_out() -> None:
    silent = NOW - POLICY.stale_s - 1
    low = tide_table(forecast([5] * 60), TEN_EACH, POLICY, Present(1), silent)
    order = decide(low, fleet(6), POLICY, NOW)
    assert (order.verb, order.reason) == (Verb.HOLD, Reason.NO_FORECAST)
    assert "silent" in order.explanation
    high = tide_table(forecast([55] * 60), TEN_EACH, POLICY, Present(1), silent)
    assert decide(high, fleet(1), POLICY, NOW).verb is Verb.PREWARM


def test_explanations_speak_local_time() -> None:
    policy = replace(POLICY, timezone="Asia/Shanghai")
    text = decide(plan([5] * 30, present=1), fleet(1), policy, NOW).explanation
    assert "16:00" in text  # 08:00 UTC


def test_a_decision_replays_from_its_journal_entry() -> None:
    table = plan([*steady(1, 10), *steady(2)], present=1)
    now_s = NOW + 420
    rules = replace(POLICY, windows=(Window((0, 1), 0, 60, 2),), pin=Pin(2, 0.0, 1.0, "x"))
    decision = decide(table, fleet(1), rules, now_s)
    inputs = orjson.loads(
        orjson.dumps({"fleet": fleet_to_dict(fleet(1)), "policy": asdict(rules), "now_s": now_s})
    )
    kept = table_from_dict(orjson.loads(orjson.dumps(table_to_dict(table))))
    assert kept == table
    again = replay_decision(inputs, kept)
    assert orjson.dumps(decision_to_dict(again)) == orjson.dumps(decision_to_dict(decision))
    assert decision_from_dict(decision_to_dict(decision)) == decision


def life(unit: str, tier: str, start_seq: int, *edges: tuple[float, UnitState]) -> list[UnitEvent]:
    before, at = UnitState.COLD, edges[0][0]
    found = []
    for seq, (time_s, after) in enumerate(edges, start_seq):
        found.append(UnitEvent(tier, seq, unit, "s", time_s, before, after, time_s - at))
        before, at = after, time_s
    return found


def test_ledger_adds_up_and_counts_agree() -> None:
    events = life(
        "a", "t", 1,
        (0, UnitState.STARTING), (2, UnitState.LOADING), (8, UnitState.WARMING), (10, UnitState.READY),
        (70, UnitState.DRAINING), (80, UnitState.GONE),
    )  # fmt: skip
    events += life(
        "b", "t", 7, (50, UnitState.STARTING), (52, UnitState.LOADING), (55, UnitState.FAILED)
    )
    paid = total(bill(lives(events), [Tariff("u", 3600.0)], 0, 100))
    assert (paid.ordered_s, paid.warming_s, paid.ready_s, paid.draining_s) == (0, 15, 60, 10)
    assert (paid.unused_s, paid.billed_s, paid.money) == (0, 85, 85)
    assert total(bill(lives(events), [Tariff("u", 3600.0)], 60, 75)).billed_s == 15
    counts = counts_at(events, np.array([5.0, 53.0, 75.0, 90.0]))
    assert counts == {"ready": [0, 1, 0, 0], "warming": [1, 1, 0, 0], "draining": [0, 0, 1, 0]}
    assert lead_times_s(events) == [10]
    assert [unit.ending for unit in lives(events)] == ["gone", "failed"]
    assert [unit.ending for unit in lives(events[:4])] == [""]


def test_lead_is_the_measured_p90() -> None:
    assert lead_p90_s([], 60) == 60
    assert lead_p90_s([10.0] * 9 + [100.0], 60) == pytest.approx(19.0)


def test_a_share_that_ends_before_the_plan_goes_on() -> None:
    outlook = foresee(forecast(steady(5)), TEN_EACH, POLICY, Present(5))
    share = Share(np.full(20, 3), np.full(20, 5))
    table = settle(outlook, POLICY, share)
    assert holds(table) == [3] * 60
    assert {slot.reason for slot in table.slots} == {Reason.QUOTA}
    assert table.slots[0].refused_units == 2
    assert table.slots[0].refused_rps > 0
    assert table_from_dict(orjson.loads(orjson.dumps(table_to_dict(table)))) == table


def test_a_journal_from_before_quotas_is_read() -> None:
    kept = table_to_dict(plan(steady(2)))
    del kept["wanted_units"], kept["refused_rps"]
    assert table_from_dict(kept).slots[0].refused_units == 0


def test_orders_wait_for_the_gpus_of_others_and_take_what_is_free() -> None:
    table = plan(steady(5), present=1)
    shared = replace(POLICY, quota="gpus")
    none = decide(table, Fleet("s", NOW), replace(shared, room_units=0), NOW)
    assert (none.verb, none.reason) == (Verb.HOLD, Reason.QUOTA)
    assert "wait for GPUs of the quota 'gpus'" in none.explanation
    some = decide(table, Fleet("s", NOW), replace(shared, room_units=2), NOW)
    assert (some.verb, some.units) == (Verb.PREWARM, 2)
    assert "more wait for GPUs" in some.explanation
    assert decide(table, Fleet("s", NOW), shared, NOW).units > 2


def test_what_others_need_is_given_back_though_capacity_was_denied() -> None:
    outlook = foresee(forecast(steady(5)), TEN_EACH, POLICY, Present(5))
    table = settle(outlook, POLICY, Share(np.full(60, 3), np.full(60, 5)))
    units = tuple(UnitView(f"u{i}", "s", UnitState.READY, NOW, NOW) for i in range(5))
    denied = replace(POLICY, denied=True, quota="gpus")
    decision = decide(table, Fleet("s", NOW, units), denied, NOW)
    assert (decision.verb, decision.units, decision.reason) == (Verb.DRAIN, 2, Reason.QUOTA)


def test_batch_work_that_fits_beside_the_load_changes_nothing() -> None:
    # two units carry 1 busy unit's worth, the load is 0.75 of it: 0.2 are free for two hours
    waits = [Backlog(NOW + 7200, 0.1 * 7200)]
    assert holds(with_work(steady(2, 180), waits)) == holds(plan(steady(2, 180), present=2))


def test_batch_work_that_is_due_gets_units_before_its_deadline_and_no_longer() -> None:
    waits = [Backlog(NOW + 7200, 0.5 * 7200)]
    table = with_work(steady(2, 180), waits)
    more = [i for i, slot in enumerate(table.slots) if slot.reason is Reason.BATCH_WORK]
    assert more == list(range(more[0], 120)), "as late as possible, up to the deadline"
    assert {table.slots[i].hold_units for i in more} == {3}
    free = 0.7 * 0.2 * 7200 + 0.95 * 0.5 * 60 * len(more)
    assert 0.5 * 7200 <= free < 0.5 * 7200 + 60, "enough, and not a minute more"
    before = slice(0, more[0])
    assert holds(table)[before] == holds(plan(steady(2, 180), present=2))[before]
    assert holds(table)[-1] == 2


def test_batch_work_stays_below_the_ceiling_and_keeps_to_the_step() -> None:
    waits = [Backlog(NOW + 3600, 1e6)]
    limited = replace(POLICY, limits=Limits(1, 5, 2))
    table = with_work(steady(2), waits, limited)
    assert max(holds(table)) <= 5
    assert {slot.hold_units % 2 for slot in table.slots[:55]} == {0}


def test_under_a_quota_batch_work_asks_behind_everybodys_load() -> None:
    waits = (Backlog(NOW + 3600, 1e6),)
    outlook = foresee(forecast(steady(2)), TEN_EACH, POLICY, Present(2, backlog=waits))
    table = settle(outlook, POLICY)
    assert max(holds(table)) > 2
    hold = np.array(holds(table))
    mine = claim("nightly", outlook.outside_rps, hold, outlook.own, POLICY, present=2, priority=9)
    other = plan(steady(6), present=6)
    busy = foresee(forecast(steady(6)), TEN_EACH, POLICY, Present(6))
    theirs = claim(
        "chat", busy.outside_rps, np.array(holds(other)), busy.own, POLICY, present=6, priority=0
    )
    given = shares([mine, theirs], 9)
    assert given[1] is None, "chat gets all that its load needs"
    assert given[0] is not None
    assert given[0].ceiling[10:50].max() <= 3
