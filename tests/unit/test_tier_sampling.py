"""Draws follow the cut softmax that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actuators.onnx_tier.sampling import GREEDY, Sampler, Sampling, kept, pick, sampler_of

SHARES = np.array([0.05, 0.5, 0.2, 0.15, 0.1])


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(1.0), SHARES),
        (Sampling(1.0, top_k=2), [0, 0.5 / 0.7, 0.2 / 0.7, 0, 0]),
        (Sampling(1.0, top_p=0.69), [0, 0.5 / 0.7, 0.2 / 0.7, 0, 0]),
        (Sampling(1.0, top_k=3, top_p=0.6), [0, 0.5 / 0.7, 0.2 / 0.7, 0, 0]),
        (Sampling(0.5), SHARES**2 / (SHARES**2).sum()),
        (Sampling(1.0, top_p=1e-9), [0, 1, 0, 0, 0]),
    ],
)
def test_draws_have_the_shares_that_were_asked_for(sampling: Sampling, expected: list) -> None:
    sampler = Sampler(Sampling(sampling.temperature, sampling.top_k, sampling.top_p, seed=3))
    draws = [sampler.draw(np.log(SHARES)) for _ in range(20_000)]
    np.testing.assert_allclose(np.bincount(draws, minlength=5) / 20_000, expected, atol=0.015)


@given(
    st.lists(st.integers(-30, 30), min_size=1, max_size=40),
    st.integers(0, 50),
    st.floats(1e-6, 1.0),
)
def test_the_likeliest_token_is_never_cut_off(logits: list, top_k: int, top_p: float) -> None:
    allowed = kept(np.array(logits, float), Sampling(1.0, top_k, top_p))
    assert allowed.any()
    assert np.array(logits)[allowed].max() == max(logits)
    if top_k:
        assert allowed.sum() <= top_k


def test_greedy_rows_and_drawn_rows_share_a_batch() -> None:
    logits = np.log(np.stack([SHARES, SHARES, SHARES[::-1]]))
    samplers = [None, sampler_of(Sampling(1.0, top_k=1)), sampler_of(GREEDY)]
    assert pick(logits, samplers).tolist() == [1, 1, 3]
