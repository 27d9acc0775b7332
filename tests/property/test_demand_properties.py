"""Binning and merging are exact: any split of a batch merges to the whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forecaster.demand import bin_requests, merge, subtract, to_series
from forecaster.domain.demand import MAX_TOKENS, RequestBatch, SlotSums

ROWS = st.lists(
    st.tuples(
        st.floats(-1e5, 1e5, allow_nan=False),
        st.integers(0, MAX_TOKENS),
        st.integers(0, MAX_TOKENS),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


def batch(rows: list[tuple[float, int, int, bool]]) -> RequestBatch:
    return RequestBatch(
        "s",
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.int64),
    )


def same(a: SlotSums, b: SlotSums) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in SlotSums.__dataclass_fields__
    )


@given(ROWS)
def test_any_split_merges_to_the_whole(rows: list[tuple[float, int, int, bool]]) -> None:
    left = bin_requests(batch([row for row in rows if row[3]]))
    right = bin_requests(batch([row for row in rows if not row[3]]))
    whole = bin_requests(batch(rows))
    assert same(merge(left, right), whole)
    assert same(merge(right, left), whole)
    assert same(subtract(whole, right), left)


@given(ROWS)
def test_nothing_is_lost(rows: list[tuple[float, int, int, bool]]) -> None:
    slots = bin_requests(batch(rows))
    assert slots.arrivals.sum() == len(rows) == slots.counts_1s.sum()
    assert slots.prompt_tokens.sum() == sum(row[1] for row in rows)
    assert (np.diff(slots.start_s) > 0).all()
    assert (slots.start_s % 60 == 0).all()


@given(ROWS)
def test_a_series_over_everything_has_every_request(
    rows: list[tuple[float, int, int, bool]],
) -> None:
    series = to_series("s", bin_requests(batch(rows)), -2e5, 2e5, slot_s=600)
    seen = np.nansum(series.arrivals)
    assert seen == len(rows)
    assert (series.arrivals[~np.isnan(series.arrivals)] >= 0).all()
