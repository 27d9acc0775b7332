"""Small Llamas as GGUF files, written by the `gguf` package, and what they must compute, in numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer

from tests.integration.test_tier_tokenizer import TEMPLATE, VOCABULARY, write_tokenizer

Array = np.ndarray


@dataclass(frozen=True)
class TinyGguf:
    """A Llama with weights as PyTorch has them: ``[outputs, inputs]``, rotary positions in halves."""

    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head: int = 16
    wide: int = 160
    vocabulary: int = VOCABULARY
    context: int = 256
    epsilon: float = 1e-5
    base: float = 50000.0
    tied: bool = True
    divisors: float | Array = 1.0
    seed: int = 3
    weights: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        sizes = {"token_embd": (self.vocabulary, self.hidden), "output_norm": (self.hidden,)}
        if not self.tied:
            sizes["output"] = (self.vocabulary, self.hidden)
        q, kv = self.heads * self.head, self.kv_heads * self.head
        for layer in range(self.layers):
            for name, shape in {
                "attn_norm": (self.hidden,), "attn_q": (q, self.hidden),
                "attn_k": (kv, self.hidden), "attn_v": (kv, self.hidden),
                "attn_output": (self.hidden, q), "ffn_norm": (self.hidden,),
                "ffn_gate": (self.wide, self.hidden), "ffn_up": (self.wide, self.hidden),
                "ffn_down": (self.hidden, self.wide),
            }.items():  # fmt: skip
                sizes[f"blk.{layer}.{name}"] = shape
        for name, shape in sizes.items():
            scale = 1.0 if len(shape) == 1 or name == "token_embd" else 1.5 / np.sqrt(shape[1])
            drawn = random.standard_normal(shape) * scale + (len(shape) == 1)
            self.weights[f"{name}.weight"] = drawn.astype(np.float32)

    @property
    def said(self) -> dict[str, Any]:
        """Metadata of the file."""
        return {
            "llama.block_count": self.layers,
            "llama.context_length": self.context,
            "llama.embedding_length": self.hidden,
            "llama.feed_forward_length": self.wide,
            "llama.attention.head_count": self.heads,
            "llama.attention.head_count_kv": self.kv_heads,
            "llama.attention.key_length": self.head,
            "llama.attention.value_length": self.head,
            "llama.attention.layer_norm_rms_epsilon": self.epsilon,
            "llama.rope.dimension_count": self.head,
            "llama.rope.freq_base": self.base,
        }

    def stored(self) -> dict[str, Array]:
        """Weights as GGUF has them: the rows of Q and K so that neighbours turn."""
        found = dict(self.weights)
        for name, value in self.weights.items():
            if ".attn_q." in name or ".attn_k." in name:
                halves = value.reshape(-1, 2, self.head // 2, self.hidden)
                found[name] = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(value.shape))
        return found

    def logits(self, ids: list[int]) -> Array:
        """What the model computes, float64[n, vocabulary]."""
        weights = {name: value.astype(np.float64) for name, value in self.weights.items()}
        stream = weights["token_embd.weight"][ids]
        for layer in range(self.layers):
            own = {
                name.split(".")[2]: value
                for name, value in weights.items()
                if name.startswith(f"blk.{layer}.")
            }
            stream = stream + self._attended(own, self._normed(stream, own["attn_norm"]))
            inner = self._normed(stream, own["ffn_norm"])
            gate = inner @ own["ffn_gate"].T
            fed = gate / (1 + np.exp(-gate)) * (inner @ own["ffn_up"].T)
            stream = stream + fed @ own["ffn_down"].T
        last = weights["token_embd.weight" if self.tied else "output.weight"]
        return self._normed(stream, weights["output_norm.weight"]) @ last.T

    def _normed(self, stream: Array, scale: Array) -> Array:
        return scale * stream / np.sqrt((stream**2).mean(-1, keepdims=True) + self.epsilon)

    def _attended(self, own: dict[str, Array], stream: Array) -> Array:
        count = len(stream)
        q, k, v = (
            (stream @ own[f"attn_{name}"].T).reshape(count, -1, self.head).swapaxes(0, 1)
            for name in "qkv"
        )
        q, k = self._turned(q), self._turned(k)
        k, v = (np.repeat(each, self.heads // self.kv_heads, axis=0) for each in (k, v))
        scores = q @ k.swapaxes(1, 2) / np.sqrt(self.head)
        scores[:, np.triu_indices(count, 1)[0], np.triu_indices(count, 1)[1]] = -np.inf
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ v
        return mixed.swapaxes(0, 1).reshape(count, -1) @ own["attn_output"].T

    def _turned(self, heads: Array) -> Array:
        half = self.head // 2
        turns = self.base ** (-np.arange(half) / half) / self.divisors
        angles = np.outer(np.arange(heads.shape[1]), turns)
        one, other = heads[..., :half], heads[..., half:]
        cos, sin = np.cos(angles), np.sin(angles)
        return np.concatenate([one * cos - other * sin, other * cos + one * sin], -1)


def byte_level_text(folder: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """Return a trained byte-level tokenizer, and what a GGUF file says of it."""
    tokenizer = write_tokenizer(folder)
    import json

    model = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = sorted(model["model"]["vocab"], key=model["model"]["vocab"].get)
    specials = {each["id"] for each in model["added_tokens"]}
    return tokenizer, {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": vocabulary,
        "tokenizer.ggml.token_type": [3 if n in specials else 1 for n in range(len(vocabulary))],
        "tokenizer.ggml.merges": [" ".join(each) for each in model["model"]["merges"]],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.chat_template": TEMPLATE,
    }


def write_gguf(
    path: Path,
    said: dict[str, Any],
    tensors: dict[str, Array],
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    architecture: str = "llama",
) -> Path:
    """Write a GGUF file; matrices in `kind`, where their rows allow it."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in said.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, value in tensors.items():
        if value.ndim == 2:
            writer.add_tensor(name, gguf.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
