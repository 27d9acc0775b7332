"""Samples of counters and gauges, as senders push them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from forecaster.domain.demand import FloatArray, IntArray


class Point(NamedTuple):
    """One sample.

    Attributes
    ----------
    at_s : float
        When it was taken, epoch seconds.
    value : float
        NaN: the series ended here.
    began_s : float
        Since when it counts, epoch seconds; NaN where the sender does not say.
    """

    at_s: float
    value: float
    began_s: float = math.nan


@dataclass(frozen=True, slots=True)
class Stream:
    """Samples of one series, in order of time.

    Attributes
    ----------
    labels : mapping
        Without the name.
    delta : bool
        Each value is what came since its own `began_s`, not since the process began.
    """

    name: str
    labels: Mapping[str, str]
    points: tuple[Point, ...]
    delta: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a series: the newest sample of each minute.

    Attributes
    ----------
    since_s : float
        Its first sample ever, epoch seconds.
    minute_s : int64[n]
        Ends of the minutes, epoch seconds, rising: a sample belongs to the minute that it is not after.
    at_s, value : float64[n]
    """

    labels: Mapping[str, str]
    since_s: float
    minute_s: IntArray
    at_s: FloatArray
    value: FloatArray


@dataclass(frozen=True, slots=True)
class Due:
    """What of a service's samples has not been counted.

    Attributes
    ----------
    from_s, newest_s : int
        Ends of the first minute that changed, and of the last one with a sample, epoch seconds.
    since_s : int
        Nothing before is counted from samples, epoch seconds.
    """

    from_s: int
    newest_s: int
    since_s: int
