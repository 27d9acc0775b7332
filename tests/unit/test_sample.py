"""The sample service: seeded, unchanging, with the tide that it promises."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster.replay.sample import DAY_S, Sample, between, day, expected_rps

MONDAY = 20_458  # 2026-01-05 UTC, in days since the epoch
CHAT = Sample("chat", 0.5, 48, 24)


def test_the_same_seed_gives_the_same_day_whichever_days_are_asked_for() -> None:
    whole = between(CHAT, MONDAY * DAY_S, (MONDAY + 3) * DAY_S)
    alone = day(CHAT, MONDAY + 1)
    inside = (whole.arrival_s >= (MONDAY + 1) * DAY_S) & (whole.arrival_s < (MONDAY + 2) * DAY_S)
    np.testing.assert_array_equal(whole.arrival_s[inside], alone.arrival_s)
    np.testing.assert_array_equal(whole.output_tokens[inside], alone.output_tokens)
    other = day(Sample("chat", 0.5, 48, 24, seed=8), MONDAY + 1)
    assert not np.array_equal(other.arrival_s[:50], alone.arrival_s[:50])


def test_arrivals_are_in_order_and_inside_the_range() -> None:
    from_s, to_s = MONDAY * DAY_S + 1234.5, MONDAY * DAY_S + 98765.4
    batch = between(CHAT, from_s, to_s)
    assert np.all(np.diff(batch.arrival_s) >= 0)
    assert from_s <= batch.arrival_s[0]
    assert batch.arrival_s[-1] < to_s
    assert len(batch) == batch.prompt_tokens.size == batch.output_tokens.size


def test_lengths_are_of_the_stated_size() -> None:
    batch = between(CHAT, MONDAY * DAY_S, (MONDAY + 2) * DAY_S)
    assert batch.prompt_tokens.min() >= 2
    assert batch.prompt_tokens.max() <= CHAT.prompt_max
    assert batch.output_tokens.max() <= CHAT.output_max
    assert batch.prompt_tokens.mean() == pytest.approx(48, rel=0.1)
    assert batch.output_tokens.mean() == pytest.approx(24, rel=0.1)
    plain = day(Sample("classify", 0.2), MONDAY)
    assert not plain.prompt_tokens.any()
    assert not plain.output_tokens.any()


def test_a_working_day_peaks_where_it_says_and_the_weekend_is_calmer() -> None:
    hours = (MONDAY * 24 + np.arange(7 * 24 * 4) / 4) * 3600.0
    rate = expected_rps(CHAT, hours).reshape(7, 96)
    np.testing.assert_allclose(rate[:5].max(axis=1), 0.5, rtol=0.01)
    assert rate[0].min() < 0.1 * rate[0].max()
    assert rate[5].max() == pytest.approx(0.62 * rate[0].max(), rel=0.01)
    assert rate[6].max() == pytest.approx(0.55 * rate[0].max(), rel=0.01)


def test_the_day_follows_the_users_clock() -> None:
    east = Sample("chat", 0.5, timezone="Asia/Tokyo")
    hours = (MONDAY * 24 + np.arange(24)) * 3600.0
    utc, tokyo = expected_rps(CHAT, hours), expected_rps(east, hours)
    assert np.roll(tokyo, 9)[9:] == pytest.approx(utc[9:])
    assert int(np.argmax(utc)) - int(np.argmax(tokyo)) == 9


def test_counts_follow_the_expected_rate() -> None:
    batch = between(CHAT, MONDAY * DAY_S, (MONDAY + 5) * DAY_S)
    expected = expected_rps(CHAT, MONDAY * DAY_S + 60.0 * np.arange(5 * 1440)).sum() * 60
    assert len(batch) == pytest.approx(expected, rel=0.15)
