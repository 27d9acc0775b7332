"""The frontier: more for a target, less for elasticity, never the other way round."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from forecaster.domain.demand import RequestBatch
from forecaster.domain.errors import DataError, SettingError
from forecaster.domain.service import Limits
from forecaster.replay.contest import Terms
from forecaster.replay.frontier import POINTS_MOST, Frontier, Point, aimed, check_settings
from forecaster.replay.sample import Sample, between
from forecaster.wiring.replays import Order, play_frontier
from forecaster.wiring.tables import Tables
from tests.replay.conftest import MONDAY_S, SLO, UNIT, MakeScene

ELASTICITIES = (0.0, 0.4, 0.7, 1.0)
TARGETS = (0.9, 0.97, 0.99, 0.998)
NOISE = 5e-4
"""Attainment may fall by this much where units rise: the router meets the same requests in another
order."""
DRAIN_S = 120.0
"""Unit-seconds by which draining, decided by the requests in flight, may turn a tie."""

Played = Callable[[str], Frontier]
LOGS = {
    "a strong tide": (Sample("chat", 0.025, 60, 40, seed=5), Terms(UNIT, SLO, 180.0, days=0.75)),
    "a long lead": (Sample("chat", 0.04, 60, 40, seed=9), Terms(UNIT, SLO, 1800.0, days=0.5)),
    "bought in twos": (
        Sample("chat", 0.03, 40, 30, seed=23),
        Terms(UNIT, SLO, 600.0, days=0.5, limits=Limits(2, 40, 2)),
    ),
}


@pytest.fixture(scope="module")
def played(tables: Tables) -> Played:
    known: dict[str, Frontier] = {}

    def play(name: str) -> Frontier:
        if name not in known:
            sample, terms = LOGS[name]
            log = between(sample, MONDAY_S, MONDAY_S + 4.5 * 86400)
            known[name] = play_frontier(log, Order(terms, 300.0), tables, (ELASTICITIES, TARGETS))
        return known[name]

    return play


def rows(found: Frontier) -> dict[tuple[float, float], Point]:
    return {(each.elasticity, each.target): each for each in found.points}


def neighbours() -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """(fewer units, more units): a step down in elasticity, or a step up in target."""
    down = [((b, t), (a, t)) for t in TARGETS for a, b in itertools.pairwise(ELASTICITIES)]
    up = [((e, a), (e, b)) for e in ELASTICITIES for a, b in itertools.pairwise(TARGETS)]
    return down + up


@pytest.mark.parametrize("name", LOGS)
def test_units_and_attainment_rise_with_the_target_and_fall_with_elasticity(
    played: Played, name: str
) -> None:
    found = played(name)
    points = rows(found)
    assert len(points) == len(ELASTICITIES) * len(TARGETS)
    for fewer, more in neighbours():
        assert points[fewer].unit_s <= points[more].unit_s + DRAIN_S, (fewer, more)
        assert points[fewer].attainment <= points[more].attainment + NOISE, (fewer, more)


@pytest.mark.parametrize("name", LOGS)
def test_the_tide_saves_and_what_is_said_adds_up(played: Played, name: str) -> None:
    found = played(name)
    said = found.to_dict()
    peak_hours = said["static_peak"]["unit_hours"]
    for point in said["points"]:
        assert 0 <= point["attainment"] <= 1
        assert point["cost"] == pytest.approx(2.0 * point["unit_hours"])
        assert point["saved_share"] == pytest.approx(1 - point["unit_hours"] / peak_hours)
    own = [p for p in said["points"] if p["target"] == 0.99]
    assert own[0]["saved_share"] == 0.0
    assert own[0]["actions"] == 0
    assert own[-1]["saved_share"] > 0.2
    assert own[0]["attainment"] > 0.99


def test_elasticity_0_holds_the_peak_of_the_week_before(played: Played) -> None:
    found = played("a strong tide")
    scene = found.scene
    before = scene.loads.slot_erl[: scene.first // 5]
    peak = scene.need(np.array([np.nanmax(before)]))[0]
    held_s = peak * scene.ticks * 60.0
    assert found.static_peak.unit_s == pytest.approx(held_s, rel=0.01)


def test_another_target_moves_no_curve(scene_of: MakeScene) -> None:
    scene = scene_of(np.full(600, 3.0), 300)
    other = aimed(scene, 0.3, 0.9)
    rates = np.linspace(0.1, 60, 50)
    assert other.elasticity == 0.3
    assert (other.table.violation_share(4, rates) == scene.table.violation_share(4, rates)).all()
    assert (other.need(rates * 0.1) <= scene.need(rates * 0.1)).all()


def test_lists_are_sorted_and_each_value_once() -> None:
    assert check_settings([1, 0.0, 1.0], [0.99]) == ((0.0, 1.0), (0.99,))


@pytest.mark.parametrize(
    ("elasticities", "targets", "key"),
    [
        ([1.1], [0.9], "--elasticities"),
        ([-0.1], [0.9], "--elasticities"),
        ([math.nan], [0.9], "--elasticities"),
        ([1], [1.0], "--targets"),
        ([1], [0.4], "--targets"),
        ([1], [math.nan], "--targets"),
        ([1], [], "points"),
        (np.linspace(0, 1, POINTS_MOST), [0.9, 0.99], "points"),
    ],
)
def test_settings_out_of_range_are_refused(
    elasticities: list[float], targets: list[float], key: str
) -> None:
    with pytest.raises(SettingError, match=key):
        check_settings(elasticities, targets)


def test_too_little_history_names_the_days_that_can_be_scored(
    log: RequestBatch, tables: Tables
) -> None:
    order = Order(Terms(UNIT, SLO, 180.0, days=4.0), 20.0)
    with pytest.raises(DataError, match=r"give --days 1\.4$"):
        play_frontier(log, order, tables, ((1.0,), (0.99,)))
