"""The engines on real sessions, in this process: what they answer is what a bare session answers."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from actuators.onnx_tier.engine_classic import ClassicEngine, InferRequest
from actuators.onnx_tier.engine_generate import GenerateEngine, GenerateRequest
from actuators.onnx_tier.kv_rows import KvRows
from actuators.onnx_tier.prefixes import BLOCK_TOKENS
from actuators.onnx_tier.sampling import Sampling
from actuators.onnx_tier.session import check_model, open_session, signature_of
from forecaster.domain.errors import ModelError
from forecaster.domain.profile import ClassicProfile, GenerativeProfile
from tests.integration.tier_helpers import BareLlama, BareMlp


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def llama(models: Path) -> BareLlama:
    return BareLlama(models)


@pytest.fixture(scope="module")
def mlp(models: Path) -> BareMlp:
    return BareMlp(models)


def _engine(llama: BareLlama, *, rows: int, chunk: int, kv: int = 4096) -> GenerateEngine:
    profile = GenerativeProfile(0, 0, 0, 0, max_batch=rows, chunk_tokens=chunk, kv_tokens=kv)
    return GenerateEngine(llama.session, profile)


def _drive(engine: GenerateEngine) -> dict[int, list[int]]:
    made: dict[int, list[int]] = defaultdict(list)
    while engine.has_work:
        for out in engine.step():
            made[out.request_id].append(out.token)
    return made


def _prompts(count: int, longest: int, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(32, 127, random.integers(1, longest)) for _ in range(count)]


@pytest.mark.parametrize(("rows", "chunk"), [(1, 512), (3, 7), (8, 32), (16, 1)])
def test_batched_tokens_equal_greedy_decoding_alone(
    llama: BareLlama, rows: int, chunk: int
) -> None:
    engine = _engine(llama, rows=rows, chunk=chunk)
    prompts = _prompts(14, 90, seed=rows)
    lengths = [1 + 5 * number % 37 for number in range(14)]
    for number, (prompt, tokens) in enumerate(zip(prompts, lengths, strict=True)):
        engine.submit(GenerateRequest(number, prompt, tokens))
    made = _drive(engine)
    for number, (prompt, tokens) in enumerate(zip(prompts, lengths, strict=True)):
        assert made[number] == llama.greedy(prompt.tolist(), tokens), number


def test_two_hundred_mixed_requests_equal_greedy_decoding_alone(llama: BareLlama) -> None:
    """Long and short, alike and unlike, arriving while others run."""
    random = np.random.default_rng(17)
    starts = _prompts(5, 120, seed=18)
    engine = _engine(llama, rows=12, chunk=40)
    orders, made = [], defaultdict(list)
    for number in range(200):
        own = random.integers(32, 127, random.integers(1, 30))
        prompt = np.concatenate([starts[number % 5], own]) if number % 3 else own
        orders.append((prompt, int(random.integers(1, 16))))
    waiting = list(enumerate(orders))
    while waiting or engine.has_work:
        for number, (prompt, tokens) in waiting[: int(random.integers(0, 4))]:
            engine.submit(GenerateRequest(number, prompt, tokens))
            waiting.pop(0)
        for out in engine.step() if engine.has_work else []:
            made[out.request_id].append(out.token)
    for number, (prompt, tokens) in enumerate(orders):
        assert made[number] == llama.greedy(prompt.tolist(), tokens), number


def test_late_arrivals_and_cancellations_leave_the_others_alone(llama: BareLlama) -> None:
    engine = _engine(llama, rows=4, chunk=8)
    prompts = _prompts(9, 60, seed=3)
    made: dict[int, list[int]] = defaultdict(list)
    cancelled = {1: 4, 4: 9, 7: 3}
    for step in range(400):
        if step < len(prompts):
            engine.submit(GenerateRequest(step, prompts[step], 30))
        for number, at in cancelled.items():
            if step == number + at:
                engine.cancel(number)
        for out in engine.step():
            made[out.request_id].append(out.token)
        if step > len(prompts) and not engine.has_work:
            break
    assert not engine.has_work
    for number, prompt in enumerate(prompts):
        alone = llama.greedy(prompt.tolist(), 30)
        if number in cancelled:
            assert made[number] == alone[: len(made[number])]
            assert len(made[number]) < 30
        else:
            assert made[number] == alone


def test_a_step_reads_no_more_than_one_chunk(llama: BareLlama) -> None:
    engine = _engine(llama, rows=4, chunk=16)
    for number, prompt in enumerate(_prompts(6, 100, seed=5)):
        engine.submit(GenerateRequest(number, prompt, 8))
    _drive(engine)
    assert max(step.p for step in engine.steps) == 16
    assert max(step.b for step in engine.steps) <= 4
    assert any(step.b and step.p for step in engine.steps), "decoding and reading share steps"


def test_the_cache_limit_holds_requests_back(llama: BareLlama) -> None:
    engine = _engine(llama, rows=8, chunk=64, kv=100)
    for number in range(6):
        engine.submit(GenerateRequest(number, np.full(30, 70), 10))
    made = _drive(engine)
    assert [len(made[number]) for number in range(6)] == [10] * 6
    assert max(step.b for step in engine.steps) == 2, "two times 40 tokens fit into 100"


def test_sampling_repeats_with_its_seed_whoever_shares_the_batch(llama: BareLlama) -> None:
    prompt = np.frombuffer(b"tide", np.uint8).astype(np.int64)

    def sample(seed: int, neighbours: int) -> list[int]:
        engine = _engine(llama, rows=8, chunk=32)
        for number in range(neighbours):
            engine.submit(GenerateRequest(100 + number, prompt, 25, Sampling(1.0)))
        engine.submit(GenerateRequest(1, prompt, 20, Sampling(0.9, seed=seed)))
        return _drive(engine)[1]

    assert sample(5, 0) == sample(5, 4)
    assert sample(5, 0) != sample(6, 0)


@pytest.mark.parametrize(
    ("prompt", "tokens"), [([], 5), ([65], 0), ([65] * 4090, 100), ([9999], 5), ([-1], 5)]
)
def test_impossible_requests_are_refused(llama: BareLlama, prompt: list[int], tokens: int) -> None:
    engine = _engine(llama, rows=2, chunk=8)
    with pytest.raises(ValueError, match=r"token|prompt|fit"):
        engine.submit(GenerateRequest(1, np.array(prompt, np.int64), tokens))
    assert not engine.has_work


def test_prompts_that_begin_alike_are_read_once_and_answered_alike(llama: BareLlama) -> None:
    shared = np.arange(40, 40 + 3 * BLOCK_TOKENS) % 90 + 32
    ends = [np.array(list(text), np.int64) for text in (b"ebb", b"flow", b"spring tide, neap")]
    prompts = [np.concatenate([shared, end]) for end in ends] + [shared, shared[:BLOCK_TOKENS]]
    engine = _engine(llama, rows=3, chunk=48)
    reused: dict[int, int] = defaultdict(int)
    made: dict[int, list[int]] = defaultdict(list)
    for number, prompt in enumerate(prompts):
        engine.submit(GenerateRequest(number, prompt, 12))
    while engine.has_work:
        for out in engine.step():
            reused[out.request_id] += out.reused
            made[out.request_id].append(out.token)
    for number, prompt in enumerate(prompts):
        assert made[number] == llama.greedy(prompt.tolist(), 12), number
    assert reused == {0: 0, 1: 96, 2: 96, 3: 64, 4: 0}, "the last token is always read"
    read = sum(step.p for step in engine.steps)
    assert read == sum(map(len, prompts)) - sum(reused.values())


def test_old_prefixes_give_way(llama: BareLlama) -> None:
    engine = _engine(llama, rows=1, chunk=128, kv=4 * 4 * BLOCK_TOKENS)
    prompts = _prompts(6, 8, seed=8)
    prompts = [np.resize(each, 2 * BLOCK_TOKENS + 1) for each in prompts]
    reused = []
    for number, prompt in enumerate([*prompts, prompts[-1], prompts[0]]):
        engine.submit(GenerateRequest(number, prompt, 1))
        reused.append(engine.step()[0].reused)
    assert reused == [0] * 6 + [2 * BLOCK_TOKENS, 0], "room for four blocks"


def test_a_stop_token_ends_the_answer_without_being_part_of_it(llama: BareLlama) -> None:
    alone = llama.greedy(b"harbour", 30)
    stop = alone[6]
    engine = _engine(llama, rows=2, chunk=8)
    prompt = np.frombuffer(b"harbour", np.uint8).astype(np.int64)
    engine.submit(GenerateRequest(1, prompt, 30, stop_tokens=(7, stop)))
    outs = [out for _ in range(40) if engine.has_work for out in engine.step()]
    assert [out.token for out in outs if out.finish != "stop"] == alone[: alone.index(stop)]
    assert outs[-1].finish == "stop"


def test_classic_batches_answer_what_single_passes_answer(mlp: BareMlp) -> None:
    engine = ClassicEngine(mlp.session, ClassicProfile(((1, 0.001), (8, 0.002))))
    random = np.random.default_rng(1)
    inputs = {
        number: random.standard_normal((1 + number % 3, 64)).astype(np.float32)
        for number in range(25)
    }
    for number, features in inputs.items():
        engine.submit(InferRequest(number, [("features", features)]))
    answers = {}
    while engine.has_work:
        answers |= {out.request_id: out for out in engine.step()}
    assert max(each.rows for each in engine.passes) > 3
    assert max(each.rows for each in engine.passes) <= 8
    for number, features in inputs.items():
        name, value = answers[number].outputs[0]
        assert name == "probabilities"
        np.testing.assert_allclose(value, mlp(features), rtol=1e-4, atol=1e-6)


def test_a_request_that_the_model_refuses_does_not_fail_its_neighbours(mlp: BareMlp) -> None:
    engine = ClassicEngine(mlp.session, ClassicProfile(((1, 0.001), (8, 0.002))))
    good = np.ones((1, 64), np.float32)
    engine.submit(InferRequest(1, [("features", good)]))
    engine.submit(InferRequest(2, [("features", np.ones((1, 63), np.float32))]))
    engine.submit(InferRequest(3, [("features", good)]))
    answers = {}
    while engine.has_work:
        answers |= {out.request_id: out for out in engine.step()}
    assert answers[2].error
    assert not answers[1].error
    assert not answers[3].error


def test_a_classifier_is_no_decoder(mlp: BareMlp) -> None:
    with pytest.raises(ModelError, match="not a decoder"):
        KvRows(mlp.session, signature_of(mlp.session), 2, 64)


def test_files_are_checked_before_units_are_ordered(models: Path, tmp_path: Path) -> None:
    BareMlp(models)
    whole = models / "mlp-classifier" / "model.onnx"
    signature = check_model(whole)
    assert signature == signature_of(open_session(whole, "cpu", 1))
    with pytest.raises(ModelError, match=r"none\.onnx does not exist; .*model_file"):
        check_model(tmp_path / "none.onnx")
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(whole.read_bytes()[:100_000])
    with pytest.raises(ModelError, match=r"torn\.onnx is not ONNX: .*; export"):
        check_model(torn)
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    with pytest.raises(ModelError, match="holds no graph"):
        check_model(empty)


def test_strict_cuda_never_lands_on_the_cpu(models: Path) -> None:
    BareMlp(models)
    try:
        session = open_session(models / "mlp-classifier" / "model.onnx", "cuda", 1)
    except ModelError as error:
        assert "told cuda, session is on CPU" in str(error)
    else:
        assert session.get_providers()[0] == "CUDAExecutionProvider"
