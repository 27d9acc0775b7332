"""Prophet on the request rates: its defaults, refitted every day on the window that production has.

Slow (tens of minutes), so every series is kept on disk as it comes, in the machine's cache folder
(`TIDEGATE_PROPHET_CACHE`); ``python -m benchmarks.prophet_rates`` computes what is missing.
"""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from platformdirs import user_cache_path

from benchmarks.rates import DAY_S, Group, groups
from forecaster.config.settings import RetrainSettings
from forecaster.seasonal.prophet_member import hush

CACHE = Path(os.environ.get("TIDEGATE_PROPHET_CACHE", user_cache_path("tidegate") / "prophet"))
HISTORY_DAYS = RetrainSettings().history_days


@dataclass(frozen=True)
class Paths:
    """Prophet's forecasts of one series from the first scored slot on.

    Attributes
    ----------
    same, before : float64[B]
        Of each slot, by the fit at the start of its own fold (day) and of the fold before.
    cpu_s : float
        CPU seconds of all fits and forecasts.
    """

    same: np.ndarray
    before: np.ndarray
    cpu_s: float
    fits: int


def paths(group: Group, column: int) -> Paths:
    """From the cache, else computed and kept."""
    y = group.Y[:, column]
    digest = hashlib.sha256(y.tobytes() + f"{group.slot_s} {HISTORY_DAYS}".encode()).hexdigest()
    target = CACHE / f"{digest[:24]}.npz"
    if target.exists():
        kept = np.load(target)
        return Paths(kept["same"], kept["before"], float(kept["cpu_s"]), int(kept["fits"]))
    found = compute(group, y)
    CACHE.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}.npz")
    np.savez(part, same=found.same, before=found.before, cpu_s=found.cpu_s, fits=found.fits)
    part.rename(target)
    return found


def compute(group: Group, y: np.ndarray) -> Paths:
    first, day = group.first_scored, max(round(DAY_S / group.slot_s), 1)
    same, before = np.full(y.size - first, np.nan), np.full(y.size - first, np.nan)
    began, fits = cpu_s(), 0
    for start in range(first - day, y.size, day):
        if start < 2:
            continue
        path = fit_and_forecast(group, y, start, min(2 * day, y.size - start))
        fits += 1
        for into, begin in ((same, start), (before, start + day)):
            low, high = max(begin, first), min(begin + day, y.size)
            if low < high:
                into[low - first : high - first] = path[low - start : high - start]
    # the first fold has no fold before it in the scored part when the series is too short for one
    before = np.where(np.isnan(before), same, before)
    return Paths(same, before, cpu_s() - began, fits)


def cpu_s() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def fit_and_forecast(group: Group, y: np.ndarray, start: int, steps: int) -> np.ndarray:
    from prophet import Prophet

    hush()
    low = max(start - round(HISTORY_DAYS * DAY_S / group.slot_s), 0)
    stamps = (group.start_s + group.slot_s * np.arange(low, start + steps)).astype("datetime64[s]")
    frame = pd.DataFrame({"ds": stamps[: start - low], "y": y[low:start]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if frame["y"].notna().sum() < 2:
            return np.zeros(steps)
        model = Prophet(uncertainty_samples=0).fit(frame)
        path = model.predict(pd.DataFrame({"ds": stamps[start - low :]}))["yhat"].to_numpy()
    return np.maximum(path, 0.0)


def main() -> None:
    for group in groups():
        began = time.perf_counter()
        for column in range(len(group.ids)):
            paths(group, column)
        print(f"{group.name}: {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
