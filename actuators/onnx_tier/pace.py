"""How fast units work beside what their profile says: a busy neighbour or a slow machine shows here first."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from actuators.onnx_tier.wire import Header
from forecaster.domain.profile import ClassicProfile, GenerativeProfile


def step_s(profile: GenerativeProfile, b: int, ctx: int, reads: int, p: int) -> float:
    """Seconds that the profile gives one step; the terms are those of `GenerativeProfile`.

    Examples
    --------
    >>> step_s(GenerativeProfile(0.1, 0.01, 0.0, 0.001, delta_s=0.5), b=2, ctx=90, reads=1, p=20)
    0.64
    """
    decoding_s = profile.alpha_s + profile.beta_s * b + profile.kappa_s * ctx if b else 0.0
    return decoding_s + profile.delta_s * reads + profile.gamma_s * p + profile.gamma2_s * p * p


def pass_s(profile: ClassicProfile, rows: int) -> float:
    """Seconds that the profile gives a pass over `rows` rows; beyond its last point it goes on as it ended.

    Examples
    --------
    >>> [round(pass_s(ClassicProfile(((1, 1.0), (3, 2.0))), rows), 2) for rows in (1, 2, 6)]
    [1.0, 1.5, 4.0]
    """
    curve = profile.batch_latency_s
    for (low, low_s), (high, high_s) in pairwise(curve):
        if rows <= high:
            return low_s + (high_s - low_s) * (rows - low) / (high - low)
    return curve[-1][1] * rows / curve[-1][0]


@dataclass(slots=True)
class Pace:
    """Seconds of steps by service: as they were and as profiled.

    Attributes
    ----------
    busy_s, profiled_s : dict of str to float
        Sums since the tier started, over all units that ever were.
    """

    busy_s: dict[str, float] = field(default_factory=dict)
    profiled_s: dict[str, float] = field(default_factory=dict)

    def add(self, service: str, beat: Header) -> None:
        """Count what a heartbeat tells."""
        for sums, key in ((self.busy_s, "busy_s"), (self.profiled_s, "profiled_s")):
            sums[service] = sums.get(service, 0.0) + beat.get(key, 0.0)
