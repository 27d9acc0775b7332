"""Ten thousand services, four weeks of five-minute slots: what a retrain and an hour's update cost.

``python -m benchmarks.forecast_speed`` works on batches of services over two processes, as a retrain
does; ``--services`` makes it smaller. Prophet is timed on one of the same services in the same run.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.backtest import History
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.calibration import LEVELS
from forecaster.seasonal.origins import Champions
from forecaster.seasonal.pool import SEASONS, Pool
from forecaster.seasonal.training import train_together

SLOT_S, DAYS, BATCH, WORKERS = 300.0, 28, 250, 2
SLOTS = DAYS * 288
START_S = 1_736_121_600.0
HOUR, DAY = 12, 288


def services(seed: int, count: int) -> np.ndarray:
    """Counts of requests of `count` services with tides, bursts and levels of their own."""
    rng = np.random.default_rng(seed)
    t = np.arange(SLOTS)[:, None]
    level = 10 ** rng.uniform(0.5, 4, count)
    day = 1.2 + np.sin(2 * np.pi * t / 288 + rng.uniform(0, 2 * np.pi, count))
    week = 1 - rng.uniform(0, 0.5, count) * (t // 288 % 7 >= 5)
    burst = np.exp(0.15 * rng.standard_normal((SLOTS, count)))
    return rng.poisson(level * day * week * burst).astype(float)


def batch(seed: int) -> dict[str, float]:
    """CPU and wall seconds of each step on one batch."""
    Y = services(seed, BATCH)
    calendar = Calendar(START_S, SLOT_S, CalendarSpec())
    found: dict[str, float] = {}

    def timed(name: str, work: object) -> object:
        wall, cpu = time.perf_counter(), time.process_time()
        done = work()  # type: ignore[operator]
        found[name] = time.perf_counter() - wall
        found[f"{name} CPU"] = time.process_time() - cpu
        return done

    history = History.of(Y, calendar)
    pool = Pool().fit_z(history.taught[:-DAY], history.scale, calendar)
    timed("pool refit", lambda: pool.extend_z(history.taught))
    timed(
        "seasons from scratch",
        lambda: [
            season.fit_z(history.taught, history.scale, calendar).path(range(1, DAY + 1))
            for season in (make() for make in SEASONS[:-1])
        ],
    )
    mask = np.isfinite(Y)
    timed(
        "fit and forecast",
        lambda: Pool().fit(Y, calendar, mask).quantiles(range(1, DAY + 1), (0.5, 0.99)),
    )
    trained = timed("retrain", lambda: train_together(Y, calendar, ("pool",)))
    before = train_together(Y[:-DAY], calendar, ("pool",)).kept()
    timed("a day later", lambda: train_together(Y, calendar, ("pool",), kept=before))
    champions = Champions(trained)  # type: ignore[arg-type]
    timed("quantiles", lambda: champions.quantiles(288, LEVELS))
    timed("hour", lambda: (champions.advance(Y[:HOUR]), champions.quantiles(288, LEVELS)))
    found["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def prophet_s() -> float:
    """CPU seconds of one Prophet fit and forecast of a day."""
    import pandas as pd
    from prophet import Prophet

    from forecaster.seasonal.prophet_member import hush

    hush()
    y = services(0, 1)[:, 0]
    stamps = (START_S + SLOT_S * np.arange(SLOTS + 288)).astype("datetime64[s]")
    before = os.times()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Prophet(uncertainty_samples=0).fit(pd.DataFrame({"ds": stamps[:SLOTS], "y": y}))
        model.predict(pd.DataFrame({"ds": stamps[SLOTS:]}))
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def reference_s() -> float:
    """CPU seconds of one 1500 x 1500 float64 product, 0.10-0.12 on the quiet machine."""
    A = np.random.default_rng(0).random((1500, 1500))
    began = time.process_time()
    A @ A
    return time.process_time() - began


def measure(count: int) -> str:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    batches = -(-count // BATCH)
    reference = min(reference_s() for _ in range(3))
    with ProcessPoolExecutor(WORKERS) as pool:
        found = list(pool.map(batch, range(batches)))
    total = {name: sum(each[name] for each in found) for name in found[0]}
    done = batches * BATCH
    peak = max(each["rss_mb"] for each in found) * WORKERS
    one = prophet_s()

    def times(step: str) -> str:
        return f"{one / (total[f'{step} CPU'] / done):,.0f}"

    lines = [
        "## Forecast speed",
        "",
        f"{done:,} services x {DAYS} days of 5-minute slots in batches of {BATCH} over {WORKERS} processes;"
        " seconds are those of the steps over the number of processes, making the series left out."
        f" One 1500 x 1500 product took {reference:.2f} CPU s in this run (0.10-0.12 on a quiet machine)."
        " `python -m benchmarks.forecast_speed`",
        "",
        "| step | s | CPU ms a service | bar |",
        "| --- | ---: | ---: | --- |",
    ]
    bars = {
        "pool refit": "5 s (a day more: verified, learnt, weighed)",
        "seasons from scratch": "5 s (all six on four weeks, and a day of each)",
        "fit and forecast": "a pool from nothing: two weeks foretold and verified, then a day's quantiles",
        "retrain": "30 s with quantiles (all backtested)",
        "a day later": "the same, going on from what was foretold",
        "quantiles": "",
        "hour": "2 s",
    }
    for name, bar in bars.items():
        scale = 10_000 / done
        lines.append(
            f"| {name} | {total[name] * scale / WORKERS:.1f} | {1000 * total[f'{name} CPU'] / done:.2f} | {bar} |"
        )
    lines += [
        "",
        f"Seconds are per 10,000 services. Peak memory {peak / 1024:.1f} GB (bar 6 GB). One Prophet fit and path"
        f" of a day, no quantiles, of one of them: {one:.2f} CPU s (bar: 1,000 times ours). That is"
        f" {times('seasons from scratch')} times all six seasons from scratch with a day of each,"
        f" {times('pool refit')} times the pool's daily refit, {times('fit and forecast')} times a pool from nothing with"
        f" verified weights and quantiles, and {times('retrain')} times a whole retrain, which also corrects, calibrates"
        " and chooses.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=10_000)
    given = parser.parse_args()
    if given.services < BATCH:
        sys.exit(f"--services must be {BATCH} or more")
    print(measure(given.services))


if __name__ == "__main__":
    main()
