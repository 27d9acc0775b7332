"""The rival policies: each a pure rule from past load (or, for the clairvoyants, the future) to units.

Every rule has one safety knob; the judge sets it to the least that keeps the target on the same
trace and tier. Sizing is the same for all who size on percentiles (`Sight.need`); HPA, Knative and
the mean-based planner divide by a target per unit, as they do in the field.
"""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.planning.course import ahead
from forecaster.replay.scene import FINE_S, SLOT_S, TICK_S, Sight

_SLOT_TICKS = round(SLOT_S / TICK_S)
_DAY_SLOTS = round(86_400 / SLOT_S)
HALF_HOUR_SLOTS = 6
HPA_TOLERANCE = 0.1
HPA_STABILISATION_TICKS = 5
PANIC_RATIO = 2.0


def static_peak(scene: Sight, knob: float) -> IntArray:
    """The same fleet all the time; the knob scales the busiest five minutes."""
    busiest = float(scene.actual_erl.reshape(-1, _SLOT_TICKS).mean(axis=1).max())
    return np.repeat(scene.need(np.array([busiest * knob])), scene.ticks)


def last_value(scene: Sight, knob: float) -> IntArray:
    """The last five minutes, times the knob."""
    return scene.need(knob * smoothed_load(scene, 0.0))


def smoothed(scene: Sight, knob: float, half_life_s: float, hold_s: float) -> IntArray:
    """An exponential mean, times the knob; units are given back when it stayed lower for the hold."""
    wanted = scene.need(knob * smoothed_load(scene, half_life_s))
    return held(wanted, round(hold_s / TICK_S))


def smoothed_load(scene: Sight, half_life_s: float) -> FloatArray:
    """Load known at each scored tick: the last whole slot, or an exponential mean of minutes."""
    if half_life_s <= 0:
        known = _known_slots(scene)
        return np.asarray(_filled(scene)[known])
    from scipy.signal import lfilter  # takes a second to load, and the daemon plays other rules

    gain = 1 - 0.5 ** (TICK_S / half_life_s)
    minutes = scene.loads.minute_erl[: scene.first + scene.ticks]
    start = minutes[0] if minutes.size else 0.0
    mean, _ = lfilter([gain], [1, gain - 1], minutes, zi=[(1 - gain) * start])
    seen = np.concatenate([[start], mean])  # entry t is known when minute t begins
    return np.asarray(seen[scene.first : scene.first + scene.ticks])


def held(wanted: IntArray, ticks: int) -> IntArray:
    """The most of the last `ticks` ticks and this one."""
    padded = np.concatenate([np.full(ticks, wanted[0]), wanted])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, ticks + 1).max(axis=1))


