"""A scaled log: the same seed the same rows, whatever range is asked for and however it is cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.domain.demand import RequestBatch
from forecaster.domain.errors import DataError, SettingError
from forecaster.replay import trace as module
from forecaster.replay.trace import JITTER_S, Trace


def some_log(seed: int, count: int = 400, span_s: float = 7200.0) -> RequestBatch:
    random = np.random.default_rng(seed)
    at = 1e9 + np.sort(random.random(count)) * span_s
    return RequestBatch("s", at, random.integers(0, 999, count), random.integers(0, 99, count))


def joined(parts: list[RequestBatch]) -> RequestBatch:
    return RequestBatch(
        "s",
        np.concatenate([np.zeros(0), *(each.arrival_s for each in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(each.prompt_tokens for each in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(each.output_tokens for each in parts)]),
    )


def rows(batch: RequestBatch) -> list[tuple[float, int, int]]:
    columns = (batch.arrival_s, batch.prompt_tokens, batch.output_tokens)
    return list(zip(*(each.tolist() for each in columns), strict=True))


def whole(trace: Trace) -> RequestBatch:
    return joined(list(trace.chunks(-np.inf, np.inf)))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE_ROWS", 128)


seeds = st.integers(0, 2**20)
scales = st.sampled_from([0.3, 1.0, 1.5, 4.0, 7.25])
quick = settings(max_examples=25, deadline=None)


@quick
@given(seed=seeds, scale=scales)
def test_the_same_seed_gives_the_same_rows_and_another_does_not(seed: int, scale: float) -> None:
    log = some_log(seed)
    once, again, other = (whole(Trace(log, scale, number)) for number in (1, 1, 2))
    assert rows(once) == rows(again)
    assert (rows(once) == rows(other)) == (scale == 1.0)


@quick
@given(seed=seeds, scale=scales)
def test_chunks_are_in_order_and_hold_what_the_unsorted_pieces_hold(
    seed: int, scale: float
) -> None:
    trace = Trace(some_log(seed), scale, seed)
    found = whole(trace)
    assert (np.diff(found.arrival_s) >= 0).all()
    assert sorted(rows(found)) == sorted(rows(joined(list(trace.unsorted(-np.inf, np.inf)))))


@quick
@given(seed=seeds, copies=st.integers(1, 6))
def test_every_token_pair_comes_as_often_as_the_log_is_played(seed: int, copies: int) -> None:
    log = some_log(seed)
    found = whole(Trace(log, float(copies), seed))
    pairs = sorted(zip(found.prompt_tokens.tolist(), found.output_tokens.tolist(), strict=True))
    theirs = zip(log.prompt_tokens.tolist(), log.output_tokens.tolist(), strict=True)
    assert pairs == sorted(pair for pair in theirs for _ in range(copies))
    assert found.arrival_s.min() >= log.arrival_s[0] - JITTER_S
    assert found.arrival_s.max() <= log.arrival_s[-1] + JITTER_S


@quick
@given(seed=seeds, scale=scales, cuts=st.lists(st.floats(-0.1, 1.1), min_size=1, max_size=5))
def test_ranges_side_by_side_are_the_whole(seed: int, scale: float, cuts: list[float]) -> None:
    trace = Trace(some_log(seed), scale, 3)
    edges = [-np.inf, *(1e9 + 7200 * each for each in sorted(cuts)), np.inf]
    parts = [joined(list(trace.chunks(a, b))) for a, b in itertools.pairwise(edges)]
    for (a, b), part in zip(itertools.pairwise(edges), parts, strict=True):
        assert ((part.arrival_s >= a) & (part.arrival_s < b)).all()
    assert sorted(rows(joined(parts))) == sorted(rows(whole(trace)))


def test_a_fraction_of_a_copy_is_drawn_evenly() -> None:
    log = some_log(1, count=20_000)
    assert abs(len(whole(Trace(log, 0.25, 1))) / 5_000 - 1) < 0.05
    assert abs(len(whole(Trace(log, 2.5, 1))) / 50_000 - 1) < 0.02


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e6])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(SettingError, match="rate-scale"):
        Trace(some_log(1), scale)


def test_a_log_without_requests_or_order_is_refused() -> None:
    log = some_log(1)
    with pytest.raises(DataError, match="no requests"):
        Trace(RequestBatch("s", log.arrival_s[:0], log.prompt_tokens[:0], log.output_tokens[:0]))
    with pytest.raises(DataError, match="not in order"):
        Trace(RequestBatch("s", log.arrival_s[::-1], log.prompt_tokens, log.output_tokens))
