"""Units never fall as load rises or as elasticity falls; the plan keeps its own rules."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.service import Limits
from forecaster.planning.course import lead_slots
from forecaster.planning.policy import Policy
from forecaster.planning.tide import Present, tide_table
from tests.unit.curves import WORK_S, sharp

UNITS = sharp(7.0, 45)
rates = st.lists(st.floats(0, 300), min_size=3, max_size=60)
policies = st.builds(
    lambda low, span, step, e, lead, drain: Policy(
        Limits(low * step, (low + span) * step, step), e, 100.0, 1.0, lead, 60.0, drain
    ),
    st.integers(0, 3), st.integers(1, 12), st.integers(1, 3), st.floats(0, 1),
    st.floats(1, 900), st.floats(0, 1800),
)  # fmt: skip


def holds(values: np.ndarray, policy: Policy, present: int = 0) -> np.ndarray:
    table = np.repeat(values[:, None], 2, axis=1)
    forecast = QuantileForecast("s", 0.0, 60.0, (0.1, 0.9), table, table * WORK_S, 0.0, "t")
    plan = tide_table(forecast, UNITS, policy, Present(present))
    return np.array([slot.hold_units for slot in plan.slots])


@settings(max_examples=100, deadline=None)
@given(rates, policies, st.floats(1, 2), st.integers(0, 40))
def test_units_never_fall_as_load_rises(
    values: list[float], policy: Policy, factor: float, present: int
) -> None:
    low = np.asarray(values)
    assert (holds(low * factor, policy, present) >= holds(low, policy, present)).all()


@settings(max_examples=100, deadline=None)
@given(rates, policies, st.floats(0, 1))
def test_units_never_fall_as_elasticity_falls(
    values: list[float], policy: Policy, other: float
) -> None:
    low, high = sorted((policy.elasticity, other))
    less, more = (holds(np.asarray(values), replace(policy, elasticity=e)) for e in (low, high))
    assert (less >= more).all()


@settings(max_examples=100, deadline=None)
@given(rates, policies, st.integers(0, 60))
def test_limits_and_steps_are_kept(values: list[float], policy: Policy, present: int) -> None:
    found = holds(np.asarray(values), policy, present)
    assert (found <= policy.limits.max_units).all()
    lead = lead_slots(policy.lead_time_s)
    assert (found[lead:] >= policy.limits.min_units).all()
    assert (found[:lead] >= min(present, policy.limits.min_units) // policy.limits.step_units).all()
    assert (found % policy.limits.step_units == 0).all()


@settings(max_examples=60, deadline=None)
@given(rates, policies, st.floats(1, 10))
def test_units_never_fall_as_a_violation_gets_dearer(
    values: list[float], policy: Policy, times: float
) -> None:
    dear = replace(policy, price_s=times * policy.price_s)
    present = policy.limits.min_units
    low, high = (holds(np.asarray(values), each, present) for each in (policy, dear))
    assert (high >= low).all()
