"""A day of the daemon with units of two types: it orders, gives back and bills each by its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from forecaster.domain.errors import CapacityDeniedError
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.pools import Pool, pool_service
from forecaster.domain.profile import GenerativeProfile, Mixed, UnitType
from forecaster.planning.journal import table_from_dict
from forecaster.store import Store
from tests.integration.daemon_world import CHAT, START_S, World, world
from tests.integration.test_daemon_day import replayed
from tests.integration.tier_helpers import LLAMA_TYPE

assert isinstance(LLAMA_TYPE.profile, GenerativeProfile)
SLOW = LLAMA_TYPE.profile
WIDE_TYPE = replace(
    LLAMA_TYPE, name="wide", price_per_hour=2.0,
    profile=replace(
        SLOW, alpha_s=SLOW.alpha_s / 3, beta_s=SLOW.beta_s / 3, kappa_s=SLOW.kappa_s / 3,
        gamma_s=SLOW.gamma_s / 3,
    ),
)  # fmt: skip
TYPE = UnitType(
    "mix", LLAMA_TYPE.profile, drain_deadline_s=60.0, price_per_hour=1.5,
    mixed=Mixed((LLAMA_TYPE, WIDE_TYPE), (2, 9)),
)  # fmt: skip
SMALL, WIDE = Pool("tiny-llama"), Pool("wide")
LIMITS = {"min_units": 1, "max_units": 8}
NOON_S = START_S + 15 * 3600


def of_types(here: World) -> dict[Pool, int]:
    return here.fleet().by_pool(UnitState.READY)


def test_a_day_of_two_types(learned_store: Store, tmp_path: Path) -> None:
    day = world(learned_store, tmp_path, unit=TYPE, **LIMITS)
    day.overload = False
    seen: dict[float, dict[Pool, int]] = {}
    for _ in day.steps(24 * 12):
        seen[round(day.hour, 3)] = of_types(day)
        assert day.note == ""
    table = day.pilot.state.table
    assert table is not None
    assert table.split.pools == (SMALL, WIDE)
    assert seen[15.0].get(WIDE, 0) >= 1
    night, noon = seen[4.0], seen[15.0]
    assert table.split.carried(night) < table.split.carried(noon)

    rows = learned_store.decisions(CHAT, 10_000)
    plans = {r.decision_id: table_from_dict(r.output) for r in rows if r.inputs["kind"] == "plan"}
    ticks = [r for r in rows if r.inputs["kind"] == "tick"]
    ordered = [r.output for r in ticks if r.ordered]
    assert {pool for output in ordered for pool in output["pools"]} == {SMALL, WIDE}
    assert {output["verb"] for output in ordered} == {"prewarm", "drain"}
    for row in ticks:
        assert replayed(row, plans) == orjson.dumps(row.output)

    paid = day.board.paid(CHAT)
    hours = {name: each["billed_s"] / 3600 for name, each in _bill(day).items()}
    prices = {"tiny-llama": 1.0, "wide": 2.0}
    assert set(hours) == set(prices)
    assert paid["paid_money"] == pytest.approx(
        sum(prices[n] * h for n, h in hours.items()), rel=1e-6
    )
    peak = table.peak_units
    assert paid["static_peak_money"] == pytest.approx(
        24 * TYPE.hour_price(table.split, peak), rel=1e-3
    )


def test_a_type_that_is_denied_is_made_up_for(learned_store: Store, tmp_path: Path) -> None:
    """There are no wide units this morning; small ones come in their place, as far as there are any."""
    plenty = replace(TYPE, mixed=Mixed((LLAMA_TYPE, WIDE_TYPE), (8, 9)))
    morning = world(learned_store, tmp_path, at_h=5.0, unit=plenty, **LIMITS)
    morning.overload = False
    _deny(morning, WIDE)
    list(morning.steps(12 * 6))
    table = morning.pilot.state.table
    assert table is not None
    hold = table.at(morning.clock.now).hold_units
    assert table.split.of(hold)[WIDE] >= 1  # what it would have
    assert list(of_types(morning)) == [SMALL]
    assert table.split.whole(of_types(morning)) >= hold
    assert morning.pilot.planner.denied.keys() == {WIDE}
    rows = learned_store.decisions(CHAT, 10_000)
    ordered = [row.output for row in rows if row.inputs["kind"] == "tick" and row.ordered]
    asked = [output for output in ordered if WIDE in output["pools"]]
    assert len(asked) <= 2  # once, and again where an hour later it may have been there
    assert any("wide denied lately, others go first" in each["explanation"] for each in ordered)


def test_another_daemon_goes_on_with_the_ladder(learned_store: Store, tmp_path: Path) -> None:
    first = world(learned_store, tmp_path, at_h=10.0, unit=TYPE, **LIMITS)
    first.overload = False
    list(first.steps(24))
    before, table = of_types(first), first.pilot.state.table
    first.restart()
    assert first.pilot.state.table == table
    list(first.steps(1))
    assert of_types(first) == before


def _bill(here: World) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = here.board.desk.ledger(CHAT, START_S, here.clock.now)[
        "units"
    ]
    return found


def _deny(here: World, pool: Pool) -> None:
    """The tier has no room for units of this type."""
    order = here.tier.prewarm

    def prewarm(service: str, units: int, **more: object) -> tuple[str, ...]:
        if service == pool_service(CHAT, pool):
            raise CapacityDeniedError("no such units", "wait")
        return order(service, units, **more)  # type: ignore[arg-type]

    here.tier.prewarm = prewarm  # type: ignore[method-assign]
