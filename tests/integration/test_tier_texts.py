"""Texts and small floats over the Open Inference Protocol, with Triton's own client as the judge."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import ml_dtypes
import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from onnx import TensorProto, helper
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from actuators.intake.compare import error_max
from actuators.onnx_tier.spec import TierService
from tests.integration.tier_helpers import MLP_TYPE, RunningTier, running

WORDS, FLOATS = "words", "floats"
TEXTS = np.array([["ebb", "flow"], ["", "Gezeitentafel für 潮汐"]], object)
KNOWN = {"ebb": -1.0, "flow": 1.0}


def _save(nodes: list[Any], inputs: list[Any], outputs: list[Any], path: Path) -> Path:
    path.parent.mkdir(parents=True)
    graph = helper.make_graph(nodes, "small", inputs, outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def _words(path: Path) -> Path:
    """Looks words up, and gives them back."""
    scores = {"keys_strings": list(KNOWN), "values_floats": list(KNOWN.values())}
    look_up = helper.make_node(
        "LabelEncoder", ["text"], ["score"], domain="ai.onnx.ml", default_float=0.0, **scores
    )
    value, shape = helper.make_tensor_value_info, ["n", "words"]
    return _save(
        [look_up, helper.make_node("Identity", ["text"], ["echo"])],
        [value("text", TensorProto.STRING, shape)],
        [value("score", TensorProto.FLOAT, shape), value("echo", TensorProto.STRING, shape)],
        path,
    )


def _floats(path: Path) -> Path:
    """Doubles a float16 and a bfloat16."""
    kinds = {"half": TensorProto.FLOAT16, "brain": TensorProto.BFLOAT16}
    nodes: list[Any] = []
    for name, kind in kinds.items():
        nodes.append(helper.make_node("Cast", [name], [f"{name}.f"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Add", [f"{name}.f"] * 2, [f"{name}.s"]))
        nodes.append(helper.make_node("Cast", [f"{name}.s"], [f"{name}.out"], to=kind))
    value = helper.make_tensor_value_info
    inputs = [value(name, kind, ["n", 3]) for name, kind in kinds.items()]
    outputs = [value(f"{name}.out", kind, ["n", 3]) for name, kind in kinds.items()]
    return _save(nodes, inputs, outputs, path)


def _nested(depth: int) -> Any:
    return [_nested(depth - 1)] if depth else 1


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTier]:
    folder = tmp_path_factory.mktemp("models")
    served = (
        TierService(WORDS, MLP_TYPE, _words(folder / WORDS / "model.onnx")),
        TierService(FLOATS, MLP_TYPE, _floats(folder / FLOATS / "model.onnx")),
    )
    with running(tmp_path_factory.mktemp("home"), served, grpc_port=0) as tier:
        tier.ready(WORDS, 1)
        tier.ready(FLOATS, 1)
        yield tier


@pytest.fixture(scope="module", params=["http", "grpc"])
def client(request: pytest.FixtureRequest, tier: RunningTier) -> Iterator[tuple[Any, Any]]:
    if request.param == "http":
        made = triton_http.InferenceServerClient(tier.url.removeprefix("http://"), concurrency=8)
        yield made, triton_http
    else:
        made = triton_grpc.InferenceServerClient(tier.handle.grpc_address)
        yield made, triton_grpc
    made.close()


def _input(module: Any, name: str, datatype: str, value: np.ndarray, **how: bool) -> Any:
    tensor = module.InferInput(name, list(value.shape), datatype)
    tensor.set_data_from_numpy(value, **how)
    return tensor


def _as_text(found: np.ndarray) -> list[Any]:
    return [each.decode() if isinstance(each, bytes) else each for each in found.ravel()]


def test_texts_go_in_and_come_out(client: tuple[Any, Any]) -> None:
    made, module = client
    metadata = made.get_model_metadata(WORDS)
    told = (
        metadata["inputs"][0]["datatype"]
        if isinstance(metadata, dict)
        else metadata.inputs[0].datatype
    )
    assert told == "BYTES"
    answer = made.infer(WORDS, [_input(module, "text", "BYTES", TEXTS)])
    assert _as_text(answer.as_numpy("echo")) == TEXTS.ravel().tolist()
    np.testing.assert_array_equal(answer.as_numpy("score"), [[-1, 1], [0, 0]])


def test_texts_as_json(tier: RunningTier) -> None:
    made = triton_http.InferenceServerClient(tier.url.removeprefix("http://"))
    tensor = _input(triton_http, "text", "BYTES", TEXTS, binary_data=False)
    wanted = [triton_http.InferRequestedOutput("echo", binary_data=False)]
    answer = made.infer(WORDS, [tensor], outputs=wanted)
    assert _as_text(answer.as_numpy("echo")) == TEXTS.ravel().tolist()
    made.close()


def test_grpc_takes_listed_texts(tier: RunningTier) -> None:
    request = service_pb2.ModelInferRequest(model_name=WORDS)
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[1, 2])
    tensor.contents.bytes_contents.extend([b"flow", b"ebb"])
    made = triton_grpc.InferenceServerClient(tier.handle.grpc_address)
    answer = made._client_stub.ModelInfer(request)
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [1.0, -1.0]
    made.close()


def test_texts_of_many_clients_are_batched_and_kept_apart(tier: RunningTier) -> None:
    def ask(number: int) -> list[str]:
        entry = {"name": "text", "datatype": "BYTES", "shape": [1, 2], "data": [f"{number}", "ebb"]}
        answer = httpx.post(f"{tier.url}/v2/models/{WORDS}/infer", json={"inputs": [entry]})
        return list(answer.json()["outputs"][1]["data"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(24))) == [[f"{number}", "ebb"] for number in range(24)]


def test_small_floats_go_in_and_come_out(client: tuple[Any, Any]) -> None:
    made, module = client
    value = np.array([[1.5, -2.25, 96.0], [0.0, 3.0, -0.125]], np.float32)
    inputs = [
        _input(module, "half", "FP16", value.astype(np.float16)),
        _input(module, "brain", "BF16", value.astype(ml_dtypes.bfloat16)),
    ]
    answer = made.infer(FLOATS, inputs)
    for name in ("half.out", "brain.out"):
        np.testing.assert_array_equal(answer.as_numpy(name).astype(np.float32), 2 * value)


def test_bfloat16_as_json_is_read_as_numbers(tier: RunningTier) -> None:
    entries = [
        {"name": name, "datatype": datatype, "shape": [1, 3], "data": [1.0, -0.5, 3.0]}
        for name, datatype in (("half", "FP16"), ("brain", "BF16"))
    ]
    answer = httpx.post(f"{tier.url}/v2/models/{FLOATS}/infer", json={"inputs": entries}).json()
    told = [(each["datatype"], each["data"]) for each in answer["outputs"]]
    assert told == [("FP16", [2.0, -1.0, 6.0]), ("BF16", [2.0, -1.0, 6.0])]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x01\x00\x00\x00", "2 texts need 8 bytes or more, got 4"),
        (b"\x09\x00\x00\x00ebb\x00\x00\x00", "bytes end after 0 of 2 texts"),
        (b"\x03\x00\x00\x00ebb\x00\x00\x00\x00!", "1 bytes follow its 2 texts"),
        (b"\x02\x00\x00\x00\xff\xfe\x00\x00\x00\x00", "can't decode byte 0xff"),
    ],
)
def test_torn_texts_are_refused_in_one_line(tier: RunningTier, raw: bytes, said: str) -> None:
    request = service_pb2.ModelInferRequest(model_name=WORDS, raw_input_contents=[raw])
    request.inputs.add(name="text", datatype="BYTES", shape=[1, 2])
    made = triton_grpc.InferenceServerClient(tier.handle.grpc_address)
    with pytest.raises(Exception, match="INVALID_ARGUMENT") as caught:
        made._client_stub.ModelInfer(request)
    assert said in str(caught.value)
    made.close()


@pytest.mark.parametrize(
    "data", [[1, 2], ["ebb"], "ebb flow", [["ebb"], 3], None, [{"a": 1}, "b"], _nested(900)]
)
def test_what_is_no_text_is_refused(tier: RunningTier, data: object) -> None:
    entry = {"name": "text", "datatype": "BYTES", "shape": [1, 2], "data": data}
    answer = httpx.post(f"{tier.url}/v2/models/{WORDS}/infer", json={"inputs": [entry]})
    assert answer.status_code == 400
    assert "input 'text'" in answer.json()["error"]


def test_numbers_are_no_texts(client: tuple[Any, Any]) -> None:
    made, module = client
    with pytest.raises(InferenceServerException, match="must be BYTES"):
        made.infer(WORDS, [_input(module, "text", "FP32", np.zeros((1, 2), np.float32))])


def test_intake_compares_texts_and_small_floats(tmp_path: Path) -> None:
    for name, make in ((WORDS, _words), (FLOATS, _floats)):
        path = make(tmp_path / name / "model.onnx")
        assert error_max(path, path, {"text": (1, 3)}, 2) == 0.0
