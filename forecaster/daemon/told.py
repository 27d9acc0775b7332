"""What others say of their own answers: the model server's histograms, or the lines of a request log."""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import SLOT_S
from forecaster.domain.reported import Reported
from forecaster.domain.service import Service, Slo
from forecaster.store import Store
from forecaster.store.rows import Served

LONGEST_S = 900
"""An answer that takes longer is not found again when the minute closes in which it ended."""


def outside_told(store: Store, service: Service, from_s: float, to_s: float) -> Reported:
    """What is told of the minutes that start in ``[from_s, to_s)``.

    Lines of a log are judged here, by the SLO of now, and kept beside what histograms say: whoever asks for
    them later asks in one place. A little of the past is judged again, as lines come late.
    """
    if not service.metered:
        begin_s = int(from_s) // SLOT_S * SLOT_S - LONGEST_S
        logged = store.served(service.name, begin_s - LONGEST_S, to_s, logged=True)
        found = ended(logged, service.slo).clipped(begin_s, to_s)
        if found.start_s.size:
            store.meters.report(service.name, (begin_s, int(to_s)), found)
    return store.meters.reported(service.name, from_s, to_s)


def ended(logged: Served, slo: Slo) -> Reported:
    """Requests by the minute in which they ended."""
    answers = logged.answers
    counts, outside = answers.judged(slo)
    took_s = np.where(answers.latency_s >= 0, answers.latency_s, np.fmax(answers.ttft_s, 0.0))
    minute = ((logged.arrival_s + took_s)[counts] // SLOT_S).astype(np.int64)
    starts, which = np.unique(minute, return_inverse=True)
    requests = np.bincount(which, minlength=starts.size).astype(np.float64)
    late = np.bincount(which, outside[counts], minlength=starts.size).astype(np.float64)
    return Reported(starts * SLOT_S, requests, late)
