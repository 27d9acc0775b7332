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
from onnx import TensorProto, helper, numpy_helper

BYTE_VOCABULARY = 264
"""256 byte values and eight specials: BOS = 256, EOS = 257, the rest unused."""

_UNPRINTABLE_BIAS = -40.0
_OPSETS = (("", 17), ("com.microsoft", 1))


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


class _Graph:
    """Collects nodes and seeded weights, layer by layer."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._random = np.random.default_rng(seed)

    def weight(self, name: str, value: npt.NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def dense(self, name: str, rows: int, columns: int, gain: float = 1.0) -> str:
        scale = np.float32(gain / np.sqrt(rows))
        value = self._random.standard_normal((rows, columns), dtype=np.float32) * scale
        return self.weight(name, value)

    def node(self, op: str, inputs: list[str], output: str, domain: str = "", **fields: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], domain=domain, **fields))
        return output

    def model(self, inputs: list[Any], outputs: list[Any], metadata: dict[str, str]) -> Any:
        graph = helper.make_graph(self.nodes, "tidegate", inputs, outputs, self.weights)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        helper.set_model_props(model, metadata)
        return model


def _rms_norm(graph: _Graph, source: str, name: str, width: int) -> str:
    scale = graph.weight(f"{name}.weight", np.ones(width, np.float32))
    graph.nodes.append(
        helper.make_node(
            "SimplifiedLayerNormalization", [source, scale], [name], axis=-1, epsilon=1e-5
        )
    )
    return name


def _attention(graph: _Graph, source: str, layer: int, shape: LlamaShape) -> str:
    name = f"l{layer}.attn"
    kv = shape.kv_heads * shape.head
    q = graph.node(
        "MatMul", [source, graph.dense(f"{name}.q.w", shape.hidden, shape.hidden)], f"{name}.q"
    )
    k = graph.node("MatMul", [source, graph.dense(f"{name}.k.w", shape.hidden, kv)], f"{name}.k")
    v = graph.node("MatMul", [source, graph.dense(f"{name}.v.w", shape.hidden, kv)], f"{name}.v")
    past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
    present = [f"present.{layer}.key", f"present.{layer}.value"]
    graph.nodes.append(
        helper.make_node(
            "GroupQueryAttention",
            [q, k, v, *past, "seqlens_k", "total_tokens", "cos_cache", "sin_cache"],
            [f"{name}.out", *present],
            domain="com.microsoft",
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
        )
    )
    out = graph.dense(f"{name}.o.w", shape.hidden, shape.hidden)
    return graph.node("MatMul", [f"{name}.out", out], f"{name}.o")


def _feed_forward(graph: _Graph, source: str, layer: int, shape: LlamaShape) -> str:
    name, wide = f"l{layer}.mlp", shape.intermediate
    gate = graph.node(
        "MatMul", [source, graph.dense(f"{name}.g.w", shape.hidden, wide)], f"{name}.g"
    )
    up = graph.node("MatMul", [source, graph.dense(f"{name}.u.w", shape.hidden, wide)], f"{name}.u")
    sigmoid = graph.node("Sigmoid", [gate], f"{name}.sig")
    silu = graph.node("Mul", [gate, sigmoid], f"{name}.silu")
    product = graph.node("Mul", [silu, up], f"{name}.prod")
    return graph.node(
        "MatMul", [product, graph.dense(f"{name}.d.w", wide, shape.hidden)], f"{name}.d"
    )


def _lengths(graph: _Graph) -> None:
    """Derive per-row lengths from the attention mask, as genai's builder does."""
    one = graph.weight("one", np.array([1], np.int64))
    at_one = graph.weight("at_one", np.array(1, np.int64))
    total = graph.node("ReduceSum", ["attention_mask", one], "mask_sum", keepdims=0)
    last = graph.node("Sub", [total, one], "mask_last")
    graph.node("Cast", [last], "seqlens_k", to=TensorProto.INT32)
    shape = graph.node("Shape", ["attention_mask"], "mask_shape")
    width = graph.node("Gather", [shape, at_one], "mask_width", axis=0)
    graph.node("Cast", [width], "total_tokens", to=TensorProto.INT32)


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
    graph = _Graph(shape.seed)
    _lengths(graph)
    inverse = 1.0 / 10000.0 ** (np.arange(0, shape.head, 2) / shape.head)
    angles = np.outer(np.arange(shape.context_tokens), inverse)
    graph.weight("cos_cache", np.cos(angles).astype(np.float32))
    graph.weight("sin_cache", np.sin(angles).astype(np.float32))
    embedding = graph.dense("embedding", shape.vocabulary, shape.hidden, np.sqrt(shape.vocabulary))
    stream = graph.node("Gather", [embedding, "input_ids"], "x0", axis=0)
    for layer in range(shape.layers):
        normed = _rms_norm(graph, stream, f"l{layer}.norm1", shape.hidden)
        attended = _attention(graph, normed, layer, shape)
        stream = graph.node("Add", [stream, attended], f"x{layer}.attn")
        normed = _rms_norm(graph, stream, f"l{layer}.norm2", shape.hidden)
        fed = _feed_forward(graph, normed, layer, shape)
        stream = graph.node("Add", [stream, fed], f"x{layer + 1}")
    normed = _rms_norm(graph, stream, "final_norm", shape.hidden)
    head = graph.dense("lm_head", shape.hidden, shape.vocabulary, 3.0)
    raw = graph.node("MatMul", [normed, head], "raw_logits")
    bias = graph.weight("printable", _printable_bias(shape.vocabulary))
    graph.node("Add", [raw, bias], "logits")
    inputs = [_tensor("input_ids", TensorProto.INT64, ["b", "s"])]
    inputs.append(_tensor("attention_mask", TensorProto.INT64, ["b", "t"]))
    outputs = [_tensor("logits", TensorProto.FLOAT, ["b", "s", shape.vocabulary])]
    for layer in range(shape.layers):
        for part in ("key", "value"):
            past: list[int | str] = ["b", shape.kv_heads, "past", shape.head]
            present: list[int | str] = ["b", shape.kv_heads, "total", shape.head]
            inputs.append(_tensor(f"past_key_values.{layer}.{part}", TensorProto.FLOAT, past))
            outputs.append(_tensor(f"present.{layer}.{part}", TensorProto.FLOAT, present))
    metadata = {
        "context_tokens": str(shape.context_tokens),
        "tokenizer": "bytes",
        "eos_token": "257",
    }
    return graph.model(inputs, outputs, metadata)


def mlp_classifier(width: int = 1536, layers: int = 4, seed: int = 21) -> Any:
    """Build a classifier: float32 ``features[batch, 64]`` -> ``probabilities[batch, 10]``."""
    graph = _Graph(seed)
    stream, rows = "features", 64
    for layer in range(layers):
        weight = graph.dense(f"w{layer}", rows, width, np.sqrt(2.0))
        dense = graph.node("MatMul", [stream, weight], f"dense{layer}")
        stream, rows = graph.node("Relu", [dense], f"relu{layer}"), width
    scores = graph.node("MatMul", [stream, graph.dense("out", rows, 10, 2.0)], "scores")
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
