"""A Llama in a GGUF file, written as ONNX: the graph that the generation engine serves.

Weights are unpacked to float32 one by one and written beside the graph, so that a conversion needs the
memory of one matrix. GGUF stores the rows of Q and K so that rotary positions turn neighbours; the graph
says so instead of moving them back.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from actuators.intake.gguf_file import AGAIN, GgufFile
from actuators.intake.optimise import DATA_FILE, MODEL_FILE
from actuators.onnx_tier.llama_graph import GraphWriter, LlamaLayout, llama_model, rotary_caches
from forecaster.domain.errors import ModelError

ARCHITECTURE = "llama"
_COPIES = 3
"""Float32 copies on disk while a model is deployed: converted, as it is, optimised."""

_ALIGNED = 4096
_NAMES = {
    "embedding": "token_embd",
    "final_norm": "output_norm",
    "lm_head": "output",
    "norm1": "attn_norm",
    "attn.q": "attn_q",
    "attn.k": "attn_k",
    "attn.v": "attn_v",
    "attn.o": "attn_output",
    "norm2": "ffn_norm",
    "mlp.g": "ffn_gate",
    "mlp.u": "ffn_up",
    "mlp.d": "ffn_down",
}
"""Our names of weights, without their layer, to those of GGUF, without ``blk.N`` and ``.weight``."""

_DIVISORS = "rope_freqs.weight"


@dataclass(frozen=True, slots=True)
class GgufLlama:
    """What a GGUF file says of its Llama.

    Attributes
    ----------
    divisors : float or None
        What rotary frequencies are divided by; None: by a tensor of the file.
    """

    layout: LlamaLayout
    hidden: int
    intermediate: int
    context_tokens: int
    rotary_base: float
    divisors: float | None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensors that the file must have, outermost axis first."""
        made, wide, all_heads = self.layout, self.intermediate, self.layout.heads
        q, kv = all_heads * made.head, made.kv_heads * made.head
        each = {
            "norm1": (self.hidden,),
            "attn.q": (q, self.hidden),
            "attn.k": (kv, self.hidden),
            "attn.v": (kv, self.hidden),
            "attn.o": (self.hidden, q),
            "norm2": (self.hidden,),
            "mlp.g": (wide, self.hidden),
            "mlp.u": (wide, self.hidden),
            "mlp.d": (self.hidden, wide),
        }
        found = {f"l{n}.{name}": shape for n in range(made.layers) for name, shape in each.items()}
        found |= {"embedding": (made.vocabulary, self.hidden), "final_norm": (self.hidden,)}
        if not made.tied:
            found["lm_head"] = (made.vocabulary, self.hidden)
        return {_gguf_name(name): shape for name, shape in found.items()}

    @property
    def weight_bytes(self) -> int:
        """Of all weights in float32."""
        caches = self.context_tokens * self.layout.head
        return 4 * (sum(int(np.prod(shape)) for shape in self.shapes.values()) + caches)


