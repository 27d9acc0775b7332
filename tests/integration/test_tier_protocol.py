"""The Open Inference Protocol's other half: gRPC, the model repository, deadlines and priorities."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from actuators.onnx_tier.grpc_messages import METHODS, message_class
from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.spec import TierService, TierSpec
from forecaster.domain.errors import SettingError
from tests.integration.tier_helpers import (
    CHAT,
    CLASSIFIER,
    LLAMA_TYPE,
    MLP_TYPE,
    BareMlp,
    RunningTier,
    running,
    services,
    until,
)

SECOND = f"{CLASSIFIER}@2"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def tier(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTier]:
    served = services(models)
    second = TierService(SECOND, MLP_TYPE, served[1].model_path)
    home = tmp_path_factory.mktemp("home")
    with running(home, (*served, second), grpc_port=0, model_control=True) as tier:
        tier.ready(CLASSIFIER, 1)
        yield tier


@pytest.fixture(scope="module")
def grpc(tier: RunningTier) -> Iterator[Any]:
    client = triton_grpc.InferenceServerClient(tier.handle.grpc_address)
    yield client
    client.close()


@pytest.fixture(scope="module")
def http(tier: RunningTier) -> Iterator[Any]:
    client = triton_http.InferenceServerClient(tier.url.removeprefix("http://"))
    yield client
    client.close()


def _input(module: Any, features: np.ndarray) -> Any:
    tensor = module.InferInput("features", list(features.shape), "FP32")
    tensor.set_data_from_numpy(features)
    return tensor


def test_our_messages_are_the_protocols() -> None:
    def fields(descriptor: Any) -> dict[str, tuple[Any, ...]]:
        return {
            each.name: (
                each.number,
                each.type,
                each.is_repeated,
                each.containing_oneof is not None,
                fields(each.message_type) if each.message_type else None,
            )
            for each in descriptor.fields
        }

    for method in METHODS:
        for kind in ("Request", "Response"):
            theirs = fields(getattr(service_pb2, method + kind).DESCRIPTOR)
            ours = fields(message_class(method + kind).DESCRIPTOR)
            assert ours.items() <= theirs.items(), method + kind


def test_grpc_inference_equals_the_bare_session(grpc: Any, models: Path) -> None:
    features = np.random.default_rng(4).standard_normal((3, 64)).astype(np.float32)
    wanted = [triton_grpc.InferRequestedOutput("probabilities")]
    answer = grpc.infer(
        CLASSIFIER, [_input(triton_grpc, features)], outputs=wanted, request_id="r-1"
    )
    assert answer.get_response().id == "r-1"
    np.testing.assert_allclose(
        answer.as_numpy("probabilities"), BareMlp(models)(features), rtol=1e-4, atol=1e-6
    )


def test_grpc_takes_listed_values_as_well_as_raw_bytes(grpc: Any, models: Path) -> None:
    features = np.linspace(-1, 1, 64, dtype=np.float32)[None]
    request = service_pb2.ModelInferRequest(model_name=CLASSIFIER)
    tensor = request.inputs.add(name="features", datatype="FP32", shape=[1, 64])
    tensor.contents.fp32_contents.extend(features[0].tolist())
    answer = grpc._client_stub.ModelInfer(request)
    value = np.frombuffer(answer.raw_output_contents[0], np.float32)
    np.testing.assert_allclose(value, BareMlp(models)(features)[0], rtol=1e-4, atol=1e-6)


def test_grpc_health_and_metadata(grpc: Any) -> None:
    assert grpc.is_server_live()
    assert grpc.is_server_ready()
    assert grpc.is_model_ready(CLASSIFIER)
    assert "model_repository" in grpc.get_server_metadata().extensions
    metadata = grpc.get_model_metadata(CLASSIFIER, as_json=True)
    assert metadata["inputs"] == [{"name": "features", "datatype": "FP32", "shape": ["-1", "64"]}]
    assert metadata["versions"] == ["1", "2"]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"datatype": "FP64"}, "INVALID_ARGUMENT", "is 512 bytes, got 256"),
        ({"datatype": "STRING"}, "INVALID_ARGUMENT", "datatype"),
        ({"shape": [1, 63]}, "INVALID_ARGUMENT", "252 bytes"),
        ({"shape": [-1, 64]}, "INVALID_ARGUMENT", "shape"),
        ({"name": "other"}, "INVALID_ARGUMENT", "inputs must be"),
        ({"model_name": "nobody"}, "NOT_FOUND", "does not exist"),
        ({"model_version": "9"}, "NOT_FOUND", "version '9' does not exist"),
        ({"model_name": CHAT}, "INVALID_ARGUMENT", "use /v1/completions"),
        ({"raw_input_contents": [b"", b""]}, "INVALID_ARGUMENT", "1 inputs, but 2"),
    ],
)
def test_bad_grpc_requests_are_refused_with_a_reason(
    grpc: Any, change: dict[str, Any], status: str, said: str
) -> None:
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 64]}
    whole = {"model_name": CLASSIFIER, "raw_input_contents": [bytes(256)]}
    whole |= {key: value for key, value in change.items() if key not in tensor}
    tensor |= {key: value for key, value in change.items() if key in tensor}
    request = service_pb2.ModelInferRequest(inputs=[tensor], **whole)
    with pytest.raises(Exception, match=said) as refusal:
        grpc._client_stub.ModelInfer(request)
    assert refusal.value.code().name == status
    assert "\n" not in refusal.value.details()


def test_models_are_loaded_and_unloaded_by_both_clients(
    tier: RunningTier, grpc: Any, http: Any
) -> None:
    features = np.zeros((1, 64), np.float32)
    for client, module in ((grpc, triton_grpc), (http, triton_http)):
        assert not client.is_model_ready(CLASSIFIER, "2")
        client.load_model(SECOND)
        assert client.is_model_ready(CLASSIFIER, "2")
        client.load_model(SECOND)
        assert len(tier.live(SECOND)) == 1, "a loaded model is not loaded twice"
        answer = client.infer(CLASSIFIER, [_input(module, features)], model_version="2")
        assert answer.as_numpy("probabilities").shape == (1, 10)
        client.unload_model(SECOND)
        tier.settled(SECOND, 0)
    rows = {
        (row["name"], row["version"]): row["state"] for row in http.get_model_repository_index()
    }
    assert rows[CLASSIFIER, "1"] == "READY"
    assert rows[CLASSIFIER, "2"] == "UNAVAILABLE"
    ready = grpc.get_model_repository_index(as_json=True)["models"]
    assert {row["state"] for row in ready} == {"READY", "UNAVAILABLE"}


def test_a_load_that_cannot_be_says_why(tier: RunningTier, http: Any, grpc: Any) -> None:
    with pytest.raises(InferenceServerException, match="does not exist"):
        http.load_model("nobody")
    with pytest.raises(InferenceServerException, match="takes no parameters"):
        http.load_model(CLASSIFIER, config="{}")
    with pytest.raises(InferenceServerException, match="does not exist"):
        grpc.unload_model("nobody")


def test_clients_load_nothing_unless_the_operator_allows_it(models: Path, tmp_path: Path) -> None:
    with running(tmp_path, services(models)) as tier:
        refused = httpx.post(f"{tier.url}/v2/repository/models/{CLASSIFIER}/load")
        assert (refused.status_code, "set tier.model_control" in refused.text) == (403, True)
        assert tier.actuator.observe(CLASSIFIER).units == ()


def test_a_taken_grpc_port_is_one_clear_line(models: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SettingError, match="it cannot be bound"):
            start_tier(TierSpec(tmp_path, services(models), grpc_port=port), tmp_path / "log")


# -- deadlines and priorities ------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTier]:
    """A tier whose one Llama decodes four sequences at a twentieth of a core."""
    profile = replace(LLAMA_TYPE.profile, max_batch=4)
    unit = replace(LLAMA_TYPE, profile=profile, compute_share=0.05)
    served = (
        TierService(CHAT, unit, services(models)[0].model_path),
        TierService(CLASSIFIER, MLP_TYPE, services(models)[1].model_path),
    )
    with running(tmp_path_factory.mktemp("slow"), served, grpc_port=0) as tier:
        tier.ready(CHAT, 1)
        yield tier


def _complete(tier: RunningTier, tokens: int, headers: dict[str, str] | None = None) -> Any:
    body = {"model": CHAT, "prompt": "x", "max_tokens": tokens, "temperature": 0}
    return httpx.post(f"{tier.url}/v1/completions", json=body, headers=headers, timeout=60)


def test_a_request_over_its_deadline_ends_and_frees_its_unit(slow: RunningTier) -> None:
    late = _complete(slow, 2000, {"X-Tidegate-Timeout-S": "0.3"})
    assert late.status_code == 504
    assert "not answered within its deadline of 0.3 s" in late.json()["error"]["message"]
    until(lambda: slow.actuator.observe(CHAT).units[0].in_flight == 0, "its place is free")
    assert slow.actuator.requests_after(0)[-1].status == 504


def test_waiting_for_a_unit_counts_against_the_deadline(slow: RunningTier) -> None:
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}
    body = {"inputs": [tensor], "parameters": {"timeout": 50_000}}
    late = httpx.post(f"{slow.url}/v2/models/{CLASSIFIER}/infer", json=body)
    assert late.status_code == 504
    client = triton_grpc.InferenceServerClient(slow.handle.grpc_address)
    features = _input(triton_grpc, np.zeros((1, 64), np.float32))
    for terms in ({"client_timeout": 0.2}, {"timeout": 50_000}):
        with pytest.raises(InferenceServerException, match=r"(?i)deadline"):
            client.infer(CLASSIFIER, [features], **terms)
    client.close()
    until(lambda: slow.actuator.stats()["in_flight"] == 0, "nobody waits any more")


def test_batch_work_stands_back_for_people(slow: RunningTier) -> None:
    """Three of four slots may hold batch work; the queue lets interactive work pass."""
    batch = {"X-Tidegate-Priority": "batch"}
    with ThreadPoolExecutor(8) as pool:
        crowd = [pool.submit(_complete, slow, 60, batch) for _ in range(6)]
        until(lambda: slow.actuator.stats()["waiting"][CHAT] == 3, "three run, three wait")
        before = slow.actuator.stats()["requests_last"]
        person = _complete(slow, 4)
        assert person.status_code == 200
        ahead = [r for r in slow.actuator.requests_after(before) if r.output_tokens == 60]
        assert not ahead, "the person was answered before any of the batch"
        assert {each.result().status_code for each in crowd} == {200}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Tidegate-Timeout-S": "soon"},
        {"X-Tidegate-Timeout-S": "-1"},
        {"X-Tidegate-Timeout-S": "nan"},
        {"X-Tidegate-Priority": "urgent"},
    ],
)
def test_terms_that_make_no_sense_are_refused(slow: RunningTier, headers: dict[str, str]) -> None:
    refused = _complete(slow, 2, headers)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"]


def test_terms_by_hand() -> None:
    from actuators.onnx_tier.terms import Terms, read_terms

    assert read_terms({}) == Terms(math.inf, False)
    assert read_terms({}, 2, 250_000) == Terms(0.25, True)
    assert read_terms({"x-tidegate-timeout-s": "3"}, "batch", 250_000) == Terms(3.0, True)
    assert Terms(5.0).within(2.0) == Terms(2.0)
    assert Terms(5.0).within(None) == Terms(5.0)
