"""MiniLM as ONNX: a BERT of real weights, mean of its tokens, length one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from actuators.onnx_tier.llama_graph import GraphWriter

EPSILON = 1e-12


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read float32 and int64 tensors: a JSON head behind its length, then the bytes."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])
    kinds = {"F32": np.float32, "F16": np.float16, "I64": np.int64}
    found = {}
    for name, each in head.items():
        if name != "__metadata__":
            begin, end = (8 + size + at for at in each["data_offsets"])
            found[name] = np.frombuffer(data[begin:end], kinds[each["dtype"]]).reshape(
                each["shape"]
            )
    return found


class _Bert:
    def __init__(self, weights: dict[str, np.ndarray], heads: int) -> None:
        self.graph = GraphWriter()
        self._weights = {name.removeprefix("bert."): value for name, value in weights.items()}
        self._heads = heads
        self._made: dict[str, str] = {}

    def number(self, name: str, value: Any, kind: Any = np.int64) -> str:
        if name not in self._made:
            self._made[name] = self.graph.weight(name, np.array(value, kind))
        return self._made[name]

    def weight(self, name: str, *, turned: bool = False) -> str:
        value = self._weights[name].astype(np.float32)
        return self.graph.weight(name, np.ascontiguousarray(value.T) if turned else value)

    def dense(self, source: str, name: str) -> str:
        product = self.graph.node(
            "MatMul", [source, self.weight(f"{name}.weight", turned=True)], f"{name}.product"
        )
        return self.graph.node("Add", [product, self.weight(f"{name}.bias")], f"{name}.out")

    def normed(self, source: str, name: str) -> str:
        inputs = [source, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.graph.node(
            "LayerNormalization", inputs, f"{name}.out", axis=-1, epsilon=EPSILON
        )

    def embedded(self) -> str:
        name, graph = "embeddings", self.graph
        words = graph.node(
            "Gather", [self.weight(f"{name}.word_embeddings.weight"), "input_ids"], "words"
        )
        shape = graph.node("Shape", ["input_ids"], "shape")
        length = graph.node("Gather", [shape, self.number("at", 1)], "length")
        ends = [self.number("zero", 0), length, self.number("one", 1)]
        places = graph.node("Range", ends, "places")
        table = self.weight(f"{name}.position_embeddings.weight")
        both = graph.node("Add", [words, graph.node("Gather", [table, places], "placed")], "both")
        kind = self._weights[f"{name}.token_type_embeddings.weight"][0].astype(np.float32)
        whole = graph.node("Add", [both, graph.weight("kind", kind)], "embedded")
        return self.normed(whole, f"{name}.LayerNorm")

    def heads(self, source: str, name: str, order: list[int]) -> str:
        split = self.number("split", [0, 0, self._heads, -1])
        shaped = self.graph.node("Reshape", [source, split], f"{name}.shaped")
        return self.graph.node("Transpose", [shaped], f"{name}.heads", perm=order)

    def layer(self, stream: str, name: str, hidden: int) -> str:
        own, graph = f"{name}.attention", self.graph
        q, k, v = (
            self.heads(self.dense(stream, f"{own}.self.{part}"), f"{own}.{part}", order)
            for part, order in (
                ("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])
            )
        )  # fmt: skip
        scale = self.number("scale", np.sqrt(hidden / self._heads), np.float32)
        scores = graph.node("MatMul", [q, k], f"{own}.raw")
        scores = graph.node("Div", [scores, scale], f"{own}.scaled")
        scores = graph.node("Add", [scores, "hidden_places"], f"{own}.scores")
        shares = graph.node("Softmax", [scores], f"{own}.shares", axis=-1)
        mixed = graph.node("MatMul", [shares, v], f"{own}.mixed")
        back = graph.node("Transpose", [mixed], f"{own}.back", perm=[0, 2, 1, 3])
        joined = graph.node("Reshape", [back, self.number("join", [0, 0, hidden])], f"{own}.joined")
        stream = graph.node(
            "Add", [stream, self.dense(joined, f"{own}.output.dense")], f"{own}.added"
        )
        stream = self.normed(stream, f"{own}.output.LayerNorm")
        inner = self.dense(stream, f"{name}.intermediate.dense")
        inner = graph.node("Gelu", [inner], f"{name}.gelu", domain="com.microsoft")
        added = graph.node(
            "Add", [stream, self.dense(inner, f"{name}.output.dense")], f"{name}.sum"
        )
        return self.normed(added, f"{name}.output.LayerNorm")

    def pooled(self, stream: str) -> None:
        graph = self.graph
        mask = graph.node("Unsqueeze", ["mask", self.number("last", [2])], "mask_wide")
        summed = graph.node(
            "ReduceSum",
            [graph.node("Mul", [stream, mask], "kept"), self.number("tokens", [1])],
            "summed",
            keepdims=0,
        )
        graph.node("LpNormalization", [summed], "embedding", axis=-1, p=2)


def minilm(path: Path, heads: int = 12) -> onnx.ModelProto:
    """Build the graph from a safetensors file.

    Returns
    -------
    onnx.ModelProto
        ``input_ids`` and ``attention_mask`` int64[batch, tokens] to ``embedding`` float32[batch, hidden].
    """
    weights = read_safetensors(path)
    bert = _Bert(weights, heads)
    hidden = weights[next(name for name in weights if name.endswith("word_embeddings.weight"))]
    bert.graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    off = bert.graph.node("Sub", [bert.number("whole", 1, np.float32), "mask"], "off")
    far = bert.graph.node("Mul", [off, bert.number("far", -1e9, np.float32)], "far_off")
    bert.graph.node("Unsqueeze", [far, bert.number("middle", [1, 2])], "hidden_places")
    stream = bert.embedded()
    layers = {name.split("layer.")[1].split(".")[0] for name in weights if "encoder.layer." in name}
    for layer in range(len(layers)):
        stream = bert.layer(stream, f"encoder.layer.{layer}", hidden.shape[1])
    bert.pooled(stream)
    make, axes = helper.make_tensor_value_info, ["batch", "tokens"]
    inputs = [make(name, TensorProto.INT64, axes) for name in ("input_ids", "attention_mask")]
    outputs = [make("embedding", TensorProto.FLOAT, ["batch", hidden.shape[1]])]
    return bert.graph.model(inputs, outputs, {})
