"""`tidegate deploy`: real models in, unit types out that a real tier serves; broken ones in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from actuators.intake.checks import check
from actuators.intake.compare import error_max, token_agreement
from actuators.intake.half import save_half
from actuators.intake.intake import Wishes, take_in
from actuators.intake.quantise import quantised, save_quantised
from actuators.onnx_tier.demo_models import LlamaShape, mlp_classifier, tiny_llama
from actuators.onnx_tier.samples import sample_inputs, stated_values
from actuators.onnx_tier.session import check_model
from actuators.onnx_tier.spec import TierService
from actuators.onnx_tier.warm_up import warm_up_inputs
from forecaster.config import load_unit_type
from forecaster.config.unit_types import model_path
from forecaster.domain.errors import ModelError, SettingError
from forecaster.domain.profile import ClassicProfile, GenerativeProfile
from tests.integration.cli_runner import Runner
from tests.integration.test_tier_tokenizer import VOCABULARY, write_tokenizer
from tests.integration.tier_helpers import CLASSIFIER, BareMlp, running

QUICK = Wishes(max_batch=8, budget_s=0.3)


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "ranker.onnx"
    onnx.save_model(mlp_classifier(width=256), path)
    return path


def _small(nodes: list[Any], inputs: list[Any], outputs: list[Any], opset: int = 17) -> Any:
    graph = helper.make_graph(nodes, "small", inputs, outputs)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("acme.ai", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _value(name: str, kind: int, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


FLOATS = (_value("x", TensorProto.FLOAT, ["n", 4]), _value("y", TensorProto.FLOAT, ["n", 4]))


def test_a_classifier_is_deployed_and_served(mlp: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    found = take_in(mlp, "ranker", tmp_path / "models", QUICK, steps.append)
    assert steps[0] == "checking the file"
    assert len(steps) == 7
    assert found.error_max is not None
    assert found.error_max < 1e-4
    unit = load_unit_type(tmp_path / "models", "ranker")
    assert isinstance(unit.profile, ClassicProfile)
    sizes, latencies = np.array(unit.profile.batch_latency_s).T
    assert sizes[0] == 1
    assert (np.diff(sizes / latencies) > 0).all(), "every batch that is kept pays"
    assert 0 < unit.lead_time_s < found.starts.spawn_s
    assert set(found.starts.stages_s) == {"starting", "loading", "warming"}
    assert found.model.weight_bytes < found.starts.memory_bytes < 600e6, "of the unit alone"
    service = TierService(CLASSIFIER, unit, model_path(tmp_path / "models", unit))
    features = np.random.default_rng(2).standard_normal((1, 64)).astype(np.float32)
    bare = BareMlp.__new__(BareMlp)
    from actuators.onnx_tier.session import open_session

    bare.session = open_session(mlp, "cpu", 1)
    with running(tmp_path / "home", (service,)) as tier:
        tier.ready(CLASSIFIER, 1)
        tensor = {"name": "features", "datatype": "FP32", "shape": [1, 64]}
        body = {"inputs": [tensor | {"data": features[0].tolist()}]}
        answer = httpx.post(f"{tier.url}/v2/models/{CLASSIFIER}/infer", json=body).json()
    value = np.array(answer["outputs"][0]["data"], np.float32)
    np.testing.assert_allclose(value, bare(features)[0], rtol=1e-4, atol=1e-6)


def test_a_language_model_is_deployed_with_its_tokenizer(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    made = tiny_llama(LlamaShape(layers=2, hidden=64, heads=4, vocabulary=VOCABULARY))
    del made.metadata_props[:]
    onnx.save_model(made, folder / "decoder.onnx")
    write_tokenizer(folder)
    genai = {"model": {"decoder": {"filename": "decoder.onnx"}, "context_length": 512}}
    (folder / "genai_config.json").write_text(json.dumps(genai))
    (tmp_path / "models" / "own").mkdir(parents=True)
    wishes = replace(QUICK, tpot_s=0.5, replace=True)
    found = take_in(folder, "own", tmp_path / "models", wishes, lambda _text: None)
    assert found.token_agreement is not None
    assert found.token_agreement > 0.99
    assert isinstance(found.unit.profile, GenerativeProfile)
    assert found.unit.profile.kv_tokens == 8 * 512
    assert found.unit.profile.chunk_tokens == 128
    deployed = tmp_path / "models" / "own"
    assert check_model(deployed / "model.onnx").context_tokens == 512
    assert {p.name for p in deployed.iterdir()} == {
        "model.onnx", "model.onnx.data", "unit.toml", "tokenizer.json", "tokenizer_config.json",
        "genai_config.json",
    }  # fmt: skip
    assert check(deployed / "model.onnx").external_files


def test_the_command_reports_units_at_the_peak(
    mlp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cli = Runner(monkeypatch, capfd)
    config = tmp_path / "tidegate.toml"
    config.write_text(f'models = "{tmp_path / "models"}"\n')
    args = ("deploy", str(mlp), "--seconds", "0.3", "--config", str(config))
    load = ("--rate", "50", "--latency-p99", "0.5")
    found = cli(*args, *load, "--format", "json").json
    assert found["unit"] == "ranker"
    assert found["units_at_peak_after"] >= 1
    assert found["units_at_peak_before"] >= 1
    assert found["warm_up_s"]["zygote"] < found["warm_up_s"]["spawn"]
    assert found["accuracy_delta"]["error_max"] < 1e-4
    again = cli(*args)
    assert again.code == 2
    assert "exists; choose another name or --replace" in again.error
    assert cli(*args, "--replace").code == 0
    for option, value in (
        ("--shape", "x"),
        ("--value", "x=two"),
        ("--weights", "int2"),
        ("--provider", "tpu"),
        ("--name", "../up"),
    ):
        refused = cli(*args, option, value)
        assert (refused.code, option in refused.error) == (2, True)
    missing = cli("deploy", str(tmp_path / "none.onnx"))
    assert (missing.code, "does not exist" in missing.error) == (1, True)


@pytest.mark.parametrize(
    ("bits", "shrinks", "error"), [(16, 1.9, 1e-2), (8, 2.5, 0.1), (4, 4.0, 0.7)]
)
def test_weights_are_quantised_on_request(
    mlp: Path, tmp_path: Path, bits: int, shrinks: float, error: float
) -> None:
    wishes = replace(QUICK, weight_bits=bits)
    found = take_in(mlp, "small", tmp_path / "models", wishes, lambda _text: None)
    assert found.served_bytes * shrinks < found.model.weight_bytes
    assert found.error_max is not None
    assert 0 < found.error_max < error
    model = onnx.load_model(tmp_path / "models" / "small" / "model.onnx", load_external_data=False)
    if bits == 16:
        kinds = {each.data_type for each in model.graph.initializer}
        assert (kinds, model.graph.input[0].type.tensor_type.elem_type) == ({10}, 1), (
            "clients see float32"
        )
    else:
        assert "MatMulNBits" in {node.op_type for node in model.graph.node}


def test_a_language_model_in_float16_keeps_its_tokens_and_halves_its_cache(tmp_path: Path) -> None:
    limits = GenerativeProfile(0, 0, 0, 0, max_batch=2, chunk_tokens=16, kv_tokens=256)
    agreed = []
    for seed in (
        20,
        21,
        22,
        23,
    ):  # random weights decide by hairs: one model of four may part ways early
        shape = LlamaShape(layers=2, hidden=64, heads=4, context_tokens=256, seed=seed)
        folder = tmp_path / f"half-{seed}"
        folder.mkdir()
        onnx.save_model(tiny_llama(shape), tmp_path / f"llama-{seed}.onnx")
        model = check(tmp_path / f"llama-{seed}.onnx")
        path = save_half(model.path, folder, "cpu")
        agreed.append(token_agreement(model.path, path, limits))
    assert np.mean(agreed) > 0.9
    half = check(path)
    assert half.kv_bytes_per_token * 2 == model.kv_bytes_per_token
    assert {each.dtype for each in half.signature.outputs if each.name == "logits"} == {"float32"}


def _dense(
    weight: np.ndarray, bias: np.ndarray | None = None, inputs: int = 128, **fields: Any
) -> Any:
    named = [
        helper.make_node("Gemm", ["x", "w", *(["b"] if bias is not None else [])], ["y"], **fields)
    ]
    graph = helper.make_graph(
        named,
        "dense",
        [_value("x", TensorProto.FLOAT, ["n", inputs])],
        [_value("y", TensorProto.FLOAT, ["n", None])],
        [onnx.numpy_helper.from_array(weight, "w")]
        + ([onnx.numpy_helper.from_array(bias, "b")] if bias is not None else []),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.mark.parametrize("turned", [0, 1])
def test_products_with_a_bias_are_quantised_too(tmp_path: Path, turned: int) -> None:
    """PyTorch exports a linear layer as ``Gemm`` with its matrix turned."""
    random = np.random.default_rng(3)
    weight = random.standard_normal((128, 96)).astype(np.float32)
    bias = 100 * random.standard_normal(96).astype(np.float32)
    source, small = tmp_path / "dense.onnx", tmp_path / "small"
    small.mkdir()
    onnx.save_model(
        _dense(np.ascontiguousarray(weight.T) if turned else weight, bias, transB=turned), source
    )
    path = save_quantised(source, small, 8)
    assert [node.op_type for node in onnx.load_model(path).graph.node] == ["MatMulNBits"]
    assert 0 < error_max(source, path, {}, 2) < 0.02


def test_weights_that_cannot_be_made_smaller_are_refused_in_one_line(tmp_path: Path) -> None:
    few, large = tmp_path / "few.onnx", tmp_path / "large.onnx"
    onnx.save_model(_dense(np.ones((8, 4), np.float32), inputs=8), few)
    overflows = _dense(np.full((128, 4), 3e4, np.float32))
    overflows.graph.node[0].output[0] = "sums"
    overflows.graph.node.append(helper.make_node("Concat", ["sums", "sums"], ["y"], axis=1))
    onnx.save_model(overflows, large)
    for source, bits, said in (
        (few, 4, "no matrix products with float32 weights of 128 rows or more; deploy it with"),
        (large, 16, "with weights of 16 bits its outputs are no numbers; keep its weights"),
    ):
        wishes = replace(QUICK, weight_bits=bits)
        with pytest.raises(ModelError, match=said):
            take_in(source, "refused", tmp_path / "models", wishes, lambda _text: None)
        assert not list((tmp_path / "models").iterdir()), "nothing is left behind"


@pytest.mark.parametrize("bits", [8, 4])
def test_quantised_products_are_the_products_of_the_rounded_weights(bits: int) -> None:
    matrix = np.random.default_rng(5).standard_normal((200, 48)).astype(np.float32)
    values, scales = quantised(matrix, bits)
    if bits == 4:
        values = np.stack([values & 15, values >> 4], axis=-1).reshape(*values.shape[:2], -1)
    middle = 1 << (bits - 1)
    back = (values.astype(np.float32) - middle) * scales[:, :, None]
    back = back.reshape(48, -1).T[:200]
    assert np.abs(back - matrix).max() <= scales.max() / 2 + 1e-6


def _corrupt(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x08\x0a\x12\xff\xff")


def _torn(folder: Path) -> None:
    whole = folder / "whole.bin"
    onnx.save_model(mlp_classifier(width=64), whole)
    (folder / "model.onnx").write_bytes(whole.read_bytes()[:5000])
    whole.unlink()


def _external(folder: Path) -> None:
    onnx.save_model(
        mlp_classifier(width=64),
        folder / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
    )


def _missing_data(folder: Path) -> None:
    _external(folder)
    (folder / "weights.bin").unlink()


def _short_data(folder: Path) -> None:
    _external(folder)
    data = folder / "weights.bin"
    data.write_bytes(data.read_bytes()[:100])


def _data_elsewhere(folder: Path) -> None:
    _external(folder)
    model = onnx.load_model(folder / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../etc/passwd"
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _opset(folder: Path) -> None:
    model = _small([helper.make_node("Relu", ["x"], ["y"])], [FLOATS[0]], [FLOATS[1]], opset=99)
    onnx.save_model(model, folder / "model.onnx")


def _custom(folder: Path) -> None:
    node = helper.make_node("Swish", ["x"], ["y"], domain="acme.ai")
    onnx.save_model(_small([node], [FLOATS[0]], [FLOATS[1]]), folder / "model.onnx")


def _unknown_operator(folder: Path) -> None:
    node = helper.make_node("Relu9", ["x"], ["y"])
    onnx.save_model(_small([node], [FLOATS[0]], [FLOATS[1]]), folder / "model.onnx")


def _complex(folder: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    ends = [_value(name, TensorProto.COMPLEX64, ["n"]) for name in "xy"]
    onnx.save_model(_small([node], ends[:1], ends[1:]), folder / "model.onnx")


def _rate(folder: Path) -> Path:
    """Write a model with a graph for each of two rates, and none for others."""
    ends = [_value("y", TensorProto.FLOAT, ["n", 4])]
    weight = onnx.numpy_helper.from_array(np.full((4, 600), 2.0, np.float32), "w")
    back = onnx.numpy_helper.from_array(np.full((600, 4), 0.5, np.float32), "v")

    def branch(name: str) -> Any:
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["wide"]),
            helper.make_node("MatMul", ["wide", "v"], [f"{name}.y"]),
        ]
        out = [_value(f"{name}.y", TensorProto.FLOAT, ["n", 4])]
        return helper.make_graph(nodes, name, [], out, [weight, back])

    nodes = [
        helper.make_node("Equal", ["rate", "known"], ["same"]),
        helper.make_node("If", ["same"], ["chosen"], then_branch=branch("one"), else_branch=branch("two")),
        helper.make_node("Gather", ["rows", "rate"], ["row"], axis=0),
        helper.make_node("Add", ["chosen", "row"], ["y"]),
    ]  # fmt: skip
    known = onnx.numpy_helper.from_array(np.array(3), "known")
    rows = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "rows")
    inputs = [_value("x", TensorProto.FLOAT, ["n", 4]), _value("rate", TensorProto.INT64, [])]
    graph = helper.make_graph(nodes, "rated", inputs, ends, [known, rows])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save_model(model, folder / "rated.onnx")
    return folder / "rated.onnx"


def test_a_model_with_branches_and_a_rate_is_deployed_and_warms(tmp_path: Path) -> None:
    """Its weights stay in the file; the stated number fills the input in samples and warm-up."""
    source = _rate(tmp_path)
    with pytest.raises(
        SettingError, match="--value = 'speed' is refused: must be an input: x, rate"
    ):
        take_in(source, "r", tmp_path / "m", replace(QUICK, values={"speed": 3.0}), lambda _t: None)
    wishes = replace(QUICK, values={"rate": 3.0})
    found = take_in(source, "rated", tmp_path / "m", wishes, lambda _text: None)
    assert found.model.branches
    assert found.model.weight_bytes >= source.stat().st_size
    assert not (found.folder / "model.onnx.data").exists()
    signature = check_model(found.folder / "model.onnx")
    assert stated_values(signature) == {"rate": 3.0}
    assert [each["value"] for each in warm_up_inputs(signature)] == [0.0, 3.0]
    assert dict(sample_inputs(signature, 1))["rate"].tolist() == 3


def _two(folder: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (folder / name).write_bytes(b"")


def _picky(folder: Path) -> None:
    """Its free axis takes one length only."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    ends = [_value(name, TensorProto.FLOAT, [1, "m"]) for name in "xy"]
    model = _small([node], ends[:1], ends[1:])
    model.graph.initializer.append(helper.make_tensor("shape", TensorProto.INT64, [2], [1, 512]))
    onnx.save_model(model, folder / "model.onnx")


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (_corrupt, "is not ONNX: .*; export or download it again"),
        (_torn, "is not ONNX"),
        (_missing_data, "external data 'weights.bin' is missing in .*; copy it beside the model"),
        (_short_data, "external data 'weights.bin' has 100 of .* bytes"),
        (_data_elsewhere, "lies outside the model's folder"),
        (_opset, "opset 99 is not supported: the newest known here is"),
        (_custom, "custom operators are not supported: acme.ai:Swish"),
        (_unknown_operator, "refused by ONNX Runtime"),
        (_complex, "has type complex64, which cannot be served"),
        (_two, "must hold one ONNX file; it holds a.onnx, b.onnx"),
        (_picky, "refuses sample inputs: .*; state what it accepts, as in --shape"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_leaves_nothing(
    tmp_path: Path, break_it: Callable[[Path], None], said: str
) -> None:
    source, models = tmp_path / "source", tmp_path / "models"
    source.mkdir()
    break_it(source)
    with pytest.raises(ModelError, match=said) as refusal:
        take_in(source, "broken", models, QUICK, lambda _text: None)
    assert "\n" not in str(refusal.value)
    assert not models.exists() or not [*models.iterdir()]


def test_a_model_that_memory_cannot_hold_is_refused(mlp: Path) -> None:
    with pytest.raises(
        ModelError, match=r"a unit needs about .* GB .* are available; use a larger"
    ):
        check(mlp, memory_bytes=1_000_000)


def test_a_stated_shape_is_used_and_kept(tmp_path: Path) -> None:
    _picky(tmp_path)
    wishes = replace(QUICK, shapes={"x": (1, 512)})
    with pytest.raises(SettingError, match="must fit the model's: x="):
        take_in(tmp_path, "p", tmp_path / "m", replace(QUICK, shapes={"z": (1,)}), print)
    found = take_in(tmp_path / "model.onnx", "p", tmp_path / "m", wishes, lambda _text: None)
    assert not found.model.batches
    assert isinstance(found.unit.profile, ClassicProfile)
    assert found.unit.profile.max_batch == 1
    assert found.error_max == 0.0


def test_a_worse_graph_would_be_seen(tmp_path: Path) -> None:
    """The measures are not blind: other weights give large errors and other tokens."""
    paths = []
    for seed in (1, 2):
        paths.append(tmp_path / f"{seed}.onnx")
        onnx.save_model(mlp_classifier(width=64, seed=seed), paths[-1])
    assert error_max(*paths, {}, 2) > 0.1
    assert error_max(paths[0], paths[0], {}, 2) == 0.0
    broken = mlp_classifier(width=64)
    broken.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.full((64, 64), np.nan, np.float32), "w0")
    )
    onnx.save_model(broken, paths[1])
    assert error_max(*paths, {}, 2) == np.inf, "what is no number agrees with nothing"
    for seed in (1, 2):
        onnx.save_model(
            tiny_llama(LlamaShape(layers=1, hidden=64, heads=4, seed=seed)), paths[seed - 1]
        )
    limits = GenerativeProfile(0, 0, 0, 0, max_batch=2, chunk_tokens=16, kv_tokens=256)
    assert token_agreement(*paths, limits) < 0.5
    assert token_agreement(paths[0], paths[0], limits) == 1.0
