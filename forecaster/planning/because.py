"""Why this number of units: the counterfactual, and when it was ordered, in one sentence."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from forecaster.domain.plan import Reason, SlotPlan

_BY_LOAD = (Reason.LOAD, Reason.STEP, Reason.COMING_LOAD)


def because(
    slot: SlotPlan, fewer: str, ordered_s: float | None, lead_time_s: float, timezone: str
) -> str:
    """Say why a slot has its units.

    Parameters
    ----------
    slot : SlotPlan
        The slot that decides.
    fewer : str
        What one unit fewer than needed would do, a clause.
    ordered_s : float or None
        When its last unit was ordered, epoch seconds.
    lead_time_s : float
        Measured 90th percentile from order to readiness.

    Examples
    --------
    >>> from forecaster.domain.plan import Binding
    >>> slot = SlotPlan(
    ...     1_767_250_800.0, 40.0, 46.0, 9.1, 11, 11, 0.002, Reason.LOAD, Binding.TTFT
    ... )
    >>> because(slot, "with 10 the p99 TTFT would be 0.64 s, SLO 0.5 s", 1_767_250_620.0, 171.0, "UTC")
    '11 units at 07:00: with 10 the p99 TTFT would be 0.64 s, SLO 0.5 s; ordered 06:57, lead p90 171 s'
    """
    text = f"{slot.hold_units} units at {_clock(slot.start_s, timezone)}: "
    if slot.refused_units:
        text += f"{slot.refused_units} more are refused, others go first; "
    if slot.reason in _BY_LOAD:
        text += fewer
    else:
        text += f"{slot.reason.value.replace('_', ' ')}; the load needs {slot.need_units} ({fewer})"
    if ordered_s is not None:
        text += f"; ordered {_clock(ordered_s, timezone)}"
    return f"{text}, lead p90 {lead_time_s:.0f} s"


def _clock(time_s: float, timezone: str) -> str:
    return datetime.fromtimestamp(time_s, ZoneInfo(timezone)).strftime("%H:%M")
