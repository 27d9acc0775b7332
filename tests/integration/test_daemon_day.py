"""A day of the daemon: the tide comes in before the morning and goes out at night."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from forecaster.daemon.floor import floor_table
from forecaster.domain.deferred import Backlog
from forecaster.domain.plan import Reason, TideTable
from forecaster.domain.units import RequestRecord
from forecaster.planning.journal import (
    decision_to_dict,
    policy_from_dict,
    replay_decision,
    table_from_dict,
)
from forecaster.store import Store
from forecaster.store.rows import DecisionRow
from tests.integration.daemon_world import CHAT, LEAD_S, START_S, world


def replayed(row: DecisionRow, plans: dict[int, TideTable]) -> bytes:
    """The journal entry's output, decided again from its inputs."""
    policy, now_s = policy_from_dict(row.inputs["policy"]), row.inputs["now_s"]
    table = plans.get(row.inputs["plan_id"]) or floor_table(row.service, policy, now_s)
    assert table.made_s == row.inputs["plan_made_s"]
    again = decision_to_dict(replay_decision(row.inputs, table))
    return orjson.dumps(again | {"note": row.output["note"]})


def test_a_day(learned_store: Store, tmp_path: Path) -> None:
    day = world(learned_store, tmp_path, min_units=1, max_units=8)
    ready: dict[float, int] = {}
    short = 0
    for fleet in day.steps(24 * 12):
        ready[round(day.hour, 3)] = fleet.ready
        table = day.pilot.state.table
        assert table is not None
        slot = table.at(day.clock.now)
        if slot.reason not in (Reason.LEAD, Reason.BRIEF):
            assert slot.hold_units >= min(slot.need_units, 8)
        short += fleet.ready < min(slot.need_units, 8)
        assert fleet.ready + fleet.warming >= 1
        assert fleet.ready + fleet.warming <= 8
        assert day.note == ""
    assert min(ready[h] for h in ready if h > 1) >= 1

    night, noon, late = ready[4.0], ready[15.0], ready[24.0]
    assert night <= 2
    assert noon >= 4
    assert late < noon
    assert short <= 6, "units must be ready when their slot comes, not after"
    first = next(h for h in ready if h > 4 and ready[h] > night)
    assert 5 < first < 9, "the first morning unit is ready before the working day"

    rows = learned_store.decisions(CHAT, 10_000)
    plans = {r.decision_id: table_from_dict(r.output) for r in rows if r.inputs["kind"] == "plan"}
    ticks = [r for r in rows if r.inputs["kind"] == "tick"]
    assert len(plans) >= 47
    ordered = [row for row in ticks if row.ordered]
    assert {row.output["verb"] for row in ordered} == {"prewarm", "drain"}
    assert 8 <= len(ordered) <= 60, "orders follow the tide, not the noise"
    for row in ticks:
        assert row.inputs["plan_id"] in plans
        assert replayed(row, plans) == orjson.dumps(row.output)

    made = [event for event in learned_store.unit_events(CHAT, 0, 4e9) if event.after == "ready"]
    assert len(made) >= noon
    assert day.pilot.planner.leads == pytest.approx([LEAD_S] * len(made))
    slots = learned_store.slots(CHAT, START_S)
    assert int(slots.arrivals.sum()) == day.daemon.observer.requests
    figures = day.board.service(CHAT)["served"]
    assert figures["requests"] == day.daemon.observer.requests
    # nothing ran when the day began; whatever came before the first unit was ready was late
    assert figures["inside"] / figures["requests"] > 0.95
    assert day.pilot.planner.carrying.belief.factor == pytest.approx(1.0, abs=0.06)
    paid = day.board.paid(CHAT)
    assert 0.2 < paid["saved_share"] < 0.9


def test_batch_work_waits_for_the_trough_and_is_no_part_of_the_tide(
    learned_store: Store, tmp_path: Path
) -> None:
    late = world(learned_store, tmp_path, at_h=20.0, min_units=1, max_units=8)
    list(late.steps(6))
    quiet = late.pilot.state.table
    assert quiet is not None
    due_s = START_S + 28 * 3600
    late.tier.backlog[CHAT] = (Backlog(due_s, 4 * 3600.0),)
    now_s = late.clock.now
    late.tier.push_request(
        RequestRecord("", 0, CHAT, now_s, 500_000, 5000, 0.1, 0.01, 9.0, "u", 200, batch=True)
    )
    seen: dict[float, tuple[int, float]] = {}
    for fleet in late.steps(8 * 12):
        seen[round(late.hour, 3)] = fleet.ready, late.tier.let_in_units[CHAT]
    table = late.pilot.state.table
    assert table is not None
    reasons = {
        slot.reason
        for row in learned_store.decisions(CHAT, 10_000)
        if row.inputs["kind"] == "plan"
        for slot in table_from_dict(row.output).slots
        if slot.start_s < due_s
    }
    assert Reason.BATCH_WORK in reasons, "four busy hours do not fit into the night's spare"
    assert (
        max(ready for hour, (ready, _) in seen.items() if 25 < hour < 28)
        > quiet.at(START_S + 26 * 3600).hold_units
    )
    assert all(0 <= units < 8 for _, units in seen.values())
    assert seen[27.0][1] > 0, "the night has room"
    assert 9.0 not in learned_store.served(CHAT, now_s - 1, now_s + 1).answers.latency_s
    prompts = learned_store.demand(CHAT, now_s - 3600, now_s + 3600).prompt_tokens
    assert float(np.nanmax(prompts)) < 500_000
