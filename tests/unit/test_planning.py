"""The tide table and the decision: short stories over time."""

import math

import numpy as np
import pytest

from forecaster.domain.demand import FloatArray
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.plan import Binding, Reason, TideTable, Verb
from forecaster.domain.service import Limits
from forecaster.domain.units import Fleet, UnitEvent, UnitView
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
from forecaster.planning.ledger import counts_at, ledger
from forecaster.planning.policy import Policy
from forecaster.planning.tide import Ladder, tide_table

TEN_EACH = Ladder(10.0 * np.arange(1, 21), (Binding.NONE, *[Binding.TTFT] * 19), work_s=0.05)
POLICY = Policy(Limits(1, 20, 1), lead_time_s=180, drain_window_s=600, level=0.5)
NOW = 1_800_000_000.0


def forecast(rates: FloatArray | list[float], slot_s: float = 60.0) -> QuantileForecast:
    table = np.repeat(np.asarray(rates, dtype=float)[:, None], 2, axis=1)
    return QuantileForecast("s", NOW, slot_s, (0.1, 0.9), table, table, NOW, "test")


def plan(rates: FloatArray | list[float], policy: Policy = POLICY, present: int = 0) -> TideTable:
    return tide_table(forecast(rates), TEN_EACH, policy, present)


def holds(table: TideTable) -> list[int]:
    return [slot.hold_units for slot in table.slots]


def fleet(ready: int, warming: int = 0, failed: int = 0, draining: int = 0) -> Fleet:
    states = [UnitState.READY] * ready + [UnitState.LOADING] * warming
    states += [UnitState.FAILED] * failed + [UnitState.DRAINING] * draining
    units = tuple(UnitView(f"u{i}", "s", state, NOW, NOW) for i, state in enumerate(states))
    return Fleet("s", NOW, units)


def test_need_follows_the_load() -> None:
    table = plan([5, 15, 25, 35])
    assert holds(table) == [1, 2, 3, 4]
    assert {slot.reason for slot in table.slots} == {Reason.LOAD}
    assert table.slots[1].binding is Binding.TTFT
    assert table.slots[1].offered_load_erl == pytest.approx(0.75)


def test_limits_and_steps_say_so() -> None:
    policy = Policy(Limits(2, 6, 2), level=0.5, drain_window_s=0, lead_time_s=1)
    table = plan([5, 25, 95], policy)
    assert holds(table) == [2, 4, 6]
    assert [slot.reason for slot in table.slots] == [Reason.STEP, Reason.STEP, Reason.MAX_UNITS]
    assert table.slots[2].need_units == 10


def test_min_units_is_a_floor() -> None:
    table = plan([5, 5], Policy(Limits(3, 6, 1), level=0.5))
    assert holds(table) == [3, 3]
    assert table.slots[0].reason is Reason.MIN_UNITS


@pytest.mark.parametrize(("e", "hold"), [(1.0, 1), (0.75, 4), (0.5, 6), (0.0, 10)])
def test_elasticity_gives_back_its_share_of_the_gap(e: float, hold: int) -> None:
    policy = Policy(Limits(1, 20, 1), elasticity=e, level=0.5, drain_window_s=0, lead_time_s=1)
    table = plan([5] * 30 + [95] * 30, policy)
    assert table.slots[0].hold_units == hold == 1 + math.ceil((1 - e) * 9)
    assert table.peak_units == 10
    if e < 1:
        assert table.slots[0].reason is Reason.ELASTICITY


def test_peak_comes_from_beyond_the_horizon() -> None:
    policy = Policy(Limits(1, 20, 1), elasticity=0.0, level=0.5, horizon_s=600)
    table = plan([5] * 30 + [95] * 30, policy)
    assert len(table.slots) == 10
    assert holds(table)[0] == 10


def test_a_dip_shorter_than_the_window_keeps_its_units() -> None:
    # window: lead 3 min + drain 10 min
    short = plan([35] * 5 + [5] * 10 + [35] * 5, present=4)
    assert set(holds(short)) == {4}
    assert short.slots[7].reason is Reason.COMING_LOAD
    long = plan([35] * 5 + [5] * 40 + [35] * 5, present=4)
    assert holds(long)[6] == 1
    assert holds(long)[-6:-4] == [1, 4]


