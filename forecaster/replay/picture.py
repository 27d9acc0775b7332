"""The picture of a contest in plain values: the load in units, and every policy's blocks."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.replay.contest import Contest, Entry
from forecaster.replay.scene import Scene
from forecaster.replay.scorecard import MINUTE_S
from forecaster.replay.summary import standings

BAR_S = 1800.0
"""Requests outside the SLO are shown by the half hour."""
CURVE_S = 300.0
"""The load curve is drawn in means over this: noise of single minutes hides the tide."""


def picture(contest: Contest) -> dict[str, Any]:
    """What the report draws; times in milliseconds of the service's own wall clock."""
    scene, rows = contest.scene, standings(contest)
    zone = ZoneInfo(scene.calendar.timezone)
    bars = _bar_starts(scene)
    labels = [label for label, _ in rows]
    return {
        "shown": "tidegate" if "tidegate" in labels else labels[0],
        "allowed": 1 - scene.table.question.slo.attainment,
        "load": _load(scene, zone),
        "outside_x": _wall_ms(bars, zone),
        "outside_ms": BAR_S * 1000,
        "policies": {label: _blocks(entry, zone) for label, entry in rows},
    }


def units_carrying(scene: Scene, load_erl: FloatArray) -> FloatArray:
    """The load as a number of units, between whole ones: where the red curve runs.

    Beyond the largest fleet of the table each unit carries what that fleet's units do.
    """
    carried = scene.capacities_rps
    rate = np.nan_to_num(load_erl) / scene.work_s
    units = np.interp(rate, np.concatenate([[0.0], carried]), np.arange(carried.size + 1))
    return np.where(rate > carried[-1], rate / (carried[-1] / carried.size), units)


def outside_by_bar(entry: Entry) -> FloatArray:
    """Share of the requests of each half hour that were outside the SLO; 0 without requests."""
    score, minutes = entry.score, round(BAR_S / MINUTE_S)
    starts = np.arange(0, score.minute_requests.size, minutes)
    requests = np.add.reduceat(score.minute_requests, starts)
    inside = np.add.reduceat(score.minute_inside, starts)
    return np.where(requests > 0, (requests - inside) / np.maximum(requests, 1), 0.0)


def _load(scene: Scene, zone: ZoneInfo) -> dict[str, Any]:
    load = scene.actual_erl
    every = round(CURVE_S / MINUTE_S)
    starts = np.arange(0, load.size, every)
    means = np.add.reduceat(load, starts) / np.diff(np.append(starts, load.size))
    return {
        "x": _wall_ms(_at(scene.start_s, starts) + CURVE_S / 2, zone),
        "y": np.round(units_carrying(scene, means), 3).tolist(),
    }


def _blocks(entry: Entry, zone: ZoneInfo) -> dict[str, Any]:
    fleet = entry.fleet
    warming = fleet.wanted - fleet.ready
    at = _changes(fleet.ready, warming)
    return {
        "x": _wall_ms(_at(fleet.start_s, at), zone),
        "ready": fleet.ready[at].tolist(),
        "warming": warming[at].tolist(),
        "outside": np.round(outside_by_bar(entry), 5).tolist(),
    }


def _changes(*columns: IntArray) -> IntArray:
    """Ticks at which something changes, and both ends."""
    changed = np.zeros(columns[0].size, bool)
    changed[[0, -1]] = True
    for column in columns:
        changed[1:] |= np.diff(column) != 0
    return np.flatnonzero(changed)


def _bar_starts(scene: Scene) -> FloatArray:
    return scene.start_s + np.arange(0, scene.ticks * MINUTE_S, BAR_S)


def _at(start_s: float, minutes: IntArray) -> FloatArray:
    return np.asarray(start_s + MINUTE_S * minutes, np.float64)


def _wall_ms(times_s: FloatArray, zone: ZoneInfo) -> list[int]:
    offsets = [datetime.fromtimestamp(t, zone).utcoffset() for t in times_s.tolist()]
    return [
        round(1000 * (t + (offset.total_seconds() if offset is not None else 0.0)))
        for t, offset in zip(times_s.tolist(), offsets, strict=True)
    ]
