"""Two small models, written with the onnx package and numpy alone: a tiny Llama and a classifier.

Both are seeded, so that every machine serves the same weights. The Llama has the graph layout that
onnxruntime-genai's builder writes, so what drives it drives any model built that way.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from actuators.onnx_tier.llama_graph import GraphWriter, LlamaLayout, llama_model, rotary_caches

BYTE_VOCABULARY = 264
"""256 byte values and eight specials: BOS = 256, EOS = 257, the rest unused."""

_UNPRINTABLE_BIAS = -40.0


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """Size of a Llama.

    Attributes
    ----------
    context_tokens : int
        Longest sequence, prompt and output together.
    """

    layers: int = 4
    hidden: int = 256
    heads: int = 8
    kv_heads: int = 2
    intermediate: int = 768
    vocabulary: int = BYTE_VOCABULARY
    context_tokens: int = 2048
    seed: int = 20

    @property
    def head(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


class _Seeded:
    """Gives the weights of a Llama, drawn as they are asked for."""

    def __init__(self, shape: LlamaShape) -> None:
        self._random = np.random.default_rng(shape.seed)
        cos, sin = rotary_caches(shape.context_tokens, shape.head)
        norm, bias = np.ones(shape.hidden, np.float32), _printable_bias(shape.vocabulary)
        self._whole = {"cos_cache": cos, "sin_cache": sin, "logits_bias": bias}
        self._whole |= dict.fromkeys(("norm1", "norm2", "final_norm"), norm)
        hidden, kv, wide = shape.hidden, shape.kv_heads * shape.head, shape.intermediate
        self._drawn = {
            "embedding": (shape.vocabulary, hidden, float(np.sqrt(shape.vocabulary))),
            "lm_head": (hidden, shape.vocabulary, 3.0),
            "d": (wide, hidden, 1.0),
        }
        self._drawn |= dict.fromkeys("qo", (hidden, hidden, 1.0))
        self._drawn |= dict.fromkeys("kv", (hidden, kv, 1.0))
        self._drawn |= dict.fromkeys("gu", (hidden, wide, 1.0))

    def take(self, name: str) -> npt.NDArray[np.float32]:
        part = name.rpartition(".")[2]
        return (
            self._whole[part] if part in self._whole else _dense(self._random, *self._drawn[part])
        )


def _dense(
    random: np.random.Generator, rows: int, columns: int, gain: float = 1.0
) -> npt.NDArray[np.float32]:
    scale = np.float32(gain / np.sqrt(rows))
    return random.standard_normal((rows, columns), dtype=np.float32) * scale


def _printable_bias(vocabulary: int) -> npt.NDArray[np.float32]:
    bias = np.full(vocabulary, _UNPRINTABLE_BIAS, np.float32)
    bias[32:127] = 0.0
    return bias


def tiny_llama(shape: LlamaShape | None = None) -> Any:
    """Build a Llama: RMSNorm, grouped-query attention with RoPE and KV cache, SiLU feed-forward.

    Parameters
    ----------
    shape : LlamaShape, optional
        Its size; the default has 3.3 M weights in 13 MB.

    Returns
    -------
    onnx.ModelProto
        Inputs ``input_ids[b, s]``, ``attention_mask[b, t]``, ``past_key_values.*``; outputs
        ``logits[b, s, v]``, ``present.*``. Its logits favour printable ASCII, so that answers read.
    """
    shape = shape or LlamaShape()
    layout = LlamaLayout(
        shape.layers, shape.heads, shape.kv_heads, shape.head, shape.vocabulary, biased=True
    )
    metadata = {
        "context_tokens": str(shape.context_tokens),
        "tokenizer": "bytes",
        "eos_token": "257",
    }
    return llama_model(layout, _Seeded(shape).take, GraphWriter(), metadata)


def mlp_classifier(width: int = 1536, layers: int = 4, seed: int = 21) -> Any:
    """Build a classifier: float32 ``features[batch, 64]`` -> ``probabilities[batch, 10]``."""
    graph, random = GraphWriter(), np.random.default_rng(seed)
    stream, rows = "features", 64
    for layer in range(layers):
        weight = graph.weight(f"w{layer}", _dense(random, rows, width, np.sqrt(2.0)))
        dense = graph.node("MatMul", [stream, weight], f"dense{layer}")
        stream, rows = graph.node("Relu", [dense], f"relu{layer}"), width
    last = graph.weight("out", _dense(random, rows, 10, 2.0))
    scores = graph.node("MatMul", [stream, last], "scores")
    graph.node("Softmax", [scores], "probabilities", axis=-1)
    inputs = [_tensor("features", TensorProto.FLOAT, ["batch", 64])]
    outputs = [_tensor("probabilities", TensorProto.FLOAT, ["batch", 10])]
    return graph.model(inputs, outputs, {})


def build_demo_models(models_dir: Path) -> None:
    """Write both demo models under `models_dir` where they are absent.

    Parameters
    ----------
    models_dir : Path
        Model repository; gets ``tiny-llama/model.onnx`` and ``mlp-classifier/model.onnx``.
    """
    for name, make in (("tiny-llama", tiny_llama), ("mlp-classifier", mlp_classifier)):
        target = models_dir / name / "model.onnx"
        if not target.exists():
            write_model(make(), target)


def write_model(model: Any, target: Path) -> None:
    """Write `model` to `target` by an atomic rename: readers see the whole file or none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".model-", suffix=".onnx")
    os.close(handle)
    try:
        onnx.save_model(model, name)
        Path(name).chmod(0o644)
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)


def _tensor(name: str, kind: int, dimensions: Sequence[int | str]) -> Any:
    return helper.make_tensor_value_info(name, kind, dimensions)
