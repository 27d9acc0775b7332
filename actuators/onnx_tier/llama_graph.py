"""A Llama as an ONNX graph, in the layout that onnxruntime-genai's builder writes.

RMSNorm, grouped-query attention with rotary positions and a KV cache, SiLU feed-forward. Where weights
come from and where they go is the caller's: they are asked for one by one, in the order of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
Take = Callable[[str], Array]
"""Gives the weight of a name; matrices are ``[inputs, outputs]``, the embedding ``[vocabulary, hidden]``."""

Keep = Callable[[Array, str], Any]
"""Makes the TensorProto of a weight and its name."""

_LAST = {"last_from": -1, "last_to": 1 << 62, "last_axis": 1}
_OPSETS = (("", 17), ("com.microsoft", 1))


@dataclass(frozen=True, slots=True)
class LlamaLayout:
    """What of a Llama its weights do not say.

    Attributes
    ----------
    head : int
        Width of one attention head.
    interleaved : bool
        Whether rotary positions turn neighbours (0 with 1) instead of halves (0 with head / 2).
    tied : bool
        Whether the embedding is the last matrix, too: there is no ``lm_head`` then.
    biased : bool
        Whether ``logits_bias`` is added at the end.
    last_only : bool
        Whether only the last position of a prompt has logits, ``[b, 1, v]``: others are read by nobody,
        and the last matrix is a fifth of a small model.
    """

    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    rms_epsilon: float = 1e-5
    interleaved: bool = False
    tied: bool = False
    biased: bool = False
    last_only: bool = False


class GraphWriter:
    """Collects the nodes and the weights of a graph.

    Parameters
    ----------
    keep : callable
        Makes the tensors of weights; inside the model unless told otherwise.
    """

    def __init__(self, keep: Keep = numpy_helper.from_array) -> None:
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._keep = keep

    def weight(self, name: str, value: Array) -> str:
        """Add a weight; return its name."""
        self._weights.append(self._keep(value, name))
        return name

    def node(
        self, op: str, inputs: Sequence[str], *outputs: str, domain: str = "", **fields: Any
    ) -> str:
        """Add a node; return its first output."""
        self._nodes.append(helper.make_node(op, inputs, outputs, domain=domain, **fields))
        return outputs[0]

    def model(self, inputs: list[Any], outputs: list[Any], metadata: Mapping[str, str]) -> Any:
        """Return the ModelProto."""
        graph = helper.make_graph(self._nodes, "tidegate", inputs, outputs, self._weights)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        helper.set_model_props(model, dict(metadata))
        return model


def llama_model(
    layout: LlamaLayout, take: Take, graph: GraphWriter, said: Mapping[str, str]
) -> Any:
    """Build the ModelProto of a Llama.

    Parameters
    ----------
    layout : LlamaLayout
        Its structure.
    take : callable
        Is asked for ``cos_cache`` and ``sin_cache`` float32[context, head / 2], ``embedding``, of
        each layer l ``l{l}.norm1``, ``l{l}.attn.q|k|v|o``, ``l{l}.norm2``, ``l{l}.mlp.g|u|d``, then
        ``final_norm``, ``lm_head`` and ``logits_bias`` where there are any.
    graph : GraphWriter
        Gets nodes and weights.
    said : mapping
        Metadata of the model.

    Returns
    -------
    onnx.ModelProto
        Inputs ``input_ids[b, s]``, ``attention_mask[b, t]``, ``past_key_values.*``; outputs
        ``logits[b, s, v]``, or ``[b, 1, v]``, and ``present.*``.
    """

    def weight(name: str) -> str:
        return graph.weight(f"{name}.w", take(name))

    _lengths(graph)
    for name in ("cos_cache", "sin_cache"):
        graph.weight(name, take(name))
    embedding = weight("embedding")
    stream = graph.node("Gather", [embedding, "input_ids"], "x0", axis=0)
    fed = ""
    for layer in range(layout.layers):
        stream, normed = _added(graph, stream, fed, weight(f"l{layer}.norm1"), layout)
        attended = _attention(graph, normed, layer, layout, weight)
        stream, normed = _added(graph, stream, attended, weight(f"l{layer}.norm2"), layout)
        fed = _feed_forward(graph, normed, f"l{layer}.mlp", weight)
    _, normed = _added(graph, stream, fed, weight("final_norm"), layout)
    if layout.last_only:
        ends = [graph.weight(name, np.array([at])) for name, at in _LAST.items()]
        normed = graph.node("Slice", [normed, *ends], "last_normed")
    scores = "scores" if layout.biased else "logits"
    if layout.tied:
        # One tensor for both ends: a transposed copy would be another fifth of a small model.
        turned: dict[str, Any] = {"transB": 1, "domain": "com.microsoft"}
        graph.node("FusedMatMul", [normed, embedding], scores, **turned)
    else:
        graph.node("MatMul", [normed, weight("lm_head")], scores)
    if layout.biased:
        graph.node("Add", [scores, weight("logits_bias")], "logits")
    return graph.model(*_ends(layout), said)


def rotary_caches(
    context_tokens: int, head: int, base: float = 10000.0, divisors: Array | float = 1.0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return cosines and sines of rotary positions, float32[context_tokens, head / 2] each.

    Parameters
    ----------
    base : float
        Wavelengths grow from 2 pi to nearly ``2 pi base``.
    divisors : float or float[head / 2]
        Frequencies are divided by them: how a model's context was made longer.
    """
    inverse = 1.0 / base ** (np.arange(0, head, 2) / head) / divisors
    angles = np.outer(np.arange(context_tokens), inverse)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _added(
    graph: GraphWriter, stream: str, more: str, scale: str, layout: LlamaLayout
) -> tuple[str, str]:
    """Add `more` to the stream and norm the sum, in one pass over it; return both."""
    normed = scale.removesuffix(".w")
    epsilon: dict[str, Any] = {"epsilon": layout.rms_epsilon}
    if not more:
        graph.node("SimplifiedLayerNormalization", [stream, scale], normed, axis=-1, **epsilon)
        return stream, normed
    outputs = [normed, "", "", f"{normed}.sum"]
    inputs = [stream, more, scale]
    op = "SkipSimplifiedLayerNormalization"
    graph.node(op, inputs, *outputs, domain="com.microsoft", **epsilon)
    return outputs[-1], normed


