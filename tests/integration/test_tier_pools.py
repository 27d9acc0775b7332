"""A real tier of two pools: real units, real sockets, the answers of one unit; nobody is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from actuators.onnx_tier.handover_profile import measure_handover
from actuators.onnx_tier.handovers import MEMORY
from actuators.onnx_tier.spec import TierService, TierSpec
from forecaster.domain.errors import SettingError
from forecaster.domain.pools import Pool
from forecaster.domain.profile import Pair, UnitType
from tests.integration.tier_helpers import (
    CHAT,
    LLAMA_TYPE,
    BareLlama,
    RunningTier,
    running,
    services,
    until,
)

READ, GENERATE = f"{CHAT}:prefill", f"{CHAT}:decode"
PAIR = Pair(LLAMA_TYPE, replace(LLAMA_TYPE, name="tiny-decode"))
CLIENT = httpx.Client(timeout=60)
TYPE = UnitType("tiny-pd", PAIR.profile.together, pair=PAIR)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def llama(models: Path) -> BareLlama:
    return BareLlama(models)


@pytest.fixture(scope="module")
def tier(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTier]:
    path = services(models)[0].model_path
    served = (TierService(CHAT, TYPE, path, decode_path=path),)
    with running(tmp_path_factory.mktemp("tier"), served) as found:
        yield found
    CLIENT.close()


def _caches() -> set[str]:
    return {str(each) for folder in MEMORY.glob("tidegate-*") for each in folder.iterdir()}


def _ask(tier: RunningTier, prompt: str, tokens: int, **more: Any) -> httpx.Response:
    body = {"model": CHAT, "prompt": prompt, "max_tokens": tokens, "temperature": 0, **more}
    return CLIENT.post(f"{tier.url}/v1/completions", json=body)


def _orders(count: int) -> list[tuple[str, int]]:
    random = np.random.default_rng(23)
    starts = ["".join(map(chr, random.integers(97, 122, 70))) for _ in range(3)]
    return [
        (
            (starts[n % 3] if n % 2 else "")
            + "".join(map(chr, random.integers(97, 122, 1 + n % 30))),
            1 + int(random.integers(0, 9)),
        )
        for n in range(count)
    ]


def _text(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["text"])


def _pair(tier: RunningTier, read: int = 1, generate: int = 1) -> None:
    tier.ready(READ, read)
    tier.ready(GENERATE, generate)


def test_a_hundred_and_twenty_mixed_requests_are_answered_as_by_one_unit(
    tier: RunningTier, llama: BareLlama
) -> None:
    _pair(tier, 2, 2)
    orders = _orders(120)
    with ThreadPoolExecutor(24) as pool:
        texts = list(pool.map(lambda each: _text(_ask(tier, *each)), orders))
    for (prompt, tokens), text in zip(orders, texts, strict=True):
        assert text == llama.text(prompt, tokens), (prompt, tokens)
    told = tier.actuator.stats()["handovers"]
    several = sum(tokens > 1 for _, tokens in orders)
    assert told["count"][CHAT] == told["taken"][CHAT] == several
    counted = httpx.get(f"{tier.url}/metrics").text
    assert f'tidegate_tier_handovers_taken_total{{service="{CHAT}"}} {several}.0' in counted
    assert not _caches()
    assert tier.actuator.observe(CHAT).ready == 4
    assert httpx.get(f"{tier.url}/v2/models/{CHAT}/ready").status_code == 200
    records = tier.actuator.requests_after(0)
    assert {each.service for each in records} == {CHAT}
    assert all(each.ttft_s < each.latency_s for each in records if each.output_tokens > 1)


def test_drains_of_either_pool_lose_nothing(tier: RunningTier, llama: BareLlama) -> None:
    _pair(tier, 2, 2)
    orders = [(prompt, 90) for prompt, _ in _orders(24)]
    with ThreadPoolExecutor(24) as pool:
        asked = [pool.submit(_ask, tier, *each) for each in orders]
        until(lambda: tier.actuator.stats()["in_flight"] > 8, "requests under way")
        tier.drain(READ)
        tier.drain(GENERATE)
        texts = [_text(each.result()) for each in asked]
    assert texts[0] == llama.text(*orders[0])
    assert len({len(text) for text in texts}) == 1
    tier.settled(READ, 1)
    tier.settled(GENERATE, 1)
    assert not _caches()


def test_crashes_in_both_pools_are_answered_all_the_same(
    tier: RunningTier, llama: BareLlama
) -> None:
    """Nothing was sent to these clients: their prompts are read again, on whoever is left."""
    _pair(tier, 2, 2)
    orders = [(prompt, 90) for prompt, _ in _orders(24)]
    with ThreadPoolExecutor(24) as clients:
        asked = [clients.submit(_ask, tier, *each) for each in orders]
        until(lambda: tier.actuator.stats()["handovers"]["count"].get(CHAT, 0) > 0, "hand-overs")
        for pool in (READ, GENERATE):
            os.kill(tier.pid_of(tier.live(pool)[0].unit_id), signal.SIGKILL)
        texts = [_text(each.result()) for each in asked]
    assert texts[3] == llama.text(*orders[3])
    assert not _caches()
    for pool in (READ, GENERATE):
        tier.settled(pool, 2)  # the tier replaced it


def test_a_stream_that_has_started_ends_with_one_clear_error(tier: RunningTier) -> None:
    _pair(tier)
    body = {
        "model": CHAT,
        "prompt": "on and on",
        "max_tokens": 900,
        "stream": True,
        "temperature": 0,
    }
    with httpx.stream("POST", f"{tier.url}/v1/completions", json=body, timeout=60) as response:
        lines = response.iter_lines()
        for _ in range(8):
            next(lines)
        os.kill(tier.pid_of(tier.live(GENERATE)[0].unit_id), signal.SIGKILL)
        rest = [line for line in lines if line]
    assert "was lost in mid-answer" in rest[-1] or "was lost in mid-answer" in rest[-2]
    tier.settled(GENERATE, 1)


def test_a_client_that_goes_frees_both_stages(tier: RunningTier) -> None:
    _pair(tier)
    body = {"model": CHAT, "prompt": "gone soon", "max_tokens": 900, "stream": True}
    with httpx.stream("POST", f"{tier.url}/v1/completions", json=body, timeout=60) as response:
        next(response.iter_lines())
    until(lambda: tier.actuator.stats()["in_flight"] == 0, "nothing in flight")
    until(lambda: not any(u.in_flight for u in tier.actuator.observe(CHAT).units), "free units")
    tier.ready(GENERATE, 0)
    with ThreadPoolExecutor(1) as pool:  # read, and waiting for a decode unit when the client goes
        headers = {"X-Tidegate-Timeout-S": "0.5"}
        late = pool.submit(
            httpx.post, f"{tier.url}/v1/completions", headers=headers, timeout=60,
            json={"model": CHAT, "prompt": "too late", "max_tokens": 5},
        ).result()  # fmt: skip
    assert late.status_code == 504
    assert not _caches()
    assert tier.actuator.stats()["waiting"] == {READ: 0, GENERATE: 0}


def test_read_prompts_wait_for_decode_units_that_come(tier: RunningTier, llama: BareLlama) -> None:
    _pair(tier, 1, 0)
    orders = [(prompt, 6) for prompt, _ in _orders(20)]
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(_ask, tier, *each) for each in orders]
        held = PAIR.decode.profile.max_batch
        until(lambda: tier.actuator.stats()["waiting"][GENERATE] >= held, "read prompts")
        # no more are read than one decode unit and those under way can hold
        assert len(_caches()) <= 2 * held
        tier.ready(GENERATE, 1)
        texts = [_text(each.result()) for each in asked]
    assert texts[7] == llama.text(*orders[7])


def test_specs_of_pools() -> None:
    service = TierService(CHAT, TYPE, Path("a"), decode_path=Path("b"))
    spec = TierSpec(Path("h"), (service,))
    assert TierSpec.from_json(spec.to_json()) == spec
    assert [(each.service, each.pool, each.model_path) for each in spec.lanes] == [
        (READ, Pool.PREFILL, Path("a")),
        (GENERATE, Pool.DECODE, Path("b")),
    ]
    with pytest.raises(SettingError, match="decode_path"):
        TierSpec(Path("h"), (replace(service, decode_path=None),))


def test_the_hand_over_is_measured(models: Path) -> None:
    path = services(models)[0].model_path
    base_s, token_s = measure_handover(LLAMA_TYPE, path)
    assert base_s > 0
    assert token_s > 0