def seasonal_naive(scene: Sight, knob: float) -> IntArray:
    """The same five minutes a week ago (a day, with less history), one lead ahead, times the knob."""
    first = scene.first // _SLOT_TICKS
    slots = scene.ticks // _SLOT_TICKS
    season = 7 * _DAY_SLOTS if first >= 7 * _DAY_SLOTS else _DAY_SLOTS
    filled = _filled(scene)
    reach = slots + -(-scene.lead_ticks // _SLOT_TICKS) + 1
    at = np.arange(first, first + reach) - season
    while (at >= first).any():  # a window longer than the season repeats the last one known
        at = np.where(at >= first, at - season, at)
    load = np.where(at >= 0, filled[np.maximum(at, 0)], filled[max(first - 1, 0)])
    return _ready_by(scene, scene.need(knob * load))


def hpa(scene: Sight, knob: float) -> IntArray:
    """Kubernetes' rule on the true offered load of the minute before.

    ``ceil(current * metric / target)`` unless within 10 % of the target; the most of the last 300 s
    decides on scaling in. The knob is the inverse of the target utilisation.
    """
    seen = _minutes_before(scene)
    current = int(scene.need(seen[:1])[0])
    wished: list[int] = []
    out = np.empty(scene.ticks, np.int64)
    for t, load in enumerate(seen.tolist()):
        ratio = load * knob / current
        wish = current if abs(ratio - 1) <= HPA_TOLERANCE else int(np.ceil(current * ratio - 1e-9))
        wished.append(wish)
        if wish < current:
            wish = min(current, max(wished[-HPA_STABILISATION_TICKS:]))
        current = int(scene.within(np.array([wish]))[0])
        out[t] = current
    return out


def knative(scene: Sight, knob: float) -> IntArray:
    """Knative's rule: a stable window of 60 s, a panic window of 10 s, never down in panic.

    Panic begins when the short window wants twice what there is and ends a stable window later.
    (Knative's panic window is 6 s; loads are kept by 10 s here.) The knob is the inverse of the
    target per unit.
    """
    per_tick = round(TICK_S / FINE_S)
    fine = scene.loads.fine_erl[: (scene.first + scene.ticks) * per_tick]
    begin = scene.first * per_tick
    padded = np.concatenate([np.full(per_tick, fine[0]), fine])
    total = np.concatenate([[0.0], np.cumsum(padded)])
    at = np.arange(begin, begin + scene.ticks * per_tick) + per_tick
    stable = np.ceil(knob * (total[at] - total[at - per_tick]) / per_tick - 1e-9)
    short = np.ceil(knob * padded[at - 1] - 1e-9)
    current, panic_until, out = max(int(stable[0]), 1), -1, np.empty(at.size, np.int64)
    for i, (slow, fast) in enumerate(zip(stable.tolist(), short.tolist(), strict=True)):
        if fast >= PANIC_RATIO * current:
            panic_until = i + per_tick
        wish = max(current, int(fast), int(slow)) if i < panic_until else int(slow)
        current = int(scene.within(np.array([wish]))[0])
        out[i] = current
    return out[::per_tick]  # what it wants at the beginning of the minute is ordered


def tide_clairvoyant(scene: Sight, knob: float) -> IntArray:
    """Knows the half-hour means to come, not the noise on them: the floor for any forecaster."""
    return _ready_by(scene, scene.need(knob * _coming_means(scene, HALF_HOUR_SLOTS)))


def clairvoyant(scene: Sight, knob: float) -> IntArray:
    """Knows the five-minute means to come."""
    return _ready_by(scene, scene.need(knob * _coming_means(scene, 1)))


def _coming_means(scene: Sight, slots: int) -> FloatArray:
    """True mean load of each run of `slots` slots, by slot, one lead beyond the window."""
    first = scene.first // _SLOT_TICKS
    count = scene.ticks // _SLOT_TICKS
    load = scene.loads.minute_erl.reshape(-1, _SLOT_TICKS).mean(axis=1)[first:]
    count = min(count + -(-scene.lead_ticks // _SLOT_TICKS), load.size)
    runs = np.arange(count) // slots
    sums = np.bincount(runs, load[:count])
    return np.asarray((sums / np.bincount(runs))[runs])


def _ready_by(scene: Sight, by_slot: IntArray) -> IntArray:
    """Orders that have the units of every slot ready when it begins."""
    by_tick = np.repeat(by_slot, _SLOT_TICKS)
    missing = scene.ticks + scene.lead_ticks - by_tick.size
    if missing > 0:
        by_tick = np.concatenate([by_tick, np.full(missing, by_tick[-1])])
    return ahead(by_tick, scene.lead_ticks)[: scene.ticks]


def _known_slots(scene: Sight) -> IntArray:
    """The last whole slot before each scored tick."""
    tick = scene.first + np.arange(scene.ticks)
    return np.maximum(tick // _SLOT_TICKS - 1, 0)


def _filled(scene: Sight) -> FloatArray:
    """Load per slot with what is missing replaced by the last known one."""
    load = scene.loads.slot_erl
    last = np.maximum.accumulate(np.where(np.isfinite(load), np.arange(load.size), 0))
    return np.nan_to_num(load[last])


def _minutes_before(scene: Sight) -> FloatArray:
    minutes = scene.loads.minute_erl
    at = scene.first + np.arange(scene.ticks) - 1
    return np.asarray(minutes[np.maximum(at, 0)])
