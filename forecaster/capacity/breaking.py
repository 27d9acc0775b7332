"""What breaks first when a fleet gets more than it carries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecaster.capacity import generative
from forecaster.capacity.generative import Load
from forecaster.capacity.sizing import Question, violations
from forecaster.domain.demand import FloatArray
from forecaster.domain.plan import Binding
from forecaster.domain.profile import ClassicProfile

PARTS = (Binding.TTFT, Binding.TPOT, Binding.LATENCY)
EASED = 0.5
"""Where unlimited slots would leave less than this share of the violations, it is the slots."""
FEW = 0.5
"""Parts that break for less than this many times the allowed share are not what binds."""
UNLIMITED = 1 << 30


def first_broken(
    question: Question, units: int, rate_rps: float, shares: FloatArray, allowed: float
) -> Binding:
    """Name what breaks at a load just above what `units` carry.

    The part that most requests break, counted on the kernel. Requests that wait do so for reading or
    for a slot: the formula without a limit on slots tells these apart.

    Parameters
    ----------
    rate_rps : float
        That load.
    shares : float64[3]
        Share outside TTFT, TPOT, latency there.
    allowed : float
        Share that may be outside.
    """
    worst = PARTS[int(np.argmax(shares))]
    if shares.max() < FEW * allowed:
        return _slots(question, units, rate_rps) or Binding.STABILITY
    if worst is Binding.TPOT:
        return worst
    return _slots(question, units, rate_rps) or worst


def _slots(question: Question, units: int, rate_rps: float) -> Binding | None:
    """KV or BATCH where requests wait because all slots are taken."""
    profile = question.unit.profile
    if isinstance(profile, ClassicProfile):
        return None
    state = generative.mean_state(profile, Load(rate_rps / units, units, question.mix))
    limit = Binding.KV if state.kv_bound else Binding.BATCH
    free = replace(profile, max_batch=UNLIMITED, kv_tokens=UNLIMITED)
    eased = replace(question, unit=replace(question.unit, profile=free))
    with_slots, without = (_waiting(each, rate_rps, units) for each in (question, eased))
    return limit if without < EASED * with_slots else None


def _waiting(question: Question, rate_rps: float, units: int) -> float:
    parts = violations(question, rate_rps, units)
    parts.pop(Binding.TPOT, None)
    return sum(parts.values())
