"""Shared GPUs: the quota holds, priorities are kept, and nobody is refused what is free."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.planning.course import ahead
from forecaster.planning.share import Claim, gpus_taken, shares

SLOTS = 12


@st.composite
def claims(draw: st.DrawFn, most_gpus: int = 4) -> Claim:
    holds = draw(st.lists(st.integers(0, 6), min_size=SLOTS, max_size=SLOTS))
    hold = np.array(holds)
    need = np.minimum(hold, draw(st.integers(0, 6)))
    saved = np.sort(draw(st.lists(st.floats(0, 9), min_size=8, max_size=8)))[::-1]
    return Claim(
        "s", draw(st.integers(0, 2)), draw(st.integers(1, most_gpus)), draw(st.integers(0, 3)),
        np.minimum(need, draw(st.integers(0, 1))), need, hold, np.tile(saved, (SLOTS, 1)),
        present=draw(st.integers(0, 6)),
    )  # fmt: skip


many = st.lists(claims(), min_size=1, max_size=5)
alike = st.lists(claims(1), min_size=2, max_size=5)
quotas = st.integers(0, 40)


def plans(asked: list[Claim], gpus: int) -> list[np.ndarray]:
    """What each would hold: all that it wants under its ceiling."""
    return [
        each.hold if share is None else np.minimum(each.hold, share.ceiling)
        for each, share in zip(asked, shares(asked, gpus), strict=True)
    ]


@settings(max_examples=200, deadline=None)
@given(many, quotas)
def test_plans_never_take_more_than_the_quota(asked: list[Claim], gpus: int) -> None:
    assert (gpus_taken(asked, plans(asked, gpus)) <= gpus).all()


@settings(max_examples=200, deadline=None)
@given(many, quotas)
def test_any_plan_under_the_ceilings_keeps_the_quota(asked: list[Claim], gpus: int) -> None:
    given_to = shares(asked, gpus)
    if all(each is None for each in given_to):
        return
    full = [
        each.hold if share is None else share.ceiling
        for each, share in zip(asked, given_to, strict=True)
    ]
    assert (gpus_taken(asked, full) <= gpus).all()


@settings(max_examples=100, deadline=None)
@given(many)
def test_with_gpus_for_all_nobody_is_refused(asked: list[Claim]) -> None:
    plenty = sum(each.gpus * int(ahead(each.hold, each.lead_slots).max()) for each in asked)
    assert shares(asked, plenty) == [None] * len(asked)


@settings(max_examples=200, deadline=None)
@given(alike, quotas)
def test_nobody_needs_in_vain_what_a_lower_priority_holds(asked: list[Claim], gpus: int) -> None:
    for each in asked:
        object.__setattr__(each, "lead_slots", 0)
    held = plans(asked, gpus)
    for i, mine in enumerate(asked):
        short = held[i] < mine.need
        for j, other in enumerate(asked):
            if other.priority < mine.priority:
                beyond_floor = held[j] > np.minimum(other.least, other.hold)
                assert not (short & beyond_floor).any()


@settings(max_examples=200, deadline=None)
@given(alike, quotas)
def test_nothing_is_left_free_while_somebody_is_refused(asked: list[Claim], gpus: int) -> None:
    for each in asked:
        object.__setattr__(each, "lead_slots", 0)
    held = plans(asked, gpus)
    refused = np.zeros(SLOTS, bool)
    for each, plan in zip(asked, held, strict=True):
        refused |= plan < each.hold
    assert (gpus_taken(asked, held)[refused] == gpus).all()


@settings(max_examples=100, deadline=None)
@given(many, quotas, st.integers(0, 10))
def test_a_larger_quota_refuses_the_first_in_line_no_more(
    asked: list[Claim], gpus: int, more: int
) -> None:
    first = [max(asked, key=lambda each: each.priority)]
    less, plenty = plans(first, gpus)[0], plans(first, gpus + more)[0]
    assert (plenty >= less).all()


def test_what_nobody_may_order_for_is_kept_and_not_given_more() -> None:
    held = np.full(SLOTS, 2)
    saved = np.ones((SLOTS, 8))
    watched = Claim("watched", 0, 1, 0, held, held, held + 3, saved, present=3, fixed=True)
    acting = Claim("acting", 9, 1, 0, held, held, held + 6, saved)
    mine, other = shares([watched, acting], 8)
    assert mine is None and other is not None
    assert other.ceiling.tolist() == [5] * SLOTS


def test_units_that_are_there_stay_where_others_would_save_little_more() -> None:
    hold = np.full(SLOTS, 4)
    none = np.zeros(SLOTS, int)
    here = Claim("here", 0, 1, 0, none, hold, hold, np.full((SLOTS, 4), 1.0), present=4)
    there = Claim("there", 0, 1, 0, none, hold, hold, np.full((SLOTS, 4), 1.1))
    assert plans([here, there], 4)[0].tolist() == [4] * SLOTS
    much = Claim("much", 0, 1, 0, none, hold, hold, np.full((SLOTS, 4), 2.0))
    assert plans([here, much], 4)[0].tolist() == [0] * SLOTS
