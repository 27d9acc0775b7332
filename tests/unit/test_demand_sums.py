"""Sums per slot, token moments and offered work, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster.demand import bin_requests, empty_sums, merge, offered_work_s, subtract, token_mix
from forecaster.domain.demand import RequestBatch, SlotSums, TokenMix
from forecaster.domain.profile import ClassicProfile, GenerativeProfile


def sums(*rows: tuple[float, int, int]) -> SlotSums:
    arrival_s, prompt, output = zip(*rows, strict=True)
    return bin_requests(
        RequestBatch(
            "s", np.array(arrival_s), np.array(prompt, np.int64), np.array(output, np.int64)
        )
    )


def test_a_slot_sums_tokens_and_their_products() -> None:
    slots = sums((61.0, 100, 10), (119.999999, 200, 20), (0.0, 1, 1))
    assert slots.start_s.tolist() == [0, 60]
    assert slots.arrivals.tolist() == [1, 2]
    assert slots.prompt_tokens.tolist() == [1, 300]
    assert slots.prompt_output.tolist() == [1.0, 5000.0]
    assert slots.prompt_sq.tolist() == [1.0, 50000.0]
    assert slots.counts_1s[1, [1, 59]].tolist() == [1, 1]


def test_times_before_1970_fall_into_their_slot() -> None:
    slots = sums((-0.5, 1, 1))
    assert (slots.start_s[0], slots.counts_1s[0, 59]) == (-60, 1)


def test_no_request_is_no_slot() -> None:
    nothing = bin_requests(RequestBatch("s", np.zeros(0), np.zeros(0, int), np.zeros(0, int)))
    assert nothing.start_s.size == 0
    assert merge(nothing, empty_sums()).counts_1s.shape == (0, 60)


def test_counts_per_second_saturate_instead_of_wrapping() -> None:
    batch = RequestBatch("s", np.zeros(65_530), np.zeros(65_530, int), np.zeros(65_530, int))
    slots = bin_requests(batch)
    assert merge(slots, slots).counts_1s[0, 0] == 65_535
    assert merge(slots, slots).arrivals[0] == 131_060


def test_taking_back_the_only_request_removes_the_slot() -> None:
    both, one = sums((1.0, 5, 5), (61.0, 7, 7)), sums((61.0, 7, 7))
    left = subtract(both, one)
    assert (left.start_s.tolist(), left.prompt_tokens.tolist()) == ([0], [5])


def test_mix_keeps_the_cross_moment() -> None:
    mix = token_mix(sums((0.0, 10, 1), (1.0, 30, 3)))
    assert mix == TokenMix(20.0, 2.0, 500.0, 5.0, 50.0)
    assert token_mix(empty_sums()) == TokenMix(0, 0, 0, 0, 0)


def test_work_of_a_classic_request_is_its_share_of_the_best_batch() -> None:
    profile = ClassicProfile(((1, 0.010), (8, 0.016), (16, 0.040)))
    assert offered_work_s(TokenMix.of(0, 0), profile) == pytest.approx(0.002)


def test_work_of_a_generative_request_uses_the_moments_of_the_log() -> None:
    profile = GenerativeProfile(alpha_s=0.01, beta_s=0.002, kappa_s=1e-6, gamma_s=0.001)
    mix = token_mix(sums((0.0, 10, 1), (1.0, 30, 3)))
    assert offered_work_s(mix, profile) == pytest.approx(0.02 + 0.004 + 1e-6 * (50 + 2.5))