def test_forecast_grid_is_interpolated_to_the_minute() -> None:
    table = tide_table(forecast([10, 40], slot_s=300), TEN_EACH, POLICY, 0)
    rates = [slot.arrival_rate_rps for slot in table.slots]
    assert len(rates) == 10
    assert rates == sorted(rates)
    assert rates[0] == 10
    assert rates[-1] == 40


def test_a_morning() -> None:
    """Minute 0 hold, minute 7 pre-warm for minute 10, minute 8 hold while it warms."""
    table = plan([5] * 10 + [15] * 50)
    at = lambda minute, fl: decide(table, fl, POLICY, NOW + 60 * minute)  # noqa: E731
    assert at(0, fleet(1)).verb is Verb.HOLD
    order = at(7, fleet(1))
    assert (order.verb, order.units, order.target_units) == (Verb.PREWARM, 1, 2)
    assert order.needed_s == NOW + 600
    assert "1 ready, 0 warming" in order.explanation
    assert at(8, fleet(1, warming=1)).verb is Verb.HOLD


def test_a_night() -> None:
    table = plan([35] * 5 + [5] * 60, present=4)
    assert decide(table, fleet(4), POLICY, NOW).verb is Verb.HOLD
    order = decide(table, fleet(4), POLICY, NOW + 360)
    assert (order.verb, order.units, order.target_units) == (Verb.DRAIN, 3, 1)


def test_failed_and_draining_units_are_no_supply() -> None:
    order = decide(plan([25] * 30), fleet(1, failed=2, draining=1), POLICY, NOW)
    assert (order.verb, order.units) == (Verb.PREWARM, 2)


def test_a_stale_plan_holds() -> None:
    table = plan([5] * 30)
    late = decide(table, fleet(6), POLICY, NOW + POLICY.stale_s + 1)
    assert (late.verb, late.reason, late.target_units) == (Verb.HOLD, Reason.NO_FORECAST, 6)


def test_a_silent_log_never_scales_in_but_still_out() -> None:
    silent = NOW - POLICY.stale_s - 1
    low = tide_table(forecast([5] * 30), TEN_EACH, POLICY, 6, silent)
    order = decide(low, fleet(6), POLICY, NOW)
    assert (order.verb, order.reason) == (Verb.HOLD, Reason.NO_FORECAST)
    assert "silent" in order.explanation
    high = tide_table(forecast([55] * 30), TEN_EACH, POLICY, 1, silent)
    assert decide(high, fleet(1), POLICY, NOW).verb is Verb.PREWARM


def test_explanations_speak_local_time() -> None:
    policy = Policy(level=0.5, timezone="Asia/Shanghai")
    text = decide(plan([5] * 30), fleet(1), policy, NOW).explanation
    assert "16:00" in text  # 08:00 UTC


def test_a_decision_replays_from_its_journal_entry() -> None:
    table = plan([5] * 10 + [15] * 50)
    now_s = NOW + 420
    decision = decide(table, fleet(1), POLICY, now_s)
    from dataclasses import asdict

    import orjson

    inputs = orjson.loads(
        orjson.dumps({"fleet": fleet_to_dict(fleet(1)), "policy": asdict(POLICY), "now_s": now_s})
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
    paid = ledger(events, 0, 100, peak_units=2)
    assert (paid.warming_s, paid.ready_s, paid.draining_s) == (15, 60, 10)
    assert paid.static_peak_s == 200
    assert paid.saved_share == pytest.approx(1 - 85 / 200)
    assert ledger(events, 60, 75, 2).paid_s == 15
    counts = counts_at(events, np.array([5.0, 53.0, 75.0, 90.0]))
    assert counts == {"ready": [0, 1, 0, 0], "warming": [1, 1, 0, 0], "draining": [0, 0, 1, 0]}
    assert lead_times_s(events) == [10]


def test_lead_is_the_measured_p90() -> None:
    assert lead_p90_s([], 60) == 60
    assert lead_p90_s([10.0] * 9 + [100.0], 60) == pytest.approx(19.0)
