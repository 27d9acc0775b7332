"""The mean-based one-step planner: the rule of the strongest peer, with its four predictors.

Every interval it forecasts the mean load of the *next* interval from the series of means, without a
season, and divides by what a unit carries on average (NVIDIA Dynamo's throughput rule; see
research/dynamo.md of the project's notes). The predictor that cost least is taken, in hindsight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.replay.scene import TICK_S, Scene

INTERVAL_S = 180.0
WINDOW = 50
"""Points that a predictor looks back on."""
AR_ORDER = 3
KALMAN_Q = (1.0, 0.1)
KALMAN_R = 10.0
PROPHET_EVERY = 20
"""Prophet is fitted anew once an hour and read off in between: at every interval it takes minutes."""

Predictor = Callable[[FloatArray, int], FloatArray]


def mean_planner(
    scene: Scene, cost_of: Callable[[Callable[[float], IntArray]], float]
) -> tuple[Callable[[float], IntArray], dict[str, Any]]:
    """The planner with the predictor that cost least, and its name."""
    found: dict[str, Callable[[float], IntArray]] = {}
    for name, predictor in PREDICTORS.items():
        found[name] = partial(_units, scene, predicted(scene, predictor))
    costs = {name: cost_of(units) for name, units in found.items()}
    best = min(costs, key=lambda name: costs[name])
    return found[best], {"predictor": best}


def predicted(scene: Scene, predictor: Predictor) -> FloatArray:
    """Forecast of each scored interval, made at its beginning, erlangs."""
    ticks = round(INTERVAL_S / TICK_S)
    begin = scene.first % ticks
    usable = (scene.first + scene.ticks - begin) // ticks * ticks
    means = scene.loads.minute_erl[begin : begin + usable].reshape(-1, ticks).mean(axis=1)
    first = scene.first // ticks
    if first == 0:  # nothing lies before: the first interval is known in hindsight
        means = np.concatenate([means[:1], means])
        first = 1
    return np.maximum(predictor(means, first), 0.0)


def _units(scene: Scene, load: FloatArray, knob: float) -> IntArray:
    wanted = scene.within(np.ceil(knob * load - 1e-9).astype(np.int64))
    by_tick = np.repeat(wanted, round(INTERVAL_S / TICK_S))
    missing = max(scene.ticks - by_tick.size, 0)
    return np.concatenate([by_tick, np.full(missing, by_tick[-1])])[: scene.ticks]


def constant(means: FloatArray, first: int) -> FloatArray:
    """The last interval again."""
    return means[first - 1 : -1]


def arima(means: FloatArray, first: int) -> FloatArray:
    """ARIMA(3, 1, 0) without a season, conditional least squares on the last 50 points."""
    out = np.empty(means.size - first)
    for i, t in enumerate(range(first, means.size)):
        change = np.diff(means[max(t - WINDOW, 0) : t])
        if change.size < 4 * AR_ORDER:
            out[i] = means[t - 1]
            continue
        lags = np.stack([change[AR_ORDER - 1 - j : change.size - 1 - j] for j in range(AR_ORDER)])
        gram = lags @ lags.T + 1e-6 * np.eye(AR_ORDER)
        weights = np.linalg.solve(gram, lags @ change[AR_ORDER:])
        out[i] = means[t - 1] + change[: -AR_ORDER - 1 : -1] @ weights
    return out


def kalman(means: FloatArray, first: int) -> FloatArray:
    """Local linear trend with the peer's noise settings, on loads in percent of their mean."""
    scale = 100.0 / max(float(means[:first].mean()), 1e-12)
    step = np.array([[1.0, 1.0], [0.0, 1.0]])
    state, spread = np.array([means[0] * scale, 0.0]), np.eye(2) * KALMAN_R
    out = np.empty(means.size - first)
    for t in range(means.size):
        state = step @ state
        spread = step @ spread @ step.T + np.diag(KALMAN_Q)
        if t >= first:
            out[t - first] = state[0] / scale
        gain = spread[:, 0] / (spread[0, 0] + KALMAN_R)
        state = state + gain * (means[t] * scale - state[0])
        spread = spread - np.outer(gain, spread[0])
    return out


def prophet(means: FloatArray, first: int) -> FloatArray:
    """Prophet on the last 50 points, as the peer calls it, fitted once an hour."""
    import pandas as pd
    from prophet import Prophet

    from forecaster.seasonal.prophet_member import hush, their_warnings

    hush()
    times = pd.date_range("2024-01-01", periods=means.size, freq=f"{INTERVAL_S:.0f}s")
    out = np.empty(means.size - first)
    for begin in range(first, means.size, PROPHET_EVERY):
        low = max(begin - WINDOW, 0)
        end = min(begin + PROPHET_EVERY, means.size)
        if begin - low < 10:
            out[begin - first : end - first] = means[begin - 1 : end - 1]
            continue
        with their_warnings():
            model = Prophet(uncertainty_samples=0)
            model.fit(pd.DataFrame({"ds": times[low:begin], "y": means[low:begin]}))
            forecast = model.predict(pd.DataFrame({"ds": times[begin:end]}))
        out[begin - first : end - first] = forecast["yhat"].to_numpy()
    return out


PREDICTORS: dict[str, Predictor] = {
    "constant": constant,
    "arima": arima,
    "kalman": kalman,
    "prophet": prophet,
}
