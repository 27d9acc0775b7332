"""From sums per minute to a regular series that forecasters can learn from."""

from __future__ import annotations

import numpy as np

from forecaster.demand.binning import between
from forecaster.demand.dispersion import dispersion
from forecaster.demand.gaps import missing_slots
from forecaster.demand.mix import token_mix
from forecaster.demand.work import slot_work_s
from forecaster.domain.demand import SLOT_S, DemandSeries, FloatArray, SlotSums
from forecaster.domain.errors import DataError, SettingError
from forecaster.domain.profile import Profile

PARTIAL_ABOVE_ARRIVALS = 3.0
"""A slot at the edge of the log is partial when the unseen rest of it would have brought more."""


def to_series(
    service: str,
    slots: SlotSums,
    from_s: float | None = None,
    to_s: float | None = None,
    *,
    slot_s: float = 300.0,
    log_sample: float = 1.0,
    profile: Profile | None = None,
    bursts: bool = True,
) -> DemandSeries:
    """Put sums per minute on a regular grid of `slot_s`.

    Parameters
    ----------
    service : str
        Name of the service.
    slots : SlotSums
        Its demand, slots of 60 s.
    from_s, to_s : float or None
        Range, epoch seconds; only slots that lie wholly inside are kept. None: from the first to
        the last arrival, less a slot of which the log saw only a part (the rest of it would have
        brought more than three arrivals at the slot's own rate).
    slot_s : float
        Slot length in seconds, a multiple of 60; slots start at multiples of it.
    log_sample : float
        Share of the requests that the log keeps, 0 < share <= 1; sums are divided by it.
    profile : Profile or None
        Unit whose busy seconds are the work of each slot.
    bursts : bool
        Whether the dispersion is asked for; else it is said to be 1.

    Returns
    -------
    DemandSeries
        Empty runs in which the service usually has more than 20 arrivals are NaN, others 0.

    Raises
    ------
    DataError
        When no whole slot is left.
    SettingError
        When `slot_s` or `log_sample` is out of range.
    """
    _check(slot_s, log_sample)
    if not slots.start_s.size:
        raise DataError(f"service {service!r} has no requests in range", "ingest its request log")
    first = _first_slot(slots, slot_s) if from_s is None else int(np.ceil(from_s / slot_s))
    end = _end_slot(slots, slot_s) if to_s is None else int(np.floor(to_s / slot_s))
    if end <= first:
        raise DataError(
            f"service {service!r} has no whole slot of {slot_s:g} s in range",
            "ask for a longer range or a shorter slot",
        )
    inside = between(slots, first * slot_s, end * slot_s)
    index = (inside.start_s // int(slot_s)) - first

    def on_grid(values: np.ndarray) -> FloatArray:
        sums = np.bincount(index, weights=values.astype(np.float64), minlength=end - first)
        return np.asarray(sums / log_sample, np.float64)

    arrivals = on_grid(inside.arrivals)
    prompt, output = on_grid(inside.prompt_tokens), on_grid(inside.output_tokens)
    # The rule counts logged arrivals: a sampled log has seen fewer of them.
    missing = missing_slots(arrivals * log_sample, first * slot_s, slot_s)
    work_s = np.zeros(0) if profile is None else on_grid(slot_work_s(inside, profile))
    for values in (arrivals, prompt, output, *([work_s] if work_s.size else [])):
        values[missing] = np.nan
    return DemandSeries(
        service=service,
        start_s=first * float(slot_s),
        slot_s=float(slot_s),
        arrivals=arrivals,
        prompt_tokens=prompt,
        output_tokens=output,
        mix=token_mix(inside),
        dispersion=dispersion(inside) if bursts else 1.0,
        work_s=work_s,
    )


def last_arrival_s(slots: SlotSums) -> float:
    """End of the last second with an arrival, epoch seconds."""
    return float(slots.start_s[-1] + np.flatnonzero(slots.counts_1s[-1])[-1] + 1)


def _first_slot(slots: SlotSums, slot_s: float) -> int:
    begin_s = float(slots.start_s[0] + np.flatnonzero(slots.counts_1s[0])[0])
    index = int(begin_s // slot_s)
    seen_s = (index + 1) * slot_s - begin_s
    return index + _partial(slots, index, slot_s, seen_s)


def _end_slot(slots: SlotSums, slot_s: float) -> int:
    end_s = last_arrival_s(slots)
    index = int(np.ceil(end_s / slot_s)) - 1
    seen_s = end_s - index * slot_s
    return index + 1 - _partial(slots, index, slot_s, seen_s)


def _partial(slots: SlotSums, index: int, slot_s: float, seen_s: float) -> int:
    """1 when the unseen part of the slot would have brought arrivals, else 0."""
    seen = float(between(slots, index * slot_s, (index + 1) * slot_s).arrivals.sum())
    return int(seen / seen_s * (slot_s - seen_s) > PARTIAL_ABOVE_ARRIVALS)


def _check(slot_s: float, log_sample: float) -> None:
    if slot_s < SLOT_S or slot_s % SLOT_S:
        raise SettingError("slot_s", slot_s, "a multiple of 60 s", "use 60, 300, 600 ...")
    if not 0 < log_sample <= 1:
        raise SettingError("log_sample", log_sample, "0 < share <= 1", "use 1 for a whole log")
