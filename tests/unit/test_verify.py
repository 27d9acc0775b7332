"""Forecasts beside what came: error and coverage by lead, and drift when the promise breaks."""

import numpy as np

from forecaster.seasonal.verify import Foretold, accuracy

SLOT_S = 300.0
LEVELS = (0.05, 0.5, 0.95)
DAYS = 6


def foretold(
    came: np.ndarray, wrong: np.ndarray, slots: tuple[int, ...] = (0, 11)
) -> list[Foretold]:
    """A forecast every 15 minutes, its median `wrong` times what came, its band 30 % around it."""
    found = []
    for at in range(0, came.size - 12, 3):
        centre = came[[at + slot for slot in slots]] * wrong[at]
        said = centre[:, None] * np.array([0.7, 1.0, 1.3])
        found.append(Foretold(at * SLOT_S, at * SLOT_S, SLOT_S, 1, False, slots, LEVELS, said))
    return found


def demand(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(50, 150, DAYS * 288)


def test_error_and_coverage_by_lead() -> None:
    came = demand()
    wrong = np.where(np.arange(came.size) % 2 == 0, 1.1, 0.9)
    found = accuracy(foretold(came, wrong), 0.0, SLOT_S, came)
    assert [each.lead_s for each in found.leads] == [300, 3600]
    for each in found.leads:
        np.testing.assert_allclose(each.wape, 0.1, rtol=1e-6)
        assert abs(each.bias) < 0.01
        assert dict(each.coverage) == {0.05: 0.0, 0.5: 0.5, 0.95: 1.0}
    assert found.drift == ""
    assert found.pending == 0


def test_what_has_not_come_is_pending_and_what_is_missing_is_nothing() -> None:
    came = demand()
    said = foretold(came, np.ones(came.size))
    came[300:600] = np.nan
    known = came[: 4 * 288]
    found = accuracy(said, 0.0, SLOT_S, known)
    assert found.leads[0].verified == len(
        [s for s in range(0, known.size, 3) if not 300 <= s < 600]
    )
    assert found.pending > 2 * 2 * 90


def test_a_broken_promise_is_drift() -> None:
    came = demand()
    low = np.where(np.arange(came.size) >= 4 * 288, 0.6, 1.0)
    found = accuracy(foretold(came, low), 0.0, SLOT_S, came)
    assert "below the 0.95 quantile" in found.drift


def test_errors_that_grow_are_drift_before_the_promise_breaks() -> None:
    came = demand()
    far = np.where(np.arange(came.size) >= 4 * 288, 1.25, 1.02)
    found = accuracy(foretold(came, far), 0.0, SLOT_S, came)
    assert "in the last two days, 0.020 before" in found.drift


def test_few_forecasts_tell_no_drift() -> None:
    came = demand()
    found = accuracy(foretold(came, np.full(came.size, 0.5))[:30], 0.0, SLOT_S, came)
    assert found.drift == ""
