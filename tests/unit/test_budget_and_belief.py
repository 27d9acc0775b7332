"""What is learnt from requests: the budget that is left, and what units truly carry."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster.capacity.belief import FACTORS, Belief, learn
from forecaster.daemon.error_budget import BUDGET_DAYS, DAY_S, ErrorBudget
from forecaster.domain.demand import FloatArray
from forecaster.domain.service import Slo
from forecaster.domain.units import RequestRecord
from forecaster.planning.guard import breached

SLO = Slo(ttft_p99_s=1.0)


def records(count: int, late: int, status: int = 200) -> list[RequestRecord]:
    return [
        RequestRecord(
            "t", i, "s", 0.0, 1, 1, 2.0 if i < late else 0.1, float("nan"), 0.1, "u", status
        )
        for i in range(count)
    ]


def test_on_budget_nothing_changes_behind_it_more_is_planned_for() -> None:
    budget = ErrorBudget(SLO)
    assert budget.load_factor(1e5) == 1.0
    assert budget.add(records(1000, late=10), 0.0) == (10, 1000)
    assert budget.load_factor(1e5) == 1.0
    budget.add(records(1000, late=500), 60.0)
    behind = budget.load_factor(1e5)
    assert behind > 1.1
    budget.add(records(5000, late=0), 120.0)
    assert 1 < budget.load_factor(1e5) < behind


def test_slack_is_not_spent_but_too_much_care_is() -> None:
    """Whole units leave slack that was foreseen; a planner that foresaw worse may plan for less."""
    slack, careful = ErrorBudget(SLO), ErrorBudget(SLO)
    slack.add(records(20_000, late=0), 0.0, foreseen=0.5)
    careful.add(records(20_000, late=0), 0.0, foreseen=150.0)
    assert slack.load_factor(1e5) == pytest.approx(1.0, abs=1e-3)
    assert careful.load_factor(1e5) < 0.9


def test_client_mistakes_do_not_count_and_refusals_do() -> None:
    budget = ErrorBudget(SLO)
    assert budget.add(records(50, late=0, status=404), 0.0) == (0, 0)
    assert budget.add(records(50, late=0, status=503), 0.0) == (50, 50)


def test_days_are_forgotten_after_a_week_and_survive_a_restart() -> None:
    budget = ErrorBudget(SLO)
    budget.add(records(100, late=100), 0.0)
    again = ErrorBudget(SLO, budget.days)
    assert again.load_factor(1e4) == budget.load_factor(1e4) > 1
    again.add(records(1, late=0), BUDGET_DAYS * DAY_S)
    assert again.load_factor(1e4) == pytest.approx(1.0, abs=0.01)
    assert len(again.days) == 1


class Cliff:
    """A unit carries ten requests/s, and soon none more."""

    def violation_share(self, units: int, rate_rps: FloatArray) -> FloatArray:
        return 1 / (1 + np.exp(-8.0 * (rate_rps / units - 10.0)))


@pytest.mark.parametrize("truth", [0.7, 0.9, 1.1])
def test_belief_finds_what_units_truly_carry(truth: float) -> None:
    rng, belief = np.random.default_rng(3), Belief(0.9)
    for _ in range(300):
        rate = rng.uniform(20, 45)
        share = Cliff().violation_share(4, np.array(rate / truth))
        requests = rng.poisson(rate * 60)
        belief = learn(belief, Cliff(), 4, rate, requests, rng.binomial(requests, share), 60.0)
    assert belief.factor == pytest.approx(truth, abs=0.03)


def test_a_quiet_night_teaches_nothing_and_a_stray_request_little() -> None:
    belief = Belief(0.9)
    for _ in range(100):
        belief = learn(belief, Cliff(), 4, 4.0, 240, 0, 60.0)
    assert belief.factor == pytest.approx(0.9, abs=0.02)
    stray = learn(belief, Cliff(), 4, 4.0, 240, 1, 60.0)
    assert stray.factor == pytest.approx(belief.factor, abs=0.02)
    assert learn(belief, Cliff(), 0, 4.0, 240, 240, 60.0) == belief
    assert learn(belief, Cliff(), 4, 0.0, 0, 0, 60.0) == belief


def test_belief_never_leaves_its_bounds_and_fades() -> None:
    belief = Belief(0.9)
    for _ in range(50):
        belief = learn(belief, Cliff(), 4, 50.0, 3000, 0, 60.0)
    assert FACTORS[-1] >= belief.factor > 1.2
    for _ in range(20):
        belief = learn(belief, Cliff(), 4, 1.0, 60, 0, DAY_S)
    assert belief.factor == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize(
    ("count", "rate", "dispersion", "alarm"),
    [(600, 10.0, 1.0, False), (720, 10.0, 1.0, True), (720, 10.0, 4.0, False), (9, 0.0, 1.0, False), (12, 0.0, 1.0, True)],
)  # fmt: skip
def test_the_guard_knows_noise_from_a_broken_band(
    count: int, rate: float, dispersion: float, alarm: bool
) -> None:
    assert breached(count, 60.0, rate, dispersion) is alarm
