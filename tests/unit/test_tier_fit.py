"""The step-time fit finds the coefficients that made the times, and never a negative one."""

from __future__ import annotations

import numpy as np

from actuators.onnx_tier.profiler import fit_step_time


def _grid() -> np.ndarray:
    reads = {0: (0,), 32: (1, 3), 128: (1, 2)}
    cells = [
        (b, b * c, r, p)
        for b in (0, 1, 4, 16)
        for c in (16, 400)
        for p in (0, 32, 128)
        for r in reads[p]
    ]
    return np.array([cell for cell in cells if cell[0] or cell[3]], np.float64)


def test_exact_times_give_exact_coefficients() -> None:
    cells = _grid()
    truth = np.array([4e-4, 5e-5, 6e-7, 3e-4, 4e-5, 1e-7])
    b, ctx, reads, p = cells.T
    seconds = np.stack([b > 0, b, ctx, reads, p, p * p], 1) @ truth
    np.testing.assert_allclose(fit_step_time(cells, seconds), truth, rtol=1e-6)


def test_noise_never_makes_a_coefficient_negative() -> None:
    cells = _grid()
    random = np.random.default_rng(0)
    for _ in range(20):
        seconds = 1e-3 * random.lognormal(0, 0.5, len(cells))
        assert (fit_step_time(cells, seconds) >= 0).all()