def read_llama(file: GgufFile) -> GgufLlama:
    """Read and check what a file says of its model.

    Raises
    ------
    ModelError
        When it is no Llama, or one of a kind that the graph does not have; by the name of the key.
    """
    _check_kind(file)

    def number(key: str, default: int | None = None) -> int:
        found = int(file.value(f"llama.{key}", int, default))
        if not 0 < found <= 1 << 24:
            raise ModelError(f"{file.path} says {found} under 'llama.{key}'", AGAIN)
        return found

    hidden, heads = number("embedding_length"), number("attention.head_count")
    kv_heads = _kv_heads(file, heads)
    head = number("attention.key_length", max(1, hidden // heads))
    for key in ("attention.value_length", "rope.dimension_count"):
        if number(key, head) != head:
            raise _unsupported(file, f"llama.{key}", number(key), f"only {head}, a head's width")
    if heads % kv_heads or head % 16:
        raise ModelError(
            f"{file.path.name} has {heads} heads of width {head} over {kv_heads} heads of keys: "
            "only multiples, and widths of 16, 32 ... are supported",
            "deploy an ONNX export of this model",
        )
    vocabulary = file.tensors.get(_gguf_name("embedding"), (0, 0))[0]
    layout = LlamaLayout(
        layers=number("block_count"),
        heads=heads,
        kv_heads=kv_heads,
        head=head,
        vocabulary=vocabulary,
        rms_epsilon=file.value("llama.attention.layer_norm_rms_epsilon", float),
        interleaved=True,
        tied=_gguf_name("lm_head") not in file.tensors,
        last_only=True,
    )
    found = GgufLlama(
        layout,
        hidden,
        number("feed_forward_length"),
        number("context_length"),
        file.value("llama.rope.freq_base", float, 10000.0),
        _divisors(file),
    )
    _check_tensors(file, found)
    return found


def genai_config(llama: GgufLlama, ids: Mapping[str, int | list[int]]) -> dict[str, Any]:
    """Return what `GENAI_CONFIG` says of a model: with it, onnxruntime-genai loads the folder, too.

    Parameters
    ----------
    ids : mapping
        Token ids that begin, end and fill.
    """
    made, both = llama.layout, ("key", "value")
    ends = {
        "inputs": {"input_ids": "input_ids", "attention_mask": "attention_mask"}
        | {f"past_{part}_names": f"past_key_values.%d.{part}" for part in both},
        "outputs": {"logits": "logits"}
        | {f"present_{part}_names": f"present.%d.{part}" for part in both},
    }
    decoder = {
        "filename": MODEL_FILE,
        "head_size": made.head,
        "hidden_size": llama.hidden,
        "num_attention_heads": made.heads,
        "num_hidden_layers": made.layers,
        "num_key_value_heads": made.kv_heads,
        "session_options": {},
    }
    model = {
        "type": ARCHITECTURE,
        "context_length": llama.context_tokens,
        "vocab_size": made.vocabulary,
        "decoder": decoder | ends,
    }
    search = {"max_length": llama.context_tokens, "past_present_share_buffer": True}
    return {"model": model | dict(ids), "search": search}


def write_llama(file: GgufFile, llama: GgufLlama, folder: Path) -> Path:
    """Write `MODEL_FILE` and `DATA_FILE` into `folder`; return the model's path.

    Raises
    ------
    ModelError
        When the disk has no room, or a tensor cannot be unpacked.
    """
    import onnx

    need, free = _COPIES * llama.weight_bytes, shutil.disk_usage(folder).free
    if need > free:
        raise ModelError(
            f"deploying {file.path.name} writes about {need / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free in {folder.parent}",
            "free some, or set `models` to a folder on another disk",
        )
    said = {"context_tokens": str(llama.context_tokens)}
    with (folder / DATA_FILE).open("wb") as data:
        graph = GraphWriter(_beside(data))
        model = llama_model(llama.layout, _taker(file, llama), graph, said)
    onnx.save_model(model, folder / MODEL_FILE)
    return folder / MODEL_FILE


def _check_kind(file: GgufFile) -> None:
    architecture = file.value("general.architecture", str)
    if architecture != ARCHITECTURE:
        raise _unsupported(file, "general.architecture", architecture, f"only {ARCHITECTURE!r}")
    for key, plain, only in (
        ("split.count", 1, "only a model in one file: merge its parts"),
        ("llama.expert_count", 0, "only models without experts"),
        ("llama.attention.sliding_window", 0, "only attention over the whole context"),
    ):
        if (said := file.value(key, int, plain)) > plain:
            raise _unsupported(file, key, said, only)
    scaling = file.value("llama.rope.scaling.type", str, "none")
    if scaling not in {"none", "linear"}:
        raise _unsupported(file, "llama.rope.scaling.type", scaling, "only 'none' and 'linear'")


def _kv_heads(file: GgufFile, heads: int) -> int:
    key = "llama.attention.head_count_kv"
    found = file.value(key, int, heads)
    if not 0 < found <= heads:
        raise _unsupported(file, key, found, f"1..{heads}")
    return int(found)


def _divisors(file: GgufFile) -> float | None:
    if _DIVISORS in file.tensors:
        return None
    old = file.value("llama.rope.scale_linear", float, 1.0)
    linear = file.value("llama.rope.scaling.type", str, "none") == "linear"
    return float(file.value("llama.rope.scaling.factor", float, 1.0)) if linear else float(old)


def _check_tensors(file: GgufFile, llama: GgufLlama) -> None:
    wanted = llama.shapes
    if llama.divisors is None:
        wanted[_DIVISORS] = (llama.layout.head // 2,)
    for name, shape in wanted.items():
        if file.tensors.get(name) != shape:
            have = file.tensors.get(name, "missing")
            raise ModelError(f"{file.path}: tensor {name!r} is {have}, not {shape}", AGAIN)
    if more := sorted(set(file.tensors) - set(wanted)):
        raise ModelError(
            f"{file.path} has tensors that a plain Llama has not: {', '.join(more[:3])}",
            "convert a model without biases, adapters and experts",
        )


def _taker(file: GgufFile, llama: GgufLlama) -> Callable[[str], npt.NDArray[Any]]:
    divisors = llama.divisors if llama.divisors is not None else file.tensor(_DIVISORS)
    caches = rotary_caches(llama.context_tokens, llama.layout.head, llama.rotary_base, divisors)
    rotary = dict(zip(("cos_cache", "sin_cache"), caches, strict=True))

    def take(name: str) -> npt.NDArray[Any]:
        if name in rotary:
            return rotary[name]
        value = file.tensor(_gguf_name(name))
        turned = value.ndim == 2 and name != "embedding"
        return np.ascontiguousarray(value.T) if turned else value

    return take


def _beside(data: BinaryIO) -> Callable[[npt.NDArray[Any], str], Any]:
    """Return what writes weights to `data` and makes tensors that point there."""
    from onnx import TensorProto, helper, numpy_helper

    def keep(value: npt.NDArray[Any], name: str) -> Any:
        if value.nbytes < _ALIGNED:
            return numpy_helper.from_array(value, name)
        data.write(b"\0" * (-data.tell() % _ALIGNED))
        tensor = TensorProto(name=name, dims=value.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": DATA_FILE, "offset": data.tell(), "length": value.nbytes}
        for key, said in place.items():
            tensor.external_data.add(key=key, value=str(said))
        data.write(value.data)
        return tensor

    return keep


def _gguf_name(name: str) -> str:
    layer, _, rest = name.partition(".")
    if rest:
        return f"blk.{layer.removeprefix('l')}.{_NAMES[rest]}.weight"
    return f"{_NAMES[name]}.weight"


def _unsupported(file: GgufFile, key: str, said: object, only: str) -> ModelError:
    return ModelError(
        f"{file.path.name} says {said!r} under {key!r}, which is not supported: {only}",
        "deploy an ONNX export of this model",
    )
