"""Budget steering: behind target buys more, ahead of it buys less, never without bound."""

import numpy as np
import pytest

from forecaster.daemon.live import STEERING_WINDOW, Steering
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.plan import Binding
from forecaster.domain.service import Slo
from forecaster.domain.units import RequestRecord
from forecaster.planning.policy import Policy
from forecaster.planning.steering import LEAST, MOST, steer
from forecaster.planning.tide import Ladder, tide_table


def records(count: int, late: int, status: int = 200) -> list[RequestRecord]:
    return [
        RequestRecord(
            "t", i, "s", 0.0, 1, 1, 2.0 if i < late else 0.1, float("nan"), 0.1, "u", status
        )
        for i in range(count)
    ]


def test_behind_target_less_is_believed_and_ahead_more() -> None:
    assert steer(0.9, 190, 200, 0.99) < 0.9 < steer(0.9, 200, 200, 0.99)


@pytest.mark.parametrize("start", [0.5, 0.8, 1.0])
def test_belief_stays_in_bounds_and_settles(start: float) -> None:
    worst = best = start
    for _ in range(60):
        worst, best = steer(worst, 0, 200, 0.99), steer(best, 200, 200, 0.99)
    assert (worst, best) == (LEAST, MOST)
    assert steer(start, 0, 0, 0.99) == start


def test_only_whole_windows_move_it_and_client_mistakes_never() -> None:
    steering = Steering(Slo(ttft_p99_s=1.0), 0.9)
    steering.add(records(STEERING_WINDOW - 1, late=50))
    assert steering.believed == 0.9
    steering.add(records(50, late=0, status=404))
    assert steering.believed == 0.9
    steering.add(records(1, late=0))
    assert steering.believed < 0.9


def test_refused_requests_count_against_it() -> None:
    steering = Steering(Slo(ttft_p99_s=1.0), 0.9)
    steering.add(records(STEERING_WINDOW, late=0, status=503))
    assert steering.believed < 0.7


def test_need_never_falls_as_belief_falls() -> None:
    rates = np.repeat(np.linspace(1, 90, 50)[:, None], 2, axis=1)
    forecast = QuantileForecast("s", 0.0, 60.0, (0.1, 0.9), rates, rates, 0.0, "t")
    steps = Ladder(10.0 * np.arange(1, 31), (Binding.NONE,) * 30, 0.1)
    needs = [
        [slot.need_units for slot in tide_table(forecast, steps, Policy(believed=b), 0).slots]
        for b in (0.5, 0.7, 0.9, 1.0)
    ]
    for lean, generous in zip(needs[1:], needs, strict=False):
        assert all(g >= n for g, n in zip(generous, lean, strict=True))
    assert needs[0] != needs[-1]
