"""A prompt read on one unit and continued on another: the tokens are those of one unit."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from actuators.onnx_tier.engine_generate import GenerateEngine, GenerateRequest
from actuators.onnx_tier.sampling import Sampling
from forecaster.domain.profile import GenerativeProfile
from tests.integration.tier_helpers import BareLlama


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> BareLlama:
    return BareLlama(tmp_path_factory.mktemp("models"))


def _engine(llama: BareLlama, rows: int, kv: int = 4096, device: str = "") -> GenerateEngine:
    profile = GenerativeProfile(0, 0, 0, 0, max_batch=rows, chunk_tokens=40, kv_tokens=kv)
    return GenerateEngine(llama.session, profile, device=device)


def _orders(count: int, seed: int) -> list[tuple[np.ndarray, int]]:
    """Long and short, some that begin alike, some of one token."""
    random = np.random.default_rng(seed)
    starts = [random.integers(32, 127, 120) for _ in range(3)]
    orders = []
    for number in range(count):
        own = random.integers(32, 127, random.integers(1, 60))
        prompt = np.concatenate([starts[number % 3], own]) if number % 2 else own
        orders.append((prompt, int(random.integers(1, 16))))
    return orders


def _apart(
    read: GenerateEngine, generate: GenerateEngine, requests: list[GenerateRequest], folder: Path
) -> dict[int, list[int]]:
    """Drive a prefill and a decode engine, in turns; files lose their names once they are taken."""
    made: dict[int, list[int]] = defaultdict(list)
    by_id = {each.request_id: each for each in requests}
    for each in requests:
        path = str(folder / str(each.request_id))
        read.submit(
            GenerateRequest(
                each.request_id, each.prompt, each.max_tokens, each.sampling, hand_to=path
            )
        )
    while read.has_work or generate.has_work:
        for out in read.step():
            assert not out.problem
            made[out.request_id].append(out.token)
            if out.handed_bytes:
                path = folder / str(out.request_id)
                assert path.stat().st_size == out.handed_bytes
                generate.resume(by_id[out.request_id], out.token, str(path))
                path.unlink()
        for out in generate.step():
            made[out.request_id].append(out.token)
    return made


@pytest.mark.parametrize("device", ["", "cpu"])
def test_tokens_equal_greedy_decoding_alone(llama: BareLlama, tmp_path: Path, device: str) -> None:
    """The decode unit keeps its cache in numpy's memory, and as a device would."""
    orders = _orders(40, seed=5)
    requests = [GenerateRequest(n, prompt, tokens) for n, (prompt, tokens) in enumerate(orders)]
    made = _apart(_engine(llama, 3), _engine(llama, 7, device=device), requests, tmp_path)
    for number, (prompt, tokens) in enumerate(orders):
        assert made[number] == llama.greedy(prompt.tolist(), tokens), number
    assert not list(tmp_path.iterdir())


def test_a_seeded_draw_goes_on_where_the_other_unit_stopped(
    llama: BareLlama, tmp_path: Path
) -> None:
    sampling = Sampling(temperature=0.9, top_k=20, seed=11)
    prompt = np.arange(40, 90)
    alone = _engine(llama, 1)
    alone.submit(GenerateRequest(1, prompt, 12, sampling))
    tokens = []
    while alone.has_work:
        tokens += [out.token for out in alone.step()]
    request = GenerateRequest(1, prompt, 12, sampling)
    made = _apart(_engine(llama, 1), _engine(llama, 2), [request], tmp_path)
    assert made[1] == tokens


def test_a_cache_waits_for_room_and_is_forgotten_when_cancelled(
    llama: BareLlama, tmp_path: Path
) -> None:
    read, generate = _engine(llama, 4), _engine(llama, 4, kv=64)
    requests = [GenerateRequest(n, np.arange(40, 70), 20) for n in range(3)]
    for each in requests:
        read.submit(
            GenerateRequest(
                each.request_id, each.prompt, 20, hand_to=str(tmp_path / str(each.request_id))
            )
        )
    first = {}
    while read.has_work:
        first |= {out.request_id: out.token for out in read.step()}
    for each in requests:
        generate.resume(each, first[each.request_id], str(tmp_path / str(each.request_id)))
    assert {out.request_id for out in generate.step()} == {0}  # 50 of 64 tokens are taken
    generate.cancel(1)
    generate.cancel(0)
    assert {out.request_id for out in generate.step()} == {2}
    generate.cancel(2)
    assert not generate.has_work


def test_what_cannot_be_handed_over_is_said(llama: BareLlama, tmp_path: Path) -> None:
    read, generate = _engine(llama, 1), _engine(llama, 1)
    read.submit(GenerateRequest(1, np.arange(40, 50), 4, hand_to=str(tmp_path / "no" / "folder")))
    (out,) = read.step()
    assert "no room" in out.problem
    assert not read.has_work
    request = GenerateRequest(2, np.arange(40, 50), 4)
    with pytest.raises(ValueError, match="is gone"):
        generate.resume(request, 5, str(tmp_path / "missing"))
    (tmp_path / "short").write_bytes(b"x" * 17)
    with pytest.raises(ValueError, match="17 bytes"):
        generate.resume(request, 5, str(tmp_path / "short"))
    assert not generate.has_work
