"""Measured over predicted: how much of its predicted capacity a unit shows, learnt from its requests.

A profile is measured on a quiet unit, a table is made for one mix; a busy machine, a shared GPU or
another mix carries less or more. With the units that were ready and the load that came, the table
predicts the share outside the SLO at any such factor, and the requests say which factor is likely:
a posterior on a grid of factors. Hours in which nothing was outside and nothing could be say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from forecaster.domain.demand import FloatArray

FACTORS = np.linspace(0.5, 1.25, 31)
"""A unit that shows more than a quarter above its profile wants a new profile, not belief."""
SPREAD = 0.12
"""Standard deviation of the log factor before anything is measured."""
CLUSTER = 20.0
"""Requests outside come in bunches: this many of them are the evidence of one."""
STRAY = 5e-4
"""Share of requests outside for reasons that no number of units would change."""
HALF_LIFE_S = 86_400.0
"""Evidence fades towards the prior: machines, mixes and neighbours change."""


class Curve(Protocol):
    """Share outside the SLO over units and load."""

    def violation_share(self, units: int, rate_rps: FloatArray) -> FloatArray:
        """Share of the requests outside, of the shape of `rate_rps`."""
        ...


@dataclass(frozen=True)
class Belief:
    """What is believed of measured / predicted capacity.

    Attributes
    ----------
    prior : float
        The factor before anything was measured.
    evidence : tuple of float
        Log likelihood of each of `FACTORS`, up to a constant; empty before the first request.
    """

    prior: float = 1.0
    evidence: tuple[float, ...] = ()

    @cached_property
    def factor(self) -> float:
        """Mean of the posterior, 0.5 to 1.25.

        Examples
        --------
        >>> Belief(0.9).factor
        0.9
        """
        if not self.evidence:
            return self.prior
        log = np.asarray(self.evidence) - 0.5 * (np.log(FACTORS / self.prior) / SPREAD) ** 2
        weight = np.exp(log - log.max())
        return float(weight @ FACTORS / weight.sum())


def learn(
    belief: Belief,
    curve: Curve,
    units: int,
    rate_rps: float,
    requests: float,
    outside: float,
    seconds: float,
) -> Belief:
    """The belief after a stretch of time.

    Parameters
    ----------
    curve : Curve
        The table as it was built, without any correction.
    units : int
        Units that were ready.
    rate_rps : float
        Load that came, in the table's requests/s.
    requests, outside : float
        Requests that were answered or refused, and how many of them outside the SLO.
    seconds : float
        Length of the stretch, clock seconds.
    """
    if requests <= 0 or units <= 0 or rate_rps <= 0:
        return belief
    share = curve.violation_share(units, rate_rps / FACTORS)
    share = STRAY + (1 - 2 * STRAY) * np.clip(share, 0.0, 1.0)
    inside = requests - outside
    likely = (outside * np.log(share) + inside * np.log1p(-share)) / CLUSTER
    before = np.asarray(belief.evidence) if belief.evidence else np.zeros(FACTORS.size)
    evidence = 0.5 ** (seconds / HALF_LIFE_S) * before + likely
    return Belief(belief.prior, tuple((evidence - evidence.max()).tolist()))
