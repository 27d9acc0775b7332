"""Which unit is overdue, and for what: a pure rule over its times."""

from __future__ import annotations

from enum import Enum

from actuators.onnx_tier.fleet import Unit
from actuators.onnx_tier.spec import TierSpec
from forecaster.domain.lifecycle import UnitState

_LOADING_STATES = frozenset({UnitState.STARTING, UnitState.LOADING})
_BEATING_STATES = frozenset({UnitState.WARMING, UnitState.READY, UnitState.DRAINING})


HANG_STEPS = 20.0
"""A unit that is silent for so many of its longest steps hangs: less may be a machine that others keep busy."""


class Overdue(Enum):
    """What a unit should have done by now."""

    LOAD = "load"
    """Created its session: it fails."""
    HEARTBEAT = "heartbeat"
    """Given a sign of life: it hangs, and fails."""
    DRAIN = "drain"
    """Answered its last request: it is ended all the same."""
    EXIT = "exit"
    """Ended by itself after it was told to: it is killed."""


def overdue(unit: Unit, now_s: float, spec: TierSpec) -> Overdue | None:
    """Say what `unit` is overdue for at `now_s` (monotonic seconds), if anything."""
    in_state_s = now_s - unit.entered_s
    if unit.state in _LOADING_STATES:
        return Overdue.LOAD if in_state_s > spec.load_deadline_s else None
    if unit.state is UnitState.DRAINING and unit.released:
        return Overdue.EXIT if now_s > unit.ends_s else None
    if unit.state not in _BEATING_STATES:
        return None
    if now_s - unit.heard_s > silence_s(unit, spec):
        return Overdue.HEARTBEAT
    drain_deadline_s = unit.service.unit_type.drain_deadline_s
    if unit.state is UnitState.DRAINING and in_state_s > drain_deadline_s:
        return Overdue.DRAIN
    return None


def silence_s(unit: Unit, spec: TierSpec) -> float:
    """Seconds without a sign of life after which `unit` is taken for hung."""
    return max(spec.heartbeat_timeout_s, HANG_STEPS * unit.service.unit_type.profile.longest_s)
