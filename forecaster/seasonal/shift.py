"""Changes of level: what to believe when the last hour missed by more than a slot ever should."""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.bank import HALF_LIVES_S
from forecaster.seasonal.member import DAY_S

SHIFT_MEMORY_S = 3600.0
"""Memory of the residual bank that a change of level shows in."""
SHIFT_BELIEF = 1.5
"""A deviation three times the usual most is believed in full."""
SHIFT_HALF_LIFE_DAYS = 1.0
"""By then the season has learnt the new level, or it has gone."""


def level_shift(bank: FloatArray, usual: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A new level, and how far it is believed.

    No history of small deviations teaches what to do with a large one: a mean of the last hour that
    lies beyond the outermost quantiles of a single slot is taken at its word, as far as it lies
    beyond them.

    Parameters
    ----------
    bank : float64[5, N]
        Residual bank.
    usual : float64[2, N]
        Lowest and highest error that a slot usually has, z.

    Returns
    -------
    new : float64[N]
        The deviation that the last hour stands for, z.
    share : float64[N]
        How far it is believed, 0..1; 0 as long as things are usual.

    Examples
    --------
    >>> bank = np.array([[0.0], [0.0], [0.9], [0.0], [0.0]])
    >>> new, share = level_shift(bank, np.array([[-0.6], [0.6]]))
    >>> new.item(), round(share.item(), 3)  # a third of it is unusual
    (0.9, 0.5)
    """
    hour = bank[HALF_LIVES_S.index(SHIFT_MEMORY_S)]
    expected = np.clip(hour, usual[0], usual[1])
    share = np.abs(hour - expected) / np.maximum(np.abs(hour), 1e-9)
    return hour, np.minimum(share * SHIFT_BELIEF, 1.0)


def fading(ahead_s: FloatArray) -> FloatArray:
    """Share of a new level that is left so many seconds ahead."""
    return np.asarray(0.5 ** (ahead_s / DAY_S / SHIFT_HALF_LIFE_DAYS))
