"""A model with tokenizer files of its own, through the real `openai` client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openai
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from actuators.onnx_tier.demo_models import LlamaShape, tiny_llama
from actuators.onnx_tier.kv_rows import KvRows
from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.session import ModelSignature, open_session, signature_of
from actuators.onnx_tier.spec import TierService, TierSpec
from actuators.onnx_tier.tokenizer_files import FileText, text_of
from forecaster.domain.errors import ModelError
from tests.integration.tier_helpers import CHAT, LLAMA_TYPE, RunningTier, running

VOCABULARY = 320
TEMPLATE = (
    "{% if messages[0].role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write_tokenizer(folder: Path) -> Tokenizer:
    """Train a byte-level BPE and write the files that models come with."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<eos>", "<|user|>", "<|assistant|>", "<|system|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the tide turns and the harbour waits for it"] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"eos_token": {"content": "<eos>"}, "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    made = tiny_llama(LlamaShape(layers=2, hidden=64, heads=4, vocabulary=VOCABULARY))
    del made.metadata_props[:]
    onnx.save_model(made, folder / "model.onnx")
    write_tokenizer(folder)
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def tier(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTier]:
    served = (TierService(CHAT, LLAMA_TYPE, model),)
    with running(tmp_path_factory.mktemp("home"), served) as tier:
        tier.ready(CHAT, 1)
        yield tier


@pytest.fixture(scope="module")
def client(tier: RunningTier) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tier.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Tokenizer:
    return Tokenizer.from_file(str(model.parent / "tokenizer.json"))


def _greedy(model: Path, prompt: list[int], tokens: int, stop: int) -> list[int]:
    """Decode at batch 1, without the engine."""
    session = open_session(model, "cpu", 1)
    kv = KvRows(session, signature_of(session), 1, 512)
    logits, cached, made = kv.prefill(0, np.array(prompt, np.int64), 0), len(prompt), []
    while len(made) < tokens and (token := int(logits.argmax())) != stop:
        made.append(token)
        logits = kv.decode(np.array([token]), np.array([cached]))[0]
        cached += 1
    return made


def test_text_goes_in_and_out_by_the_models_own_vocabulary(
    client: openai.OpenAI, model: Path, tokenizer: Tokenizer
) -> None:
    prompt = "the tide turns"
    ids = tokenizer.encode(prompt).ids
    assert len(ids) < len(prompt)
    answer = client.completions.create(model=CHAT, prompt=prompt, max_tokens=24, temperature=0)
    made = _greedy(model, ids, 24, tokenizer.token_to_id("<eos>"))
    assert answer.choices[0].text == tokenizer.decode(made)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(ids)


def test_a_conversation_is_rendered_by_the_models_own_template(
    client: openai.OpenAI, model: Path, tokenizer: Tokenizer
) -> None:
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "the harbour"}]}]
    ids = tokenizer.encode("<|user|>the harbour<eos><|assistant|>").ids
    made = _greedy(model, ids, 16, tokenizer.token_to_id("<eos>"))
    fields: dict[str, Any] = {"model": CHAT, "messages": messages, "temperature": 0}
    answer = client.chat.completions.create(**fields, max_tokens=16)
    assert answer.choices[0].message.content == tokenizer.decode(made)
    stream = client.chat.completions.create(**fields, max_tokens=16, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == tokenizer.decode(made)
    with pytest.raises(openai.BadRequestError, match="template refuses these messages: no tools"):
        client.chat.completions.create(
            model=CHAT, messages=[{"role": "tool", "content": "x", "tool_call_id": "1"}]
        )


def test_the_end_token_ends_the_answer(model: Path, tmp_path: Path) -> None:
    """The first greedy token is declared the end: the answer is empty and says stop."""
    folder = tmp_path / "ends"
    folder.mkdir()
    for file in model.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("the tide").ids
    first = _greedy(model, ids, 1, -1)[0]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, first]}))
    served = (TierService(CHAT, LLAMA_TYPE, folder / "model.onnx"),)
    with (
        running(tmp_path / "home", served) as tier,
        openai.OpenAI(base_url=f"{tier.url}/v1", api_key="none") as client,
    ):
        tier.ready(CHAT, 1)
        answer = client.completions.create(model=CHAT, prompt="the tide", temperature=0)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("", "stop")


def test_prompts_that_begin_alike_are_told_in_the_usage(client: openai.OpenAI) -> None:
    prompt = "a long instruction that every request begins with, word for word the same: " * 2
    cached = []
    for end in ("first", "second"):
        usage = client.completions.create(model=CHAT, prompt=prompt + end, max_tokens=2).usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        cached.append(usage.prompt_tokens_details.cached_tokens)
    assert cached[0] == 0
    assert cached[1] is not None
    assert cached[1] >= 64


def test_nucleus_sampling_through_the_api(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"model": CHAT, "prompt": "the", "max_tokens": 12}
    greedy = client.completions.create(**fields, temperature=0).choices[0].text
    narrow = client.completions.create(**fields, temperature=1, top_p=1e-6).choices[0].text
    one = client.completions.create(**fields, temperature=1, extra_body={"top_k": 1})
    assert greedy == narrow == one.choices[0].text
    for field, value in (("top_p", 1.5), ("presence_penalty", 0.5)):
        with pytest.raises(openai.BadRequestError, match=field):
            client.completions.create(**fields, **{field: value})


def test_a_model_without_a_template_completes_but_does_not_chat(
    model: Path, tmp_path: Path
) -> None:
    tokenizer = (model.parent / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(tokenizer)
    text = FileText(tmp_path, ModelSignature((), (), {"eos_token": "5"}))
    assert text.stop_tokens == (5,)
    assert text.encode("tide").size > 0
    with pytest.raises(Exception, match="no chat template"):
        text.chat([{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tokenizer.json", "{", "is no tokenizer"),
        ("tokenizer_config.json", "[", "is not JSON"),
        ("chat_template.jinja", "{% for %}", "chat template in .* is broken"),
    ],
)
def test_broken_files_are_named_before_anything_starts(
    model: Path, tmp_path: Path, name: str, content: str, said: str
) -> None:
    for file in model.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_text(content)
    spec = TierSpec(tmp_path / "home", (TierService(CHAT, LLAMA_TYPE, tmp_path / "model.onnx"),))
    with pytest.raises(ModelError, match=said):
        start_tier(spec, tmp_path / "log")


def test_a_template_cannot_reach_out_of_its_sandbox(model: Path, tmp_path: Path) -> None:
    for file in model.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    escape = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    (tmp_path / "chat_template.jinja").write_text(escape)
    text = text_of(tmp_path, ModelSignature((), (), {}))
    with pytest.raises(Exception, match="refuses these messages"):
        text.chat([{"role": "user", "content": "x"}])


def test_half_a_character_is_never_sent(model: Path, tokenizer: Tokenizer) -> None:
    text = text_of(model.parent, ModelSignature((), (), {}))
    pieces = text.pieces()
    sent = [pieces.add(int(token)) for token in text.encode("flut: ⚓ und Ebbe")]
    assert "".join(sent) == "flut: ⚓ und Ebbe"
    assert "�" not in "".join(sent)
