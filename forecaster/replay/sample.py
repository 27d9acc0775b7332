"""A seeded sample service: the request log of a chat service with a strong tide.

Not a trace of anybody: every number here is made up, so that it may be shipped. The shape follows
what public traces show: a night trough, a morning ramp, a lunch dip, an evening shoulder, calmer
weekends, days that differ in level, bursts of some seconds, lognormal token lengths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import FloatArray, RequestBatch
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.calendar import Calendar

DAY_S = 86_400
BUMPS = ((10.4, 1.5, 0.80), (15.0, 1.6, 0.92), (20.4, 1.5, 0.34))
"""(local hour of the middle, width in hours, height) of the day's humps."""
TROUGH = 0.07
WEEKEND = (0.62, 0.55)
"""Saturday's and Sunday's share of a working day."""
LEVEL_SIGMA, DRIFT_SIGMA, BURST_SIGMA = 0.06, 0.05, 0.2
BURST_S = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample service.

    Attributes
    ----------
    service : str
        Name in the log.
    peak_rps : float
        Arrival rate at the top of a working day, requests/s.
    prompt_mean, output_mean : float
        Mean tokens; 0 for services without.
    prompt_max, output_max : int
        Longest prompt and answer.
    seed : int
        The same seed gives the same day, whichever days are asked for.
    """

    service: str
    peak_rps: float
    prompt_mean: float = 0.0
    output_mean: float = 0.0
    prompt_max: int = 160
    output_max: int = 96
    seed: int = 7
    timezone: str = "UTC"


def expected_rps(sample: Sample, time_s: FloatArray) -> FloatArray:
    """Arrival rate without noise at `time_s` (epoch seconds), requests/s."""
    calendar = Calendar(0.0, 1.0, CalendarSpec(sample.timezone))
    slots = np.asarray(time_s, dtype=np.int64)
    hour = calendar.minute_of_day(slots) / 60.0
    shape = np.full(hour.size, TROUGH)
    for middle, width, height in BUMPS:
        apart = (hour - middle + 12) % 24 - 12
        shape = shape + height * np.exp(-0.5 * (apart / width) ** 2)
    weekday = calendar.day_type(slots)
    factor = np.where(weekday == 5, WEEKEND[0], np.where(weekday == 6, WEEKEND[1], 1.0))
    return np.asarray(sample.peak_rps * factor * shape / _peak_shape())


def day(sample: Sample, number: int) -> RequestBatch:
    """All requests of UTC day `number` (days since the epoch), in time order."""
    rng = np.random.default_rng([sample.seed, number])
    start_s = number * DAY_S
    minutes = start_s + 60 * np.arange(1440)
    rate = expected_rps(sample, minutes.astype(np.float64))
    rate = rate * math.exp(LEVEL_SIGMA * rng.standard_normal()) * _drift(rng, 1440)
    per_second = np.repeat(rate, 60)
    bursts = np.exp(BURST_SIGMA * rng.standard_normal(DAY_S // BURST_S) - BURST_SIGMA**2 / 2)
    counts = rng.poisson(per_second * np.repeat(bursts, BURST_S))
    seconds = np.repeat(np.arange(DAY_S), counts)
    arrival_s = np.sort(start_s + seconds + rng.random(seconds.size))
    prompt = _lengths(rng, seconds.size, sample.prompt_mean, 0.6, sample.prompt_max)
    output = _lengths(rng, seconds.size, sample.output_mean, 0.5, sample.output_max)
    return RequestBatch(sample.service, arrival_s, prompt, output)


def between(sample: Sample, from_s: float, to_s: float) -> RequestBatch:
    """All requests with ``from_s <= arrival < to_s``, in time order."""
    days = [day(sample, n) for n in range(int(from_s // DAY_S), math.ceil(to_s / DAY_S))]
    arrival_s = np.concatenate([d.arrival_s for d in days])
    keep = (arrival_s >= from_s) & (arrival_s < to_s)
    return RequestBatch(
        sample.service,
        arrival_s[keep],
        np.concatenate([d.prompt_tokens for d in days])[keep],
        np.concatenate([d.output_tokens for d in days])[keep],
    )


def _peak_shape() -> float:
    hours = np.arange(0, 24, 0.05)
    shape = np.full(hours.size, TROUGH)
    for middle, width, height in BUMPS:
        apart = (hours - middle + 12) % 24 - 12
        shape = shape + height * np.exp(-0.5 * (apart / width) ** 2)
    return float(shape.max())


def _drift(rng: np.random.Generator, minutes: int) -> FloatArray:
    """A slow wander (half an hour) around 1."""
    keep = math.exp(-1 / 30)
    steps = rng.standard_normal(minutes) * math.sqrt(1 - keep**2)
    level = np.empty(minutes)
    state = float(rng.standard_normal())
    for i, step in enumerate(steps):
        state = keep * state + float(step)
        level[i] = state
    return np.asarray(np.exp(DRIFT_SIGMA * level))


def _lengths(
    rng: np.random.Generator, count: int, mean: float, scv: float, longest: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if mean <= 0:
        return np.zeros(count, dtype=np.int64)
    sigma2 = math.log1p(scv)
    drawn = rng.lognormal(math.log(mean) - sigma2 / 2, math.sqrt(sigma2), count)
    return np.clip(np.rint(drawn), 2, longest).astype(np.int64)
