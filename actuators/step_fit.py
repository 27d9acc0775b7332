"""The least-squares fit of every step-time model: no cost is negative, every cell weighs the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def least_relative(design: Floats, seconds: Floats) -> Floats:
    """Fit ``seconds = design @ x`` with ``x >= 0``: the least relative squared error.

    Parameters
    ----------
    design : float64[m, n]
        What each cell did.
    seconds : float64[m]
        How long it took, above 0.

    Returns
    -------
    float64[n]
    """
    from scipy.optimize import nnls  # takes half a second to load, and profiles are kept

    weighted = design / seconds[:, None]
    # Columns of like size keep the solver's active set honest.
    scale = np.maximum(np.abs(weighted).max(axis=0), 1e-300)
    solution, _ = nnls(weighted / scale, np.ones(seconds.size))
    return np.asarray(solution / scale, np.float64)
