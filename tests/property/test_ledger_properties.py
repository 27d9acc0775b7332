"""The ledger against the unit events themselves: to the second, for any lives, ranges and tariffs."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.domain.lifecycle import TRANSITIONS, UnitState
from forecaster.domain.money import Tariff
from forecaster.domain.units import UnitEvent
from forecaster.planning.billing import bill, billed_s, bills, tariff_at, total
from forecaster.planning.ledger import STATES, lives, paid_state

T0_S = 1_760_000_000.0
WEEK_S = 7 * 86_400.0
ENDS = {UnitState.GONE, UnitState.FAILED}


@st.composite
def fleets(draw: st.DrawFn) -> list[UnitEvent]:
    """Events of up to six units, each along edges of the life cycle, some still alive."""
    rows = []
    for n in range(draw(st.integers(1, 6))):
        state, at_s = UnitState.COLD, T0_S + draw(st.floats(0, WEEK_S))
        for _ in range(draw(st.integers(1, 7))):
            if not TRANSITIONS[state]:
                break
            after = draw(st.sampled_from(sorted(TRANSITIONS[state])))
            seconds = draw(st.floats(0, 2 * 86_400.0))
            at_s += seconds
            rows.append((at_s, f"u{n}", state, after, seconds))
            state = after
    rows.sort(key=lambda row: row[0])
    return [
        UnitEvent("tier", seq, unit, "chat", at_s, before, after, seconds)
        for seq, (at_s, unit, before, after, seconds) in enumerate(rows, 1)
    ]


prices = st.builds(
    Tariff,
    unit=st.sampled_from(["small", "large"]),
    price_per_hour=st.floats(0, 100),
    min_billing_s=st.floats(0, 7200),
    billing_step_s=st.sampled_from([0.0, 1.0, 60.0, 3600.0]),
    since_s=st.floats(T0_S, T0_S + WEEK_S),
)
tariffs = st.lists(prices, min_size=1, max_size=3).map(
    lambda found: sorted(found, key=lambda each: each.since_s)
)


@given(fleets())
def test_what_units_lived_is_what_their_events_say(events: list[UnitEvent]) -> None:
    """The oracle is the tier's own `seconds`, which the ledger reads for a unit's first edge only."""
    end_s = max(event.at_s for event in events)
    made = total(bill(lives(events), [Tariff("u", 1.0)], T0_S - 1, end_s))
    last = {event.unit_id: event for event in events}
    for state in STATES:
        said = sum(event.seconds for event in events if paid_state(event.before) == state)
        alive = sum(end_s - e.at_s for e in last.values() if paid_state(e.after) == state)
        assert getattr(made, f"{state}_s") == pytest.approx(said + alive, abs=1e-3)


@given(fleets(), tariffs, st.lists(st.floats(T0_S - 1, T0_S + 3 * WEEK_S), min_size=1, max_size=5))
def test_bills_of_neighbouring_ranges_add_up(
    events: list[UnitEvent], known: list[Tariff], cuts: list[float]
) -> None:
    edges = [T0_S - 1, *sorted(cuts), T0_S + 4 * WEEK_S]
    units = lives(events)
    parts = bills(units, known, edges)
    whole = bill(units, known, edges[0], edges[-1])
    for unit in {each.unit for each in known}:
        pieces = [part[unit] for part in parts if unit in part]
        made = whole.get(unit)
        assert sum(p.billed_s for p in pieces) == pytest.approx(made.billed_s if made else 0.0)
        assert sum(p.money for p in pieces) == pytest.approx(made.money if made else 0.0)
    assert all(part[u].unused_s >= 0 for part in parts for u in part)


@given(fleets(), tariffs)
def test_a_unit_that_ended_is_billed_whole_steps_and_the_least_time(
    events: list[UnitEvent], known: list[Tariff]
) -> None:
    for life in lives(events):
        if not math.isfinite(life.ended_s):
            continue
        tariff, lived_s = tariff_at(known, life.born_s), life.ended_s - life.born_s
        made = total(bill([life], known, T0_S - 1, T0_S + 4 * WEEK_S))
        assert made.lived_s == pytest.approx(lived_s, abs=1e-3)
        assert made.billed_s == pytest.approx(billed_s(lived_s, tariff), abs=1e-3)
        assert made.billed_s >= max(lived_s, tariff.min_billing_s) - 1e-3
        beyond = billed_s(lived_s, tariff) - max(lived_s, tariff.min_billing_s)
        assert beyond <= tariff.billing_step_s + 1e-3
        hours = made.billed_s / 3600
        assert made.money == pytest.approx(hours * tariff.price_per_hour)


@given(fleets())
def test_a_life_has_no_gaps(events: list[UnitEvent]) -> None:
    for life in lives(events):
        assert all(a.to_s == b.from_s for a, b in pairwise(life.stays))
        ended = [e for e in events if e.unit_id == life.unit_id and e.after in ENDS]
        assert life.ended_s == (ended[0].at_s if ended else math.inf)