def _attention(
    graph: GraphWriter, source: str, layer: int, layout: LlamaLayout, weight: Callable[[str], str]
) -> str:
    name = f"l{layer}.attn"
    made = [
        graph.node("MatMul", [source, weight(f"{name}.{part}")], f"{name}.{part}")
        for part in ("q", "k", "v")
    ]
    past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
    graph.node(
        "GroupQueryAttention",
        [*made, *past, "seqlens_k", "total_tokens", "cos_cache", "sin_cache"],
        *(f"{name}.out", f"present.{layer}.key", f"present.{layer}.value"),
        domain="com.microsoft",
        num_heads=layout.heads,
        kv_num_heads=layout.kv_heads,
        do_rotary=1,
        rotary_interleaved=int(layout.interleaved),
    )
    return graph.node("MatMul", [f"{name}.out", weight(f"{name}.o")], f"{name}.o")


def _feed_forward(graph: GraphWriter, source: str, name: str, weight: Callable[[str], str]) -> str:
    gate = graph.node("MatMul", [source, weight(f"{name}.g")], f"{name}.g")
    up = graph.node("MatMul", [source, weight(f"{name}.u")], f"{name}.u")
    sigmoid = graph.node("Sigmoid", [gate], f"{name}.sig")
    silu = graph.node("Mul", [gate, sigmoid], f"{name}.silu")
    product = graph.node("Mul", [silu, up], f"{name}.prod")
    return graph.node("MatMul", [product, weight(f"{name}.d")], f"{name}.d")


def _lengths(graph: GraphWriter) -> None:
    """Derive per-row lengths from the attention mask, as genai's builder does."""
    one = graph.weight("one", np.array([1], np.int64))
    at_one = graph.weight("at_one", np.array(1, np.int64))
    total = graph.node("ReduceSum", ["attention_mask", one], "mask_sum", keepdims=0)
    last = graph.node("Sub", [total, one], "mask_last")
    graph.node("Cast", [last], "seqlens_k", to=TensorProto.INT32)
    shape = graph.node("Shape", ["attention_mask"], "mask_shape")
    width = graph.node("Gather", [shape, at_one], "mask_width", axis=0)
    graph.node("Cast", [width], "total_tokens", to=TensorProto.INT32)


def _ends(layout: LlamaLayout) -> tuple[list[Any], list[Any]]:
    make, number, real = helper.make_tensor_value_info, TensorProto.INT64, TensorProto.FLOAT
    inputs = [make("input_ids", number, ["b", "s"]), make("attention_mask", number, ["b", "t"])]
    positions = 1 if layout.last_only else "s"
    outputs = [make("logits", real, ["b", positions, layout.vocabulary])]
    for layer in range(layout.layers):
        for part in ("key", "value"):
            past, present = (["b", layout.kv_heads, t, layout.head] for t in ("past", "total"))
            inputs.append(make(f"past_key_values.{layer}.{part}", real, past))
            outputs.append(make(f"present.{layer}.{part}", real, present))
    return inputs, outputs
