"""What a step costs, told by when the tokens come: engines whose step time is known, in made-up time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from actuators.probe.engine import Engine, Stream
from actuators.probe.measure import Grid, measure
from actuators.probe.step_time import Cell, decoding, disturbed, fitted, reading, together
from forecaster.domain.errors import DataError
from forecaster.domain.profile import GenerativeProfile
from forecaster.wiring.probe import compared

OVERHEAD_S = 0.004


def burst(
    profile: GenerativeProfile, batch: int, prompt: int, output: int, a_piece: int = 1
) -> list[Stream]:
    """Requests that come at once, read first and decoded together; `a_piece` tokens come in one piece."""
    now_s, streams = 0.0, []
    left = batch
    while left:
        now_places = min(left, profile.max_batch)
        for begin in range(0, now_places * prompt, profile.chunk_tokens):
            part = min(now_places * prompt - begin, profile.chunk_tokens)
            now_s += profile.step_s(0, 0, 1, part)
        at_s = [now_s]
        for made in range(1, output):
            at_s.append(at_s[-1] + profile.step_s(now_places, now_places * (prompt + made), 0, 0))
        came_s = np.array(at_s[::a_piece]) + OVERHEAD_S
        streams += [Stream(0.0, came_s, prompt, output) for _ in range(now_places)]
        now_s, left = at_s[-1], left - now_places
    return streams


def disturbance(profile: GenerativeProfile, prompt: int, output: int = 160) -> Cell:
    """A stream beside which another is read every second step."""
    at_s, read = [1.0], []
    for made in range(1, output):
        reads = made % 2
        began_s = at_s[-1]
        at_s.append(began_s + profile.step_s(1, prompt + made, reads, reads * prompt))
        if reads:
            read.append(Stream(began_s, np.array([at_s[-1]]), prompt, 1))
    cell = disturbed(Stream(0.0, np.array(at_s), prompt, output), read)
    assert cell is not None
    return cell


ENGINES = [
    GenerativeProfile(0.03, 2e-4, 2e-7, 9e-5, max_batch=64, chunk_tokens=512),
    GenerativeProfile(0.01, 3e-4, 4e-7, 6e-5, gamma2_s=2e-8, delta_s=0.005, max_batch=64, chunk_tokens=2048),
]  # fmt: skip


@pytest.mark.parametrize("profile", ENGINES)
@pytest.mark.parametrize("a_piece", [1, 3])
def test_what_a_step_costs_is_found_from_outside(profile: GenerativeProfile, a_piece: int) -> None:
    decode = []
    for batch in (1, 2, 8, 32):
        for prompt in (32, 1024):
            cell = decoding(burst(profile, batch, prompt, 48, a_piece))
            assert cell is not None
            decode.append(cell)
    read = [
        reading(burst(profile, 1, prompt, 1)[0], profile.chunk_tokens)
        for prompt in (32, 256, 512, 1024)
    ]
    fit = fitted(decode, read, [disturbance(profile, 32)])
    # The pieces of the last tokens are cut: what a piece holds is an average.
    exact = 0.001 if a_piece == 1 else 0.08
    assert fit.alpha_s == pytest.approx(profile.alpha_s, rel=exact)
    assert fit.beta_s == pytest.approx(profile.beta_s, rel=0.01 + exact)
    assert fit.kappa_s == pytest.approx(profile.kappa_s, rel=0.05 + exact)
    assert fit.gamma_s == pytest.approx(profile.gamma_s, rel=0.01)
    assert fit.delta_s == pytest.approx(profile.delta_s, rel=0.05 if a_piece == 1 else 0.3)
    assert fit.overhead_s == pytest.approx(OVERHEAD_S, abs=5e-4)
    assert fit.error < 0.01


def test_streams_that_wait_for_a_place_show_the_engines_batch() -> None:
    profile = GenerativeProfile(0.03, 2e-4, 2e-7, 9e-5, max_batch=6, chunk_tokens=512)
    assert together(burst(profile, 4, 32, 48)) == 4
    waiting = burst(profile, 8, 32, 48)
    assert together(waiting) == 6
    assert decoding(waiting) is None
    assert together(burst(profile, 8, 32, 1)) == 0


def test_streams_that_end_at_once_say_nothing() -> None:
    assert decoding(burst(ENGINES[0], 2, 32, 3)) is None


def test_the_check_plays_the_same_requests_through_the_kernel() -> None:
    profile = ENGINES[0]
    alone = burst(profile, 1, 256, 20)[0]
    apart = [
        Stream(at_s, alone.at_s + at_s, alone.prompt_tokens, alone.output_tokens)
        for at_s in np.arange(20) * 10.0
    ]
    found = compared(profile, OVERHEAD_S, apart)
    assert found["requests"] == 20
    for part in ("ttft_p50", "ttft_p99", "tpot_p50", "tpot_p99"):
        assert found[f"{part}_ratio"] == pytest.approx(1.0, abs=0.01)


class Played:
    """An engine in made-up time."""

    def __init__(self, profile: GenerativeProfile, told: int) -> None:
        self.profile, self.told = profile, told

    async def stream(self, prompt: float, output: int) -> Stream:
        await asyncio.sleep(0)
        return burst(self.profile, 1, round(prompt), output)[0]

    async def burst(self, requests: Sequence[tuple[float, int]]) -> list[Stream]:
        prompt, output = requests[0]
        return burst(self.profile, len(requests), round(prompt), output)

    async def kv_tokens(self) -> int:
        return self.told


@pytest.mark.parametrize(
    ("most", "told", "batch", "met"), [(64, 0, 24, True), (16, 0, 16, False), (64, 1000, 8, False)]
)
def test_limits_are_met_told_or_given(most: int, told: int, batch: int, met: bool) -> None:
    profile = GenerativeProfile(0.03, 2e-4, 2e-7, 9e-5, max_batch=24, chunk_tokens=512)
    engine = cast("Engine", Played(profile, told))
    said: list[str] = []
    found = asyncio.run(measure(engine, Grid(most, 256, 512, 0, 2), said.append))
    assert (found.profile.max_batch, found.batch_found) == (batch, met)
    assert found.kv_known == bool(told)
    assert found.profile.kv_tokens >= (told or batch * 100_000)
    assert found.profile.alpha_s == pytest.approx(profile.alpha_s, rel=0.01)
    assert said


def test_streams_that_end_early_are_an_error_with_a_remedy() -> None:
    engine = cast("Engine", Played(ENGINES[0], 0))
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(DataError, match="before a step can be timed"),
    ):
        patch.setattr("actuators.probe.measure.DECODED", 3)
        asyncio.run(measure(engine, Grid(8, 256, 512, 0, 1), lambda _: None))
