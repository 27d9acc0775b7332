"""The KV cache in a device's memory gives the tokens that numpy's arrays give.

The same way runs through host memory where no GPU is; with one, all of it runs there too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from actuators.onnx_tier.devices import GpuLimits
from actuators.onnx_tier.engine_generate import GenerateEngine, GenerateRequest
from actuators.onnx_tier.kv_device import DeviceMemory
from actuators.onnx_tier.kv_memory import HostMemory
from actuators.onnx_tier.prefixes import BLOCK_TOKENS
from actuators.onnx_tier.session import TensorSpec, cuda_visible, open_session
from forecaster.domain.profile import GenerativeProfile
from tests.integration.tier_helpers import BareLlama

PROFILE = GenerativeProfile(0, 0, 0, 0, max_batch=4, chunk_tokens=24, kv_tokens=4096)
PASTS = (
    TensorSpec("past_key_values.0.key", "float16", (-1, 2, -1, 4)),
    TensorSpec("past_key_values.0.value", "float32", (-1, 3, -1, 8)),
)

NO_GPU = pytest.mark.skipif(not cuda_visible(), reason="no CUDA device is here")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> BareLlama:
    models = tmp_path_factory.mktemp("models")
    bare = BareLlama(models)
    bare.path = models / "tiny-llama" / "model.onnx"
    return bare


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _agreement(engine: GenerateEngine, llama: BareLlama, prompts: list[Any], tokens: int) -> float:
    made: dict[int, list[int]] = {number: [] for number in range(len(prompts))}
    for number, prompt in enumerate(prompts):
        engine.submit(GenerateRequest(number, prompt, tokens))
    while engine.has_work:
        for out in engine.step():
            made[out.request_id].append(out.token)
    alone = [llama.greedy(prompt.tolist(), tokens) for prompt in prompts]
    assert [len(each) for each in made.values()] == [tokens] * len(prompts)
    same = [a == b for one, other in zip(made.values(), alone, strict=True)
            for a, b in zip(one, other, strict=True)]  # fmt: skip
    return float(np.mean(same))


def _prompts() -> list[Any]:
    """Some begin alike, some are shorter than a block; rows are moved as they end."""
    random = np.random.default_rng(4)
    shared = random.integers(32, 127, 2 * BLOCK_TOKENS)
    own = [random.integers(32, 127, size) for size in (1, 40, 7, 90, 3, 33)]
    return [
        np.concatenate([shared, each]) if number % 2 else each for number, each in enumerate(own)
    ]


@pytest.mark.parametrize("graphs", [False, True])
def test_tokens_equal_greedy_decoding_alone(llama: BareLlama, device: str, graphs: bool) -> None:
    limits = GpuLimits(arena_bytes=1 << 30, graphs=graphs)
    session = open_session(llama.path, device, 1, gpu=limits)
    engine = GenerateEngine(session, PROFILE, device=device, graphs=graphs)
    agreed = _agreement(engine, llama, _prompts(), 20)
    # A GPU adds in another order: a near tie may fall the other way, and what follows with it.
    assert agreed == 1.0 if device == "cpu" else agreed > 0.9
    assert agreed and sum(step.p for step in engine.steps) < sum(map(len, _prompts()))


def test_device_memory_moves_what_host_memory_moves(device: str) -> None:
    on_host, on_device = HostMemory(PASTS, 3, 16), DeviceMemory(PASTS, 3, 16, device)
    assert all(not _home(part).any() for part in on_device.read(0, 0, 16)), "it begins with zeros"
    random = np.random.default_rng(2)
    for row in range(3):
        block = [
            random.standard_normal((each.shape[1], 9, each.shape[3])).astype(each.dtype)
            for each in PASTS
        ]
        on_host.write(row, 4, block)
        on_device.write(row, 4, [_value(part, device) for part in block])
    on_host.move(2, 0, 7)
    on_device.move(2, 0, 7)
    for row in range(3):
        for host, there in zip(on_host.read(row, 0, 16), on_device.read(row, 0, 16), strict=True):
            np.testing.assert_array_equal(_home(there), host)


def _value(part: Any, device: str) -> Any:
    import onnxruntime as ort

    return ort.OrtValue.ortvalue_from_numpy(part, device, 0)


def _home(value: Any) -> Any:
    return value.numpy()
