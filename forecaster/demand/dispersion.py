"""Index of dispersion of counts: how much burstier than Poisson the arrivals are."""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import SLOT_S, FloatArray, SlotSums

BIN_WIDTHS_S = (1, 10, 60)
"""Widths at which dispersion is reported, seconds."""

_SLOTS_MOST = 28 * 1440
_ARRIVALS_PER_BLOCK = 400
_SLOTS_PER_BLOCK = 120
_EMPTY_RUN_MOST = 5


def dispersion(slots: SlotSums, bin_s: int = 10) -> float:
    """Return variance / mean of the counts in bins of `bin_s` seconds, the slow rate removed.

    Each bin is compared with the same second of the minutes before and after,
    ``d = x[-1] - 2*x[0] + x[+1]``, whose variance is six times that of `x`: any rate that is
    straight over three minutes cancels, and bursts of up to half a minute do not. The ratio
    ``sum(d^2)/6 / sum(x)`` is formed per block of two hours and 400 arrivals or more (the median of
    a chi-square is then within 1 % of its mean), and the median over blocks is returned, so that one flash crowd does not speak for the month.

    Parameters
    ----------
    slots : SlotSums
        Demand of one service; the last 28 days are used.
    bin_s : int
        Bin width in seconds, a divisor of 60.

    Returns
    -------
    float
        1 for Poisson and where too little is known (no three minutes in a row).

    References
    ----------
    D. R. Cox and P. A. W. Lewis, The Statistical Analysis of Series of Events, 1966, ch. 4
    (index of dispersion); J. von Neumann et al., 1941 (variance from successive differences).
    """
    counts = _dense_runs(slots)
    squares, sums = [], []
    for run in counts:
        bins = run.reshape(run.shape[0], SLOT_S // bin_s, bin_s).sum(axis=2)
        change = bins[:-2] - 2 * bins[1:-1] + bins[2:]
        squares.append((change * change).sum(axis=1) / 6)
        sums.append((bins[:-2] + bins[1:-1] + bins[2:]).sum(axis=1) / 3)
    if not squares:
        return 1.0
    return _median_ratio(np.concatenate(squares), np.concatenate(sums))


def dispersions(slots: SlotSums) -> dict[int, float]:
    """Dispersion at 1, 10 and 60 s."""
    return {width_s: dispersion(slots, width_s) for width_s in BIN_WIDTHS_S}


def _dense_runs(slots: SlotSums) -> list[FloatArray]:
    """Counts per second of runs of at least three slots; short empty stretches are zeros."""
    start = slots.start_s[-_SLOTS_MOST:] // SLOT_S
    counts = slots.counts_1s[-_SLOTS_MOST:]
    if not start.size:
        return []
    breaks = np.flatnonzero(np.diff(start) > _EMPTY_RUN_MOST + 1) + 1
    runs = []
    for where in np.split(np.arange(start.size), breaks):
        first, last = start[where[0]], start[where[-1]]
        if last - first < 2:
            continue
        dense = np.zeros((int(last - first) + 1, SLOT_S))
        dense[start[where] - first] = counts[where]
        runs.append(dense)
    return runs


def _median_ratio(squares: FloatArray, sums: FloatArray) -> float:
    """Median over blocks of about equal arrivals of the ratio of the sums."""
    total = float(sums.sum())
    if total <= 0:
        return 1.0
    blocks = max(1, min(int(total // _ARRIVALS_PER_BLOCK), sums.size // _SLOTS_PER_BLOCK))
    share = np.cumsum(sums) / total
    edges = np.searchsorted(share, np.arange(blocks) / blocks, side="right")
    edges = np.unique(np.minimum(edges, sums.size - 1))
    block_sums = np.add.reduceat(sums, edges)
    block_squares = np.add.reduceat(squares, edges)
    useful = block_sums > 0
    return float(np.median(block_squares[useful] / block_sums[useful]))
