"""How fast a real unit worked, second by second, and time counted in what it could have done.

A unit whose steps all last p(t) times what its profile says is, at u(t) = integral of dt / p(t), the unit of the
profile: play the arrivals at u, and bring what comes out back to the wall's time. (The time change of a queue whose
server varies its speed.)
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from typing import Self

import httpx
import numpy as np

from forecaster.capacity.kernel import simulate
from forecaster.domain.demand import RequestBatch
from forecaster.domain.profile import GenerativeProfile

LOOK_S = 1.0
SPAN_S = 2.0
"""Seconds of profiled work that one pace is the mean of: heartbeats come twice a second."""


@dataclass(frozen=True)
class Pace:
    """The pace in steps, by the wall's clock.

    Attributes
    ----------
    ends_s : float64[n]
        Epoch seconds at which each span ends; the last pace goes on.
    pace : float64[n]
        Seconds of steps over what the profile gives them.
    """

    ends_s: np.ndarray
    pace: np.ndarray

    @classmethod
    def of(cls, looks: np.ndarray) -> Pace:
        """From looks (epoch s, busy s so far, profiled s so far), spans of at least `SPAN_S` of work."""
        kept = [looks[0]]
        for look in looks[1:]:
            if look[2] - kept[-1][2] >= SPAN_S:
                kept.append(look)
        if len(kept) == 1:
            kept.append(looks[-1])
        at_s, busy_s, profiled_s = np.array(kept).T
        return cls(at_s[1:], np.diff(busy_s) / np.diff(profiled_s))

    def mean(self, begin_s: float, end_s: float) -> float:
        """Wall seconds over operational ones between two times."""
        begun, ended = self.to_operational(np.array([begin_s, end_s]))
        return float((end_s - begin_s) / (ended - begun))

    def _knots(self) -> tuple[np.ndarray, np.ndarray]:
        """Wall and operational seconds at the ends of spans, a day before and after as well."""
        wall_s = np.concatenate(
            [[self.ends_s[0] - 86_400.0], self.ends_s, [self.ends_s[-1] + 86_400.0]]
        )
        paces = np.append(self.pace, self.pace[-1])
        return wall_s, np.concatenate([[0.0], np.cumsum(np.diff(wall_s) / paces)])

    def to_operational(self, wall_s: np.ndarray) -> np.ndarray:
        """Epoch seconds as operational seconds."""
        return np.interp(wall_s, *self._knots())

    def to_wall(self, operational_s: np.ndarray) -> np.ndarray:
        """The way back."""
        wall_s, knots = self._knots()
        return np.interp(operational_s, knots, wall_s)


class PaceWatch:
    """Looks at a tier's metrics in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._looks: list[tuple[float, float, float]] = []
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._url) as http:
            while not self._stopping.wait(LOOK_S):
                text = http.get("/metrics").text
                self._looks.append((time.time(), _sum(text, "busy"), _sum(text, "profiled")))

    def pace(self, begin_s: float = 0.0) -> Pace:
        """The pace since then."""
        return Pace.of(np.array([look for look in self._looks if look[0] >= begin_s]))


def _sum(text: str, kind: str) -> float:
    found = re.search(rf"^tidegate_unit_{kind}_seconds_total.* (\S+)$", text, re.M)
    assert found is not None, text
    return float(found[1])


def played_at_pace(
    profile: GenerativeProfile, trace: RequestBatch, pace: Pace
) -> tuple[np.ndarray, np.ndarray]:
    """TTFT and TPOT of each request on one unit of this profile at this pace, by the kernel, s."""
    arrival_u = pace.to_operational(trace.arrival_s)
    moved = RequestBatch(trace.service, arrival_u, trace.prompt_tokens, trace.output_tokens)
    played = simulate(profile, moved, 1)
    first_s = pace.to_wall(arrival_u + played.ttft_s)
    last_s = pace.to_wall(arrival_u + played.latency_s)
    gaps = np.where(trace.output_tokens > 1, trace.output_tokens - 1.0, np.nan)
    return first_s - trace.arrival_s, (last_s - first_s) / gaps
