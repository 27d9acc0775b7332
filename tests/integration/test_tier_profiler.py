"""The profiler on the real engines: what it says is what a unit does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actuators.onnx_tier.profiler import measure, measure_profile
from forecaster.domain.errors import ModelError
from forecaster.domain.profile import ClassicProfile, GenerativeProfile
from tests.integration.tier_helpers import CHAT, LLAMA_TYPE, MLP_TYPE, services


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    services(folder)
    return folder


def test_a_generative_profile_keeps_its_limits_and_fits(models: Path) -> None:
    path = models / "tiny-llama" / "model.onnx"
    found = measure(LLAMA_TYPE, path, budget_s=1.0)
    profile = found.profile
    assert isinstance(profile, GenerativeProfile)
    assert isinstance(LLAMA_TYPE.profile, GenerativeProfile)
    assert profile.max_batch == LLAMA_TYPE.profile.max_batch
    assert profile.chunk_tokens == LLAMA_TYPE.profile.chunk_tokens
    assert found.samples > 100
    assert found.fit_error < 0.5
    # A batch is cheaper than its sequences one by one, and a prompt is read faster than written.
    alone_s = profile.alpha_s + profile.beta_s
    assert profile.alpha_s + 8 * profile.beta_s < 8 * alone_s
    assert profile.gamma_s < alone_s


def test_a_classic_profile_is_a_rising_curve_up_to_the_largest_batch(models: Path) -> None:
    path = models / "mlp-classifier" / "model.onnx"
    profile = measure_profile(MLP_TYPE, path, budget_s=0.5)
    assert isinstance(profile, ClassicProfile)
    sizes, latencies = np.array(profile.batch_latency_s).T
    assert sizes.tolist() == [1, 2, 4, 8]
    assert (np.diff(latencies) >= 0).all()
    assert latencies[-1] < 8 * latencies[0], "batching pays"
    assert 0 <= profile.service_time_scv < 4


def test_a_share_of_a_core_scales_the_profile(models: Path) -> None:
    path = models / "mlp-classifier" / "model.onnx"
    whole = measure_profile(MLP_TYPE, path, budget_s=0.3)
    tenth = measure_profile(replace(MLP_TYPE, compute_share=0.1), path, budget_s=0.3)
    assert isinstance(whole, ClassicProfile)
    assert isinstance(tenth, ClassicProfile)
    assert tenth.batch_latency_s[0][1] > 4 * whole.batch_latency_s[0][1]


def test_a_model_of_the_wrong_kind_is_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a decoder"):
        measure_profile(LLAMA_TYPE, models / "mlp-classifier" / "model.onnx", budget_s=0.1)
    with pytest.raises(ModelError, match="does not exist"):
        measure_profile(LLAMA_TYPE, tmp_path / CHAT, budget_s=0.1)
