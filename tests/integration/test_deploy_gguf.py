"""`tidegate deploy` of GGUF: the graph computes what the file's model does, its text is the file's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import onnx
import openai
import pytest
from tokenizers import Tokenizer

from actuators.intake import gguf_llama
from actuators.intake.conversion import convert, gguf_in
from actuators.intake.gguf_file import GgufFile
from actuators.intake.gguf_text import write_text
from actuators.intake.intake import Wishes, take_in
from actuators.onnx_tier.session import ModelSignature, open_session, signature_of
from actuators.onnx_tier.spec import TierService
from actuators.onnx_tier.tokenizer_files import FileText, text_of
from forecaster.config import load_unit_type
from forecaster.config.unit_types import model_path
from forecaster.domain.errors import ModelError
from forecaster.domain.profile import GenerativeProfile
from tests.integration.cli_runner import Runner
from tests.integration.gguf_files import TinyGguf, byte_level_text, write_gguf
from tests.integration.test_tier_tokenizer import _greedy
from tests.integration.tier_helpers import CHAT, running

Kind = gguf.GGMLQuantizationType
QUICK = Wishes(max_batch=4, budget_s=0.2)
PROMPT = [5, 70, 300, 12, 5, 99, 180, 7, 33]


def _file(folder: Path, tiny: TinyGguf, *, kind: Kind = Kind.F32, **more: Any) -> Path:
    _, text = byte_level_text(folder)
    said = tiny.said | text | {key.replace("__", "."): value for key, value in more.items()}
    path = folder / "tiny.gguf"
    tensors = tiny.stored()
    if isinstance(tiny.divisors, np.ndarray):
        tensors["rope_freqs.weight"] = tiny.divisors.astype(np.float32)
    return write_gguf(path, said, tensors, kind)


def _logits(model: Path, ids: list[int]) -> np.ndarray:
    session = open_session(model, "cpu", 1)
    feed: dict[str, Any] = {
        "input_ids": np.array([ids], np.int64),
        "attention_mask": np.ones((1, len(ids)), np.int64),
    }
    for each in signature_of(session).inputs:
        if each.name.startswith("past"):
            feed[each.name] = np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32)
    return np.asarray(session.run(["logits"], feed)[0][0])


@pytest.mark.parametrize(
    ("tiny", "more"),
    [
        (TinyGguf(), {}),
        (TinyGguf(tied=False, kv_heads=4, epsilon=1e-2), {}),
        (TinyGguf(head=32, kv_heads=1), {}),
        (
            TinyGguf(divisors=4.0),
            {"llama__rope__scaling__type": "linear", "llama__rope__scaling__factor": 4.0},
        ),
        (TinyGguf(divisors=np.linspace(1.0, 8.0, 8)), {}),
    ],
    ids=["tied, grouped", "own head, wide epsilon", "one group", "linear scaling", "frequencies"],
)
def test_the_graph_computes_what_the_files_model_does(
    tmp_path: Path, tiny: TinyGguf, more: dict[str, Any]
) -> None:
    made = convert(_file(tmp_path, tiny, **more), _folder(tmp_path))
    expected = tiny.logits(PROMPT)
    found = np.stack([_logits(made, PROMPT[: at + 1])[-1] for at in range(len(PROMPT))])
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
    wrong = replace(tiny, base=10.0, weights={}).logits(PROMPT)
    assert np.abs(wrong - expected).max() > 0.05 * np.abs(expected).max(), "positions matter here"


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0])
def test_packed_weights_are_unpacked(tmp_path: Path, kind: Kind) -> None:
    tiny = TinyGguf(hidden=128, heads=4, head=32)
    stored = {
        name: gguf.dequantize(gguf.quantize(value, kind), kind) if value.ndim == 2 else value
        for name, value in tiny.stored().items()
    }
    rounded = write_gguf(tmp_path / "f32.gguf", tiny.said | byte_level_text(tmp_path)[1], stored)
    folders = [tmp_path / name for name in ("packed", "rounded")]
    for folder in folders:
        folder.mkdir()
    packed = convert(_file(tmp_path, tiny, kind=kind), folders[0])
    same = convert(rounded, folders[1])
    assert (packed.parent / "model.onnx.data").stat().st_size > packed.stat().st_size
    np.testing.assert_array_equal(_logits(packed, PROMPT), _logits(same, PROMPT))


def test_a_gguf_file_is_deployed_and_answers_in_its_own_words(tmp_path: Path) -> None:
    tokenizer, _ = byte_level_text(tmp_path)
    tiny = TinyGguf(seed=8)
    source = tmp_path / "own"
    source.mkdir()
    _file(tmp_path, tiny).rename(source / "tiny.gguf")
    steps: list[str] = []
    found = take_in(source, "own", tmp_path / "models", QUICK, steps.append)
    assert steps[:2] == ["converting GGUF", "checking the file"]
    assert found.token_agreement is not None
    assert found.token_agreement > 0.99
    assert isinstance(found.unit.profile, GenerativeProfile)
    assert found.unit.profile.kv_tokens == 4 * tiny.context
    deployed = tmp_path / "models" / "own"
    assert "from tiny.gguf" in (deployed / "unit.toml").read_text()
    assert {each.name for each in (tmp_path / "models").iterdir()} == {"own"}
    unit = load_unit_type(tmp_path / "models", "own")
    path = model_path(tmp_path / "models", unit)
    ids = tokenizer.encode("<|user|>the harbour<eos><|assistant|>").ids
    made = _greedy(path, ids, 12, 0)
    with (
        running(tmp_path / "home", (TierService(CHAT, unit, path),)) as tier,
        openai.OpenAI(base_url=f"{tier.url}/v1", api_key="none", max_retries=0) as client,
    ):
        tier.ready(CHAT, 1)
        answer = client.chat.completions.create(
            model=CHAT,
            messages=[{"role": "user", "content": "the harbour"}],
            temperature=0,
            max_tokens=12,
        )
    assert answer.choices[0].message.content == tokenizer.decode(made)


@pytest.mark.parametrize("bits", [8, 4])
def test_an_embedding_that_is_the_last_matrix_too_is_quantised_there_only(
    tmp_path: Path, bits: int
) -> None:
    source = _file(tmp_path, TinyGguf(hidden=128, heads=8))
    wishes = replace(QUICK, weight_bits=bits)
    found = take_in(source, "small", tmp_path / "models", wishes, lambda _text: None)
    model = onnx.load_model(found.folder / "model.onnx", load_external_data=False)
    kinds = {each.name: each.data_type for each in model.graph.initializer}
    assert kinds["embedding.w"] == onnx.TensorProto.FLOAT
    last = next(node for node in model.graph.node if "logits" in node.output)
    assert last.op_type == "MatMulNBits"
    # Random weights decide by hairs: what matters is that the rounded head is the head's own.
    original = onnx.load_model(convert(source, _folder(tmp_path)))
    whole = next(each for each in original.graph.initializer if each.name == "embedding.w")
    taken = {
        each.name: each for each in onnx.load_model(found.folder / "model.onnx").graph.initializer
    }
    scales = onnx.numpy_helper.to_array(taken[last.input[2]])
    largest = np.abs(onnx.numpy_helper.to_array(whole).reshape(-1, 32)).max(1)
    np.testing.assert_allclose(scales.ravel(), largest / ((1 << bits - 1) - 1), rtol=1e-5)


def _text(folder: Path, said: dict[str, Any], tiny: TinyGguf | None = None) -> FileText:
    tiny = tiny or TinyGguf()
    path = write_gguf(folder / "text.gguf", tiny.said | said, tiny.stored())
    ids = write_text(GgufFile(path), folder, tiny.vocabulary)
    (folder / "genai_config.json").write_text(json.dumps({"model": ids}))
    text = text_of(folder, ModelSignature((), (), {}))
    assert isinstance(text, FileText)
    return text


def test_byte_level_text_is_cut_as_the_original_cuts_it(tmp_path: Path) -> None:
    original, said = byte_level_text(tmp_path)
    folder = _folder(tmp_path)
    text = _text(folder, said)
    assert text.stop_tokens == (0,)
    for sample in (
        "the tide turns",
        "a harbour, 12 ⚓ ships;\n\n don't wait",
        "<|user|>the<eos>",
        "",
    ):
        assert text.encode(sample).tolist() == original.encode(sample).ids
    digits = _text(folder, said | {"tokenizer.ggml.pre": "smollm"})
    assert digits.encode("the tide").tolist() == original.encode("the tide").ids
    begun = said | {"tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.add_bos_token": True}
    begun |= {"tokenizer.ggml.eot_token_id": 3}
    text = _text(folder, begun)
    assert text.encode("the tide").tolist() == [1, *original.encode("the tide").ids]
    assert text.stop_tokens == (0, 3)


PIECES = {"t": -9, "h": -8, "e": -7, "i": -10, "d": -11, "\u2581": -6, "th": -2, "he": -1, "the": -3,
          "\u2581t": -4, "\u2581the": -5, "ti": -12, "tid": -13, "ide": -2.5, "de": -14, "tide": -15}  # fmt: skip


def _best_pairs_first(text: str) -> list[str]:
    """Score merges by their definition: of all neighbours that make a piece, join the best."""
    parts = list("\u2581" + text.replace(" ", "\u2581"))
    while True:
        scored = [
            (PIECES[a + b], -at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in PIECES
        ]
        if not scored:
            return parts
        at = -max(scored)[1]
        parts[at : at + 2] = ["".join(parts[at : at + 2])]


def test_scored_pieces_are_merged_by_their_scores(tmp_path: Path) -> None:
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    tokens = ["<unk>", "<s>", "</s>", *bytes_, *PIECES]
    said = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * 259 + [float(each) for each in PIECES.values()],
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * len(PIECES),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    text = _text(_folder(tmp_path), said)
    random = np.random.default_rng(4)
    for _ in range(200):
        sample = "".join(random.choice(list("thide "), random.integers(1, 14)))
        expected = [1, *(tokens.index(each) for each in _best_pairs_first(sample))]
        assert text.encode(sample).tolist() == expected, sample
    ids = text.encode("the \u2693").tolist()
    assert [tokens[each] for each in ids[-3:]] == ["<0xE2>", "<0x9A>", "<0x93>"]
    pieces = text.pieces()
    written = "".join([pieces.add(each) for each in ids]) + pieces.finish()
    assert written == " the \u2693", "what was read comes back, its first space included"


def _folder(parent: Path) -> Path:
    folder = parent / "made"
    folder.mkdir(exist_ok=True)
    return folder


def _without(*names: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def take(said: dict[str, Any], tensors: dict[str, Any]) -> None:
        for name in names:
            said.pop(name, None)
            tensors.pop(name, None)

    return take


def _saying(**more: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def say(said: dict[str, Any], _tensors: dict[str, Any]) -> None:
        said |= {key.replace("__", "."): value for key, value in more.items()}

    return say


def _bias(_said: dict[str, Any], tensors: dict[str, Any]) -> None:
    tensors["blk.0.attn_q.bias"] = np.ones(64, np.float32)


def _narrow(_said: dict[str, Any], tensors: dict[str, Any]) -> None:
    tensors["blk.1.ffn_up.weight"] = tensors["blk.1.ffn_up.weight"][:-1]


def _nan(_said: dict[str, Any], tensors: dict[str, Any]) -> None:
    tensors["output_norm.weight"] = np.full(64, np.nan, np.float32)


def _twins(said: dict[str, Any], _tensors: dict[str, Any]) -> None:
    said["tokenizer.ggml.tokens"] = ["same"] * VOCABULARY_ROWS


VOCABULARY_ROWS = TinyGguf().vocabulary


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without("llama.block_count"), "does not say 'llama.block_count'"),
        (_saying(llama__block_count="two"), "'two' under 'llama.block_count', which is no int"),
        (_saying(llama__block_count=0), "says 0 under 'llama.block_count'"),
        (_without("blk.1.attn_k.weight"), "tensor 'blk.1.attn_k.weight' is missing"),
        (_narrow, "tensor 'blk.1.ffn_up.weight' is .159, 64., not .160, 64."),
        (_bias, "tensors that a plain Llama has not: blk.0.attn_q.bias"),
        (_nan, "'output_norm.weight' holds values that are no numbers"),
        (_saying(llama__expert_count=8), "8 under 'llama.expert_count', .*: only models without"),
        (_saying(split__count=3), "3 under 'split.count', .* merge its parts"),
        (_saying(llama__rope__scaling__type="yarn"), "'yarn' under .* only 'none' and 'linear'"),
        (_saying(llama__rope__dimension_count=8), "only 16, a head's width"),
        (_saying(llama__attention__head_count_kv=3), "4 heads of width 16 over 3 heads of keys"),
        (_saying(llama__attention__head_count_kv=9), "9 under 'llama.attention.head_count_kv'"),
        (_without("tokenizer.ggml.tokens"), "does not say 'tokenizer.ggml.tokens'"),
        (_twins, "has 1 different texts for 320 tokens"),
        (_saying(tokenizer__ggml__model="bert"), "'bert' under .* only 'gpt2' and 'llama'"),
        (_saying(tokenizer__ggml__pre="jais"), "'jais' under .* only gpt-2, smollm"),
        (_saying(tokenizer__ggml__merges=["q zz"]), "merges of unknown tokens"),
        (_saying(tokenizer__chat_template="{% for %}"), "chat template in .* is broken"),
    ],
)
def test_what_cannot_be_converted_is_one_line_and_leaves_nothing(
    tmp_path: Path, spoil: Callable[[dict[str, Any], dict[str, Any]], None], said: str
) -> None:
    tiny = TinyGguf()
    metadata, tensors = tiny.said | byte_level_text(tmp_path)[1], tiny.stored()
    spoil(metadata, tensors)
    _refused(write_gguf(tmp_path / "spoilt.gguf", metadata, tensors), tmp_path / "models", said)


def _refused(source: Path, models: Path, said: str) -> None:
    with pytest.raises(ModelError, match=said) as refusal:
        take_in(source, "broken", models, QUICK, lambda _text: None)
    assert "\n" not in str(refusal.value)
    assert not models.exists() or not [*models.iterdir()]


def test_other_architectures_are_refused_by_their_name(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "o.gguf", {"mamba.block_count": 2}, {}, architecture="mamba")
    said = "'mamba' under 'general.architecture', which is not supported: only 'llama'"
    _refused(path, tmp_path / "models", said)


def test_a_torn_file_is_refused_wherever_it_was_torn(tmp_path: Path) -> None:
    whole = _file(tmp_path, TinyGguf(layers=1)).read_bytes()
    torn = tmp_path / "torn.gguf"
    for size in [0, 3, 4, 20, *np.linspace(24, len(whole) - 1, 60).astype(int)]:
        torn.write_bytes(whole[:size])
        _refused(torn, tmp_path / "models", "is no whole GGUF file")
    torn.write_bytes(b"PK\x03\x04" + whole[4:])
    _refused(torn, tmp_path / "models", "is no whole GGUF file: .*magic")


def test_lengths_that_lie_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    """Any eight bytes of the head may be a length: one that is far too large ends at once."""
    whole = bytearray(_file(tmp_path, TinyGguf(layers=1)).read_bytes())
    torn = tmp_path / "lies.gguf"
    at = whole.index(b"tokenizer.ggml.token_type") + len(b"tokenizer.ggml.token_type") + 8
    whole[at : at + 8] = (1 << 60).to_bytes(8, "little")
    torn.write_bytes(whole)
    _refused(torn, tmp_path / "models", "is no whole GGUF file: byte .* is read of")


def test_unpacked_weights_must_fit_memory_and_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(tmp_path, TinyGguf())
    monkeypatch.setattr("actuators.intake.conversion.available_bytes", lambda: 100_000)
    _refused(path, tmp_path / "models", "a unit needs about .* are available; use a larger")
    monkeypatch.undo()
    monkeypatch.setattr(gguf_llama, "_COPIES", 1 << 40)
    _refused(path, tmp_path / "models", "GB are free in .*; free some, or set `models`")


def test_without_the_package_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = _file(tmp_path, TinyGguf())
    monkeypatch.setitem(sys.modules, "gguf", None)
    config = tmp_path / "tidegate.toml"
    config.write_text(f'models = "{tmp_path / "models"}"\n')
    refused = Runner(monkeypatch, capfd)("deploy", str(path), "--config", str(config))
    assert refused.code == 1
    assert "needs the package gguf; run `pip install 'tidegate[gguf]'`" in refused.error


def test_a_folder_is_gguf_where_it_holds_one_and_no_onnx(tmp_path: Path) -> None:
    assert gguf_in(tmp_path) is None
    assert gguf_in(tmp_path / "missing.gguf") is None
    one = tmp_path / "a.gguf"
    one.touch()
    assert gguf_in(tmp_path) == gguf_in(one) == one
    (tmp_path / "b.gguf").touch()
    with pytest.raises(ModelError, match=r"one GGUF file; it holds a\.gguf, b\.gguf"):
        gguf_in(tmp_path)
    (tmp_path / "model.onnx").touch()
    assert gguf_in(tmp_path) is None


def test_the_files_chat_template_and_special_tokens_are_kept(tmp_path: Path) -> None:
    convert(_file(tmp_path, TinyGguf()), folder := _folder(tmp_path))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["eos_token"] == "<eos>"
    assert "<|assistant|>" in config["chat_template"]
    kept = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert kept.decode(kept.encode("<|user|>the tide<eos>").ids) == "the tide"
