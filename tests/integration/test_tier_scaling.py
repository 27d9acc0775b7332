"""Scaling while requests run: nothing accepted is ever dropped, and what breaks says so."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from actuators.onnx_tier.spec import TierService
from forecaster.domain.errors import CapacityDeniedError, UnitGoneError
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.units import UnitView
from tests.integration.tier_helpers import (
    CHAT,
    CLASSIFIER,
    LLAMA_TYPE,
    BareLlama,
    BareMlp,
    RunningTier,
    alive,
    running,
    services,
    until,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def tier(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTier]:
    home = tmp_path_factory.mktemp("home")
    with running(home, services(models), max_units_total=6, heartbeat_timeout_s=3.0) as tier:
        yield tier


@pytest.fixture
def http(tier: RunningTier) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    with httpx.Client(base_url=tier.url, timeout=60, limits=limits) as client:
        yield client


def _complete(http: httpx.Client, prompt: str, tokens: int, **fields: Any) -> httpx.Response:
    body = {"model": CHAT, "prompt": prompt, "max_tokens": tokens, "temperature": 0} | fields
    return http.post("/v1/completions", json=body)


def _classify(http: httpx.Client, features: np.ndarray) -> httpx.Response:
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 64], "data": features.tolist()}
    return http.post(f"/v2/models/{CLASSIFIER}/infer", json={"inputs": [tensor]})


def test_a_thousand_requests_while_units_come_and_go(
    tier: RunningTier, http: httpx.Client, models: Path
) -> None:
    llama, mlp = BareLlama(models), BareMlp(models)
    random = np.random.default_rng(9)
    features = random.standard_normal((800, 64)).astype(np.float32)
    prompts = [f"ship {number % 20} asks" for number in range(200)]
    tier.ready(CHAT, 1)
    tier.ready(CLASSIFIER, 1)
    first_event = tier.actuator.stats()["events_last"]
    over = threading.Event()
    cycles = 0

    def churn() -> None:
        nonlocal cycles
        while not over.is_set():
            for service in (CHAT, CLASSIFIER):
                tier.prewarm(service)
                tier.settled(service, 2)
                tier.drain(service)
                tier.settled(service, 1)
            cycles += 1

    def served_by() -> set[str]:
        return {each.unit_id for each in tier.actuator.requests_after(0) if each.unit_id}

    def more(pool: ThreadPoolExecutor) -> bool:
        """A machine that is busy elsewhere starts units later: requests go on until they came."""
        return all(
            each.status_code == 200
            for each in pool.map(lambda row: _classify(http, row), features[:50])
        )

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        with ThreadPoolExecutor(16) as pool:
            classified = [pool.submit(_classify, http, row) for row in features]
            completed = [pool.submit(_complete, http, prompt, 24) for prompt in prompts]
            answers = [each.result() for each in classified]
            texts = [each.result() for each in completed]
            until(
                lambda: more(pool) and cycles >= 2 and len(served_by()) > 4,
                "units that come and go",
                120.0,
            )
    finally:
        over.set()
        churning.join()
    assert {each.status_code for each in (*answers, *texts)} == {200}
    for row, answer in zip(features, answers, strict=True):
        value = np.array(answer.json()["outputs"][0]["data"], np.float32)
        np.testing.assert_allclose(value, mlp(row[None])[0], rtol=1e-4, atol=1e-6)
    alone = {prompt: llama.text(prompt, 24) for prompt in set(prompts)}
    for prompt, text in zip(prompts, texts, strict=True):
        assert text.json()["choices"][0]["text"] == alone[prompt]
    edges = [each.after for each in tier.actuator.events_after(first_event)]
    assert edges.count(UnitState.GONE) >= 4
    assert UnitState.FAILED not in edges


def test_a_killed_unit_hands_its_requests_to_another(
    tier: RunningTier, http: httpx.Client, models: Path
) -> None:
    llama = BareLlama(models)
    tier.ready(CHAT, 2)
    with ThreadPoolExecutor(12) as pool:
        running: list[Future[httpx.Response]] = []

        def busy() -> list[UnitView]:
            if all(
                each.done() for each in running
            ):  # also where nobody looked while they were served
                first = len(running)
                running.extend(
                    pool.submit(_complete, http, f"boat {n}", 400) for n in range(first, first + 12)
                )
            return [u for u in tier.actuator.observe(CHAT).units if u.in_flight >= 5]

        busiest = until(busy, "a unit is busy")[0]
        os.kill(tier.pid_of(busiest.unit_id), signal.SIGKILL)
        answers = [each.result() for each in running]
    for number, answer in enumerate(answers):
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["text"] == llama.text(f"boat {number}", 400)
    failed = until(
        lambda: [u for u in tier.actuator.observe(CHAT).units if u.unit_id == busiest.unit_id],
        "the failure is reported",
    )[0]
    assert (failed.state, "killed by signal 9" in failed.reason) == (UnitState.FAILED, True)
    with pytest.raises(UnitGoneError):
        tier.actuator.drain_unit(busiest.unit_id, reason="test")


def test_a_started_stream_of_a_killed_unit_ends_with_a_clear_error(
    tier: RunningTier, http: httpx.Client
) -> None:
    tier.ready(CHAT, 1)
    unit = tier.live(CHAT)[0]
    body = {"model": CHAT, "prompt": "x", "max_tokens": 2000, "stream": True}
    with http.stream("POST", "/v1/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        os.kill(tier.pid_of(unit.unit_id), signal.SIGKILL)
        rest = [line for line in lines if line]
    assert '"error"' in rest[-1]
    assert "lost in mid-answer" in rest[-1]
    assert "[DONE]" not in rest[-1]


def test_draining_finishes_a_long_stream_and_returns_the_process(
    tier: RunningTier, http: httpx.Client, models: Path
) -> None:
    tier.ready(CHAT, 1)
    unit = tier.live(CHAT)[0]
    pid = tier.pid_of(unit.unit_id)
    body = {"model": CHAT, "prompt": "flood", "max_tokens": 600, "stream": True, "temperature": 0}
    text = ""
    with http.stream("POST", "/v1/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        assert tier.drain(CHAT) == (unit.unit_id,)
        assert tier.live(CHAT)[0].state is UnitState.DRAINING
        tier.actuator.drain_unit(unit.unit_id, reason="again")
        tier.prewarm(CHAT)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert len(rest) == 600
    assert "error" not in text
    until(lambda: not alive(pid), "the drained unit's process ends")
    tier.settled(CHAT, 1)
    last = [e for e in tier.actuator.events_after(0) if e.unit_id == unit.unit_id][-1]
    assert (last.before, last.after) == (UnitState.DRAINING, UnitState.GONE)


def test_requests_wait_for_the_first_unit(
    tier: RunningTier, http: httpx.Client, models: Path
) -> None:
    tier.ready(CHAT, 0)
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(_complete, http, "dawn", 12) for _ in range(4)]
        until(lambda: tier.actuator.stats()["waiting"][CHAT] == 4, "requests wait")
        assert http.get(f"/v2/models/{CHAT}/ready").status_code == 503
        tier.prewarm(CHAT)
        texts = {each.result().json()["choices"][0]["text"] for each in running}
    assert texts == {BareLlama(models).text("dawn", 12)}


def test_warming_units_are_drained_first(tier: RunningTier) -> None:
    tier.ready(CHAT, 1)
    ready = tier.live(CHAT)[0].unit_id
    warming = tier.prewarm(CHAT)
    assert tier.drain(CHAT) == warming
    tier.settled(CHAT, 1)
    assert tier.live(CHAT)[0].unit_id == ready


def test_orders_beyond_the_room_are_denied_whole(tier: RunningTier) -> None:
    tier.ready(CHAT, 1)
    before = tier.actuator.stats()["units_live"]
    with pytest.raises(CapacityDeniedError, match="of 6 are taken; raise max_units_total"):
        tier.prewarm(CHAT, 6)
    assert tier.actuator.stats()["units_live"] == before


def test_a_hung_unit_is_killed_and_its_requests_move(
    tier: RunningTier, http: httpx.Client, models: Path
) -> None:
    tier.ready(CHAT, 1)
    hung = tier.live(CHAT)[0].unit_id
    os.kill(tier.pid_of(hung), signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(_complete, http, "fog", 10) for _ in range(2)]
        until(lambda: tier.live(CHAT)[0].in_flight == 2, "it holds both")
        tier.prewarm(CHAT)
        texts = {each.result().json()["choices"][0]["text"] for each in running}
    assert texts == {BareLlama(models).text("fog", 10)}
    failed = next(u for u in tier.actuator.observe(CHAT).units if u.unit_id == hung)
    assert "no heartbeat" in failed.reason


def test_full_queues_and_long_waits_are_refused_with_advice(models: Path, tmp_path: Path) -> None:
    served = services(models, queue_limit=2, queue_wait_s=0.6)
    with (
        running(tmp_path, served) as tier,
        httpx.Client(base_url=tier.url, timeout=30) as http,
        ThreadPoolExecutor(3) as pool,
    ):
        running_now = [pool.submit(_complete, http, "x", 4) for _ in range(3)]
        answers = [each.result() for each in running_now]
        assert [each.status_code for each in answers] == [503] * 3
        assert all(int(each.headers["retry-after"]) >= 1 for each in answers)
        reasons = sorted(each.json()["error"]["message"] for each in answers)
        assert "2 requests already wait" in reasons[0]
        assert "no unit within 0.6 s" in reasons[1]
        assert [each.status for each in tier.actuator.requests_after(0)] == [503] * 3


def test_an_answer_over_the_drain_deadline_ends_clearly(models: Path, tmp_path: Path) -> None:
    slow = replace(LLAMA_TYPE, drain_deadline_s=0.5, compute_share=0.05)
    served = (TierService(CHAT, slow, services(models)[0].model_path),)
    with running(tmp_path, served) as tier, httpx.Client(base_url=tier.url, timeout=30) as http:
        tier.ready(CHAT, 1)
        body = {"model": CHAT, "prompt": "x", "max_tokens": 2000, "stream": True}
        with http.stream("POST", "/v1/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            tier.drain(CHAT)
            rest = [line for line in lines if line]
        assert "ended at the drain deadline of 0.5 s" in rest[-1]
        tier.settled(CHAT, 0)
        assert "drain deadline" in tier.actuator.events_after(0)[-1].reason
