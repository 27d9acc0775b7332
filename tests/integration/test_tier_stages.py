"""Starting in two stages: answers come before the weights are packed, and stay the same after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest

from actuators.onnx_tier.demo_models import LlamaShape, mlp_classifier, tiny_llama
from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.session import open_session
from actuators.onnx_tier.spec import TierService, TierSpec
from actuators.onnx_tier.stages import SecondStage, starts_in_stages, weight_files
from forecaster.domain.errors import ModelError
from tests.integration.tier_helpers import (
    CHAT,
    CLASSIFIER,
    LLAMA_TYPE,
    MLP_TYPE,
    running,
    until,
)


def _save(model: onnx.ModelProto, folder: Path, *, beside: bool = True) -> Path:
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=beside, location="model.data")
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 MB of weights in a file of their own."""
    return _save(mlp_classifier(width=2048, layers=4), tmp_path_factory.mktemp("m") / "large")


def test_only_large_float_models_with_mapped_weights_start_in_stages(
    large: Path, tmp_path: Path
) -> None:
    assert starts_in_stages(large)
    assert weight_files(large) == (large.parent / "model.data",)
    small = _save(mlp_classifier(width=128), tmp_path / "small")
    inside = _save(mlp_classifier(width=2048, layers=4), tmp_path / "inside", beside=False)
    assert not starts_in_stages(small)
    assert not starts_in_stages(inside)
    quantised = onnx.load_model(large)
    quantised.graph.node.append(onnx.helper.make_node("MatMulNBits", [], [], domain="x"))
    assert not starts_in_stages(_save(quantised, tmp_path / "quantised"))


def test_both_stages_of_a_classifier_answer_alike(large: Path, tmp_path: Path) -> None:
    features = np.random.default_rng(3).standard_normal((2, 64)).astype(np.float32)
    tensor = {"name": "features", "datatype": "FP32", "shape": [2, 64]}
    body = {"inputs": [tensor | {"data": features.ravel().tolist()}]}
    served = (TierService(CLASSIFIER, MLP_TYPE, large),)
    with running(tmp_path / "home", served) as tier:
        tier.ready(CLASSIFIER, 1)
        answers = [httpx.post(f"{tier.url}/v2/models/{CLASSIFIER}/infer", json=body).json()]
        until(lambda: tier.actuator.stats()["packed_s"], "the weights are packed")
        answers.append(httpx.post(f"{tier.url}/v2/models/{CLASSIFIER}/infer", json=body).json())
        assert min(tier.actuator.stats()["packed_s"].values()) > 0
    expected = open_session(large, "cpu", 1).run(None, {"features": features})[0]
    for answer in answers:
        value = np.array(answer["outputs"][0]["data"], np.float32).reshape(2, -1)
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)


def test_an_answer_goes_on_when_the_second_stage_takes_over(tmp_path: Path) -> None:
    """A stream begins on the first session and ends on the second: one text, as from either."""
    shape = LlamaShape(layers=4, hidden=512, intermediate=1536)
    model = _save(tiny_llama(shape), tmp_path / "llama")
    assert starts_in_stages(model)
    unit = replace(LLAMA_TYPE, compute_share=0.5)
    body = {"model": CHAT, "prompt": "slack water", "max_tokens": 400, "temperature": 0}
    with running(tmp_path / "home", (TierService(CHAT, unit, model),)) as tier:
        tier.ready(CHAT, 1)
        across = httpx.post(f"{tier.url}/v1/completions", json=body, timeout=60).json()
        until(lambda: tier.actuator.stats()["packed_s"], "the weights are packed")
        after = httpx.post(f"{tier.url}/v1/completions", json=body, timeout=60).json()
    assert across["choices"][0]["text"] == after["choices"][0]["text"]
    assert across["usage"]["completion_tokens"] == 400


def test_missing_weights_are_named_before_anything_starts(tmp_path: Path) -> None:
    path = _save(mlp_classifier(width=128), tmp_path / "m")
    (path.parent / "model.data").unlink()
    spec = TierSpec(tmp_path / "home", (TierService(CLASSIFIER, MLP_TYPE, path),))
    with pytest.raises(ModelError, match=r"external data 'model\.data' is missing in"):
        start_tier(spec, tmp_path / "log")


def test_the_second_stage_is_made_once_and_handed_over_once() -> None:
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    second = SecondStage(make)
    assert second.take() is None
    second.start()
    second.start()
    session, seconds = until(second.take, "it is made")
    assert session is made[0]
    assert seconds >= 0
    assert second.take() is None
    assert len(made) == 1
