"""A real tier of units of two types: one queue, the answers of one unit; nobody is lost."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from actuators.onnx_tier.spec import TierService, TierSpec
from actuators.onnx_tier.tier import check_types
from forecaster.daemon.pooled import Pooled
from forecaster.domain.errors import ModelError, SettingError
from forecaster.domain.pools import Pool
from forecaster.domain.profile import GenerativeProfile, Mixed, UnitType
from tests.integration.test_tier_batches import begin, line, over, results
from tests.integration.tier_helpers import (
    CHAT,
    LLAMA_TYPE,
    BareLlama,
    RunningTier,
    running,
    services,
    until,
)

assert isinstance(LLAMA_TYPE.profile, GenerativeProfile)
WIDE_TYPE = replace(
    LLAMA_TYPE, name="wide", threads=2,
    profile=replace(LLAMA_TYPE.profile, alpha_s=2e-4, beta_s=2.5e-5, gamma_s=2.5e-5, max_batch=16),
)  # fmt: skip
SMALL, WIDE = f"{CHAT}:tiny-llama", f"{CHAT}:wide"
TYPE = UnitType("mix", LLAMA_TYPE.profile, mixed=Mixed((LLAMA_TYPE, WIDE_TYPE), (4, 4)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def llama(models: Path) -> BareLlama:
    return BareLlama(models)


@pytest.fixture(scope="module")
def tier(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTier]:
    path = services(models)[0].model_path
    served = (TierService(CHAT, TYPE, path, type_paths=(path, path)),)
    with running(tmp_path_factory.mktemp("tier"), served, model_control=True) as found:
        yield found


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60, limits=httpx.Limits(max_connections=None)) as found:
        yield found


def ask(client: httpx.Client, tier: RunningTier, prompt: str, tokens: int, **more: Any) -> str:
    body = {"model": CHAT, "prompt": prompt, "max_tokens": tokens, "temperature": 0, **more}
    answer = client.post(f"{tier.url}/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["text"])


def orders(count: int, tokens: int = 0) -> list[tuple[str, int]]:
    random = np.random.default_rng(29)
    return [
        ("".join(map(chr, random.integers(97, 122, 1 + n % 40))), tokens or 1 + int(random.integers(0, 12)))
        for n in range(count)
    ]  # fmt: skip


def both(tier: RunningTier, small: int = 1, wide: int = 1) -> None:
    tier.ready(SMALL, small)
    tier.ready(WIDE, wide)


def test_units_of_both_types_answer_as_one_unit_does(
    tier: RunningTier, llama: BareLlama, client: httpx.Client
) -> None:
    both(tier, 2, 1)
    seen = tier.actuator.stats()["requests_last"]
    asked = orders(120)
    with ThreadPoolExecutor(32) as clients:
        texts = list(clients.map(lambda each: ask(client, tier, *each), asked))
    for (prompt, tokens), text in zip(asked, texts, strict=True):
        assert text == llama.text(prompt, tokens), (prompt, tokens)
    fleet = tier.actuator.observe(CHAT)
    assert fleet.ready == 3
    records = tier.actuator.requests_after(seen)
    assert {each.service for each in records} == {CHAT}
    wide = {each.unit_id for each in tier.actuator.observe(WIDE).units}
    served = Counter(each.unit_id in wide for each in records)
    assert min(served.values()) > 10  # both types take part
    told = httpx.get(f"{tier.url}/metrics").text
    assert f'tidegate_tier_requests_waiting{{service="{CHAT}"}} 0.0' in told
    assert f'service="{WIDE}",state="ready"' in told
    assert tier.actuator.stats()["waiting"] == {CHAT: 0}


def test_drains_of_either_type_lose_nothing(
    tier: RunningTier, llama: BareLlama, client: httpx.Client
) -> None:
    both(tier, 2, 2)
    asked = orders(40, 250)  # long enough to be under way when it is looked
    with ThreadPoolExecutor(40) as clients:
        coming = [clients.submit(ask, client, tier, *each) for each in asked]
        until(lambda: tier.actuator.stats()["in_flight"] > 8, "requests under way")
        tier.drain(SMALL)
        tier.drain(WIDE)
        texts = [each.result() for each in coming]
    assert texts[0] == llama.text(*asked[0])
    assert len(texts) == 40
    tier.settled(SMALL, 1)
    tier.settled(WIDE, 1)


def test_a_lost_unit_of_one_type_is_made_up_for_by_the_other(
    tier: RunningTier, llama: BareLlama, client: httpx.Client
) -> None:
    both(tier)
    asked = orders(40, 250)  # more than the wide unit takes alone
    with ThreadPoolExecutor(40) as clients:
        coming = [clients.submit(ask, client, tier, *each) for each in asked]
        until(lambda: tier.live(SMALL)[0].in_flight > 0, "work on the small unit")
        os.kill(tier.pid_of(tier.live(SMALL)[0].unit_id), signal.SIGKILL)
        texts = [each.result() for each in coming]
    assert texts[5] == llama.text(*asked[5])
    tier.settled(SMALL, 1)


def test_what_waits_for_no_unit_goes_to_the_first_of_any_type(
    tier: RunningTier, llama: BareLlama, client: httpx.Client
) -> None:
    both(tier, 0, 0)
    assert httpx.get(f"{tier.url}/v2/models/{CHAT}/ready").status_code == 503
    asked = orders(12, 6)
    with ThreadPoolExecutor(12) as clients:
        coming = [clients.submit(ask, client, tier, *each) for each in asked]
        until(lambda: tier.actuator.stats()["waiting"] == {CHAT: 12}, "twelve that wait")
        tier.prewarm(WIDE)
        texts = [each.result() for each in coming]
    assert texts[3] == llama.text(*asked[3])
    assert httpx.get(f"{tier.url}/v2/models/{CHAT}/ready").status_code == 200
    index = httpx.post(f"{tier.url}/v2/repository/index").json()
    assert [each["state"] for each in index] == ["READY"]
    tier.drain(WIDE)
    tier.settled(WIDE, 0)


def test_a_client_that_loads_the_model_gets_a_unit_of_the_first_type(tier: RunningTier) -> None:
    both(tier, 0, 0)
    loaded = httpx.post(f"{tier.url}/v2/repository/models/{CHAT}/load", timeout=60)
    assert loaded.status_code == 200
    assert (tier.actuator.observe(SMALL).ready, tier.actuator.observe(WIDE).ready) == (1, 0)


def test_batch_work_of_the_service_is_told_once_and_answered_by_either_type(
    tier: RunningTier, llama: BareLlama
) -> None:
    both(tier, 0, 0)
    seen = Pooled(tier.actuator, {CHAT: tuple(TYPE.by_pool)})
    with openai.OpenAI(base_url=f"{tier.url}/v1", api_key="none", max_retries=0) as client:
        batch = begin(client, [line(f"request {n}") for n in range(6)])
        (waits,) = seen.observe(CHAT).backlog
        assert waits.work_s > 0
        assert [len(tier.actuator.observe(each).backlog) for each in (SMALL, WIDE)] == [1, 0]
        tier.ready(WIDE)
        found = results(client, over(client, batch.id).output_file_id)
    body = found["request 2"]["response"]["body"]
    assert body["choices"][0]["text"] == llama.text("request 2", 6)
    assert len(found) == 6
    assert seen.observe(CHAT).backlog == ()


def test_specs_of_types(models: Path) -> None:
    service = TierService(CHAT, TYPE, Path("a"), type_paths=(Path("a"), Path("b")))
    spec = TierSpec(Path("h"), (service,))
    assert TierSpec.from_json(spec.to_json()) == spec
    assert [(each.service, each.pool, each.public, each.model_path) for each in spec.lanes] == [
        (SMALL, Pool("tiny-llama"), CHAT, Path("a")),
        (WIDE, Pool("wide"), CHAT, Path("b")),
    ]
    with pytest.raises(SettingError, match="type_paths"):
        TierSpec(Path("h"), (replace(service, type_paths=()),))


def test_types_of_different_models_are_refused(models: Path) -> None:
    from actuators.onnx_tier.tier import check_model

    first, second = (each.model_path for each in services(models))
    service = TierService(CHAT, TYPE, first, type_paths=(first, second))
    signatures = {SMALL: check_model(first), WIDE: check_model(second)}
    with pytest.raises(ModelError, match="different things"):
        check_types(service, signatures)
