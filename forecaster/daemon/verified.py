"""How the forecasts of one service did: what was foretold beside what came."""

from __future__ import annotations

from typing import Any

from forecaster.domain.errors import DataError
from forecaster.domain.profile import Profile
from forecaster.domain.service import Service
from forecaster.seasonal.verify import Accuracy, accuracy
from forecaster.store import Store

DAY_S = 86_400.0
DAYS = 14.0
"""How far back forecasts are verified unless asked otherwise."""


def verified(
    store: Store, service: Service, profile: Profile | None, days: float = DAYS
) -> Accuracy:
    """Hold the forecasts of the `days` before the newest one to the demand that came.

    Raises
    ------
    DataError
        For an unknown service.
    """
    found = store.learning.foretold(service.name, days * DAY_S)
    if not found:
        store.slots(service.name, 0.0, 0.0)  # an unknown service is said to be one
        return Accuracy((), 0, "")
    last = found[-1]
    alike = [each for each in found if (each.load, each.slot_s) == (last.load, last.slot_s)]
    try:
        series = store.demand(
            service.name,
            from_s=alike[0].start_s // last.slot_s * last.slot_s,
            slot_s=last.slot_s,
            log_sample=service.log_sample,
            profile=profile if last.load else None,
        )
    except DataError:  # nothing came since
        return Accuracy((), sum(len(each.slots) for each in alike), "")
    came = series.work_s if series.work_s.size else series.arrivals
    return accuracy(alike, series.start_s, series.slot_s, came / series.slot_s)


def accuracy_to_dict(service: str, found: Accuracy) -> dict[str, Any]:
    """Plain values for the API and the command line."""
    return {
        "service": service,
        "drift": bool(found.drift),
        "why": found.drift,
        "pending": found.pending,
        "leads": [
            {
                "lead_s": each.lead_s,
                "verified": each.verified,
                "wape": each.wape,
                "bias": each.bias,
                "pinball_99": each.pinball,
                "coverage": {f"{level:g}": share for level, share in each.coverage},
            }
            for each in found.leads
        ],
    }
