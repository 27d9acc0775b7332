"""What of a series is known: silence, what fills it later, and slots that were seen in part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecaster.domain.demand import DemandSeries, FloatArray


def known_until(series: DemandSeries, until_s: float) -> DemandSeries:
    """The series without slots that end after a moment: of those a part may be known, which is no demand.

    Examples
    --------
    >>> from forecaster.domain.demand import TokenMix
    >>> each, none = np.array([5.0, 6.0, 2.0]), np.zeros(0)
    >>> series = DemandSeries("s", 0.0, 60.0, each, none, none, TokenMix.of(1, 1), 1.0)
    >>> known_until(series, 150.0).arrivals.tolist()
    [5.0, 6.0, nan]
    """
    ends_s = series.start_s + series.slot_s * np.arange(1, series.arrivals.size + 1)
    unknown = ends_s > until_s
    if not unknown.any():
        return series

    def masked(values: FloatArray) -> FloatArray:
        return np.where(unknown, np.nan, values) if values.size else values

    return replace(
        series, arrivals=masked(series.arrivals), prompt_tokens=masked(series.prompt_tokens),
        output_tokens=masked(series.output_tokens), work_s=masked(series.work_s),
    )  # fmt: skip


def silent_slots(series: DemandSeries) -> FloatArray:
    """Starts of the slots of which nothing is known, epoch seconds."""
    return np.asarray(series.start_s + series.slot_s * np.flatnonzero(np.isnan(series.arrivals)))


def filled(series: DemandSeries, silent_s: FloatArray) -> bool:
    """Whether requests came to be known in slots that were silent.

    Examples
    --------
    >>> from forecaster.domain.demand import TokenMix
    >>> none = np.zeros(0)
    >>> def seen(*counts: float) -> DemandSeries:
    ...     return DemandSeries("s", 0.0, 60.0, np.array(counts), none, none, TokenMix.of(1, 1), 1.0)
    >>> silent_s = silent_slots(seen(5, np.nan, np.nan, 4))
    >>> silent_s.tolist(), filled(seen(5, np.nan, np.nan, 4), silent_s), filled(seen(5, 6, 3, 4), silent_s)
    ([60.0, 120.0], False, True)
    """
    at = np.round((silent_s - series.start_s) / series.slot_s).astype(int)
    at = at[(at >= 0) & (at < series.arrivals.size)]
    return bool((series.arrivals[at] > 0).any())
