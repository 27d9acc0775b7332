"""Traces A, B and C for Dynamo's own replay, and the demand of the days before them; seeded.

A is a tide of 6 h (a day compressed four times), C the same tide over 24 h at half the rate, B eight hours of
real request rates (ServeGen m-small, all clients, day 8, 14:00-22:00, scaled to a peak of 20 requests/s).
Arrivals are Poisson at rates that stand for `STEP_S`; token lengths are lognormal with means 1134 and 209. No request
shares a prefix with another one. The past of A and C are earlier cycles of the same generator under other
noise; that of B are days 1 to 8 until the trace begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.rates import TRACES, epoch_s
from forecaster.domain.demand import FloatArray, IntArray

STEP_S = 5.0
"""Simulated seconds for which a rate stands."""
DAY_S = 86_400.0
MONDAY_S = 1_736_121_600.0
"""2025-01-06 00:00 UTC, where the rates of ServeGen begin."""
PROMPT_MEAN, OUTPUT_MEAN, SIGMA = 1134.0, 209.0, 0.8
LONGEST = 16_000, 4_000
BLOCK = 512
PAST_CYCLES = 14
"""Cycles of A and C that lie before the scored one."""
LEVEL_SIGMA, NOISE_SIGMA, NOISE_DAYS = 0.04, 0.05, 1 / 48
"""Spread of whole cycles, and of what comes and goes within half an hour of a day."""
SERVEGEN = TRACES / "rates" / "servegen_m_small.csv.gz"
SERVEGEN_DAY, SERVEGEN_HOURS, SERVEGEN_PEAK_RPS, SERVEGEN_SLOT_S = 8, (14, 22), 20.0, 600.0
NAMES = ("A", "B", "C")


@dataclass(frozen=True)
class Case:
    """One trace and what was there before it.

    Attributes
    ----------
    speed : float
        Clock seconds per simulated second: what is a day to the traffic is one to the calendar.
    start_s : float
        Begin of the trace on that clock, epoch seconds.
    past_rps, rate_rps : float64[K], float64[M]
        Rates before and within the trace, each for `STEP_S` of simulated time.
    """

    name: str
    speed: float
    start_s: float
    past_rps: FloatArray
    rate_rps: FloatArray
    seed: int

    @property
    def seconds(self) -> float:
        """Length of the trace, simulated seconds."""
        return self.rate_rps.size * STEP_S

    def past_minutes(self) -> tuple[float, FloatArray]:
        """Start on the clock, and the requests of each clock minute of the past as drawn from its rates."""
        dice = np.random.default_rng([self.seed, 1])
        drawn = dice.poisson(self.past_rps * STEP_S)
        step = self.speed * STEP_S  # clock seconds of a step
        begin_s = self.start_s - self.past_rps.size * step
        at = (np.arange(drawn.size) + 0.5) * step // 60
        return begin_s, np.bincount(at.astype(int), drawn).astype(float)

    def arrivals_s(self) -> FloatArray:
        """Arrivals of the trace from its beginning, simulated seconds."""
        dice = np.random.default_rng([self.seed, 2])
        counts = dice.poisson(self.rate_rps * STEP_S)
        begin = np.repeat(np.arange(counts.size) * STEP_S, counts)
        return np.sort(begin + dice.uniform(0, STEP_S, begin.size))

    def lengths(self, count: int, part: int = 3) -> tuple[IntArray, IntArray]:
        """Prompt and output tokens; `part` 4 are those of the past."""
        return lengths(count, [self.seed, part])


def lengths(count: int, seed: list[int]) -> tuple[IntArray, IntArray]:
    """Token lengths of `count` requests."""
    dice = np.random.default_rng(seed)
    drawn = []
    for mean, most in zip((PROMPT_MEAN, OUTPUT_MEAN), LONGEST, strict=True):
        values = dice.lognormal(np.log(mean) - SIGMA**2 / 2, SIGMA, count)
        drawn.append(np.clip(np.rint(values), 1, most).astype(np.int64))
    return drawn[0], drawn[1]


def case(name: str, seed: int = 1) -> Case:
    """Trace A, B or C."""
    if name == "B":
        return servegen(seed)
    return tide(name, seed, 21_600.0, 14.4) if name == "A" else tide(name, seed, DAY_S, 7.03)


def tide(name: str, seed: int, cycle_s: float, mean_rps: float) -> Case:
    """A day's tide of `cycle_s` simulated seconds after `PAST_CYCLES` of its kind."""
    dice = np.random.default_rng([seed, ord(name)])
    steps = round(cycle_s / STEP_S)
    x = (np.arange(steps * (PAST_CYCLES + 1)) + 0.5) / steps
    shape = 1 - 0.8 * np.cos(2 * np.pi * (x - 0.08)) - 0.1 * np.cos(4 * np.pi * (x - 0.08))
    level = np.repeat(dice.normal(0, LEVEL_SIGMA, PAST_CYCLES + 1), steps)
    noise = wandering(dice, x.size, NOISE_DAYS * steps)
    spread = (LEVEL_SIGMA**2 + NOISE_SIGMA**2) / 2
    rate = mean_rps * shape * np.exp(level + NOISE_SIGMA * noise - spread)
    past = steps * PAST_CYCLES
    start_s = MONDAY_S + (PAST_CYCLES + 1) * DAY_S
    return Case(name, DAY_S / cycle_s, start_s, rate[:past], rate[past:], seed)


def wandering(dice: np.random.Generator, count: int, steps: float) -> FloatArray:
    """A first-order autoregression of variance 1 that forgets within `steps`."""
    keep = float(np.exp(-1 / steps))
    drawn = dice.standard_normal(count) * np.sqrt(1 - keep**2)
    drawn[0] = dice.standard_normal()
    for k in range(1, count):
        drawn[k] += keep * drawn[k - 1]
    return np.asarray(drawn)


def servegen(seed: int) -> Case:
    """The real rates, linear between the middles of their windows; windows of lost logs are bridged."""
    frame = pd.read_csv(SERVEGEN, usecols=["timestamp", "value"])
    frame["at_s"] = epoch_s(frame["timestamp"])
    pool = frame.groupby("at_s")["value"].sum(min_count=1).dropna()
    middles, rates = pool.index.to_numpy() + SERVEGEN_SLOT_S / 2, pool.to_numpy(float)
    begin_s = MONDAY_S + SERVEGEN_DAY * DAY_S + SERVEGEN_HOURS[0] * 3600
    end_s = MONDAY_S + SERVEGEN_DAY * DAY_S + SERVEGEN_HOURS[1] * 3600
    from_s = MONDAY_S + DAY_S
    rate = np.interp(np.arange(from_s, end_s, STEP_S) + STEP_S / 2, middles, rates)
    past = round((begin_s - from_s) / STEP_S)
    rate *= SERVEGEN_PEAK_RPS / rate[past:].max()
    return Case("B", 1.0, begin_s, rate[:past], rate[past:], seed)


def write(target: Path, arrival_s: FloatArray, prompt: IntArray, output: IntArray) -> None:
    """Write requests as mooncake JSONL, every block of a prompt its own."""
    blocks = -(-prompt // BLOCK)
    first = np.cumsum(blocks) - blocks
    columns = (arrival_s * 1e3, prompt, output, first, blocks)
    with target.open("w") as out:
        for at_ms, p, n, begin, count in zip(*(each.tolist() for each in columns), strict=True):
            hashes = ",".join(map(str, range(begin, begin + count)))
            out.write(
                f'{{"timestamp":{at_ms:.3f},"input_length":{p},"output_length":{n},"hash_ids":[{hashes}]}}\n'
            )
