"""Which unit gets which GPU, what its session is told, and what is refused: decided without a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actuators.onnx_tier.devices import Device, GpuLimits, check_gpu_wishes, parse_devices
from actuators.onnx_tier.placement import (
    CONTEXT_BYTES,
    StartPlan,
    arena_bytes,
    cache_bytes,
    check_fits,
    place,
)
from actuators.onnx_tier.session import ModelSignature, TensorSpec
from actuators.onnx_tier.spec import TierClock, TierService, TierSpec
from actuators.onnx_tier.supervisor import Supervisor
from forecaster.domain.errors import CapacityDeniedError, ModelError, SettingError
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType

GIB = 1 << 30
BIG, SMALL = Device("GPU-big", 80 * GIB), Device("GPU-small", 24 * GIB)
CLASSIC = UnitType("mlp", ClassicProfile(((1, 0.001),)), provider="cuda", device_memory_share=0.5)
LLAMA = UnitType(
    "llama",
    GenerativeProfile(1e-3, 1e-4, 1e-7, 1e-5, max_batch=4, kv_tokens=1 << 20),
    provider="cuda",
)


def test_the_drivers_list_is_read_as_far_as_the_process_may_see() -> None:
    listing = "GPU-a1, 81559\nGPU-b2, 24576\nGPU-c3, [N/A]\n"
    both = (Device("GPU-a1", 81559 << 20), Device("GPU-b2", 24576 << 20))
    assert parse_devices(listing) == both
    assert parse_devices(listing, "1,0") == both[::-1]
    assert parse_devices(listing, "GPU-b") == both[1:]
    assert parse_devices(listing, "") == ()
    assert parse_devices(listing, "7,MIG-x") == ()
    assert parse_devices("NVIDIA-SMI has failed") == ()


def test_a_session_is_told_its_limit_and_its_graphs() -> None:
    assert GpuLimits().provider_options() == {"device_id": "0"}
    limited = GpuLimits(arena_bytes=GIB).provider_options()
    assert limited["gpu_mem_limit"] == str(GIB)
    assert limited["arena_extend_strategy"] == "kSameAsRequested"
    assert GpuLimits(graphs=True).provider_options()["enable_cuda_graph"] == "1"


def test_units_go_where_least_is_taken_and_nowhere_when_all_is() -> None:
    devices = (BIG, SMALL)
    assert place(devices, [], 1.0, 2) == (BIG, SMALL)
    assert place(devices, [(BIG, 0.25)], 0.25, 2) == (SMALL, BIG)
    assert place(devices, [(BIG, 0.7)], 0.5, 3) == (SMALL, SMALL)
    assert place((), [], 0.1, 1) == ()


@given(st.integers(1, 6), st.lists(st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 1.0]), max_size=30))
def test_no_device_is_promised_twice(count: int, shares: list[float]) -> None:
    devices = tuple(Device(str(number), GIB) for number in range(count))
    taken: list[tuple[Device, float]] = []
    for share in shares:
        taken += [(device, share) for device in place(devices, taken, share, 1)]
    for device in devices:
        assert sum(share for at, share in taken if at == device) <= 1.0 + 1e-6


def test_the_limit_leaves_room_for_the_cache_and_the_context() -> None:
    past = TensorSpec("past_key_values.0.key", "float16", (-1, 2, -1, 64))
    signature = ModelSignature((past, past), (), {"context_tokens": "1024"})
    cache = cache_bytes(signature, LLAMA)
    assert cache == 4 * 1024 * 2 * (2 * 64 * 2)
    assert cache_bytes(signature, CLASSIC) == 0
    plan = StartPlan(devices=(BIG,), cache_bytes={"chat": cache})
    limits = plan.limits("chat", replace(LLAMA, cuda_graphs=True), BIG)
    assert limits == GpuLimits(80 * GIB - CONTEXT_BYTES - cache, graphs=True)
    assert arena_bytes(SMALL, CLASSIC, 0) == 12 * GIB - CONTEXT_BYTES
    assert plan.limits("chat", LLAMA, None) == GpuLimits(), "an unlisted device sets no limit"


def test_what_cannot_fit_its_share_of_the_smallest_device_is_refused() -> None:
    plan = StartPlan(devices=(BIG, SMALL))
    check_fits(plan, "mlp", CLASSIC, 11 * GIB)
    with pytest.raises(ModelError, match=r"needs 13\.\d GB .* gives 12\.9 GB"):
        check_fits(plan, "mlp", CLASSIC, 12 * GIB)
    check_fits(plan, "mlp", replace(CLASSIC, provider="cpu"), 500 * GIB)
    check_fits(StartPlan(), "mlp", CLASSIC, 500 * GIB)


@pytest.mark.parametrize(
    ("unit_type", "said"),
    [
        (replace(CLASSIC, device_memory_share=0.0), "0 < share <= 1"),
        (replace(CLASSIC, device_memory_share=1.5), "0 < share <= 1"),
        (replace(CLASSIC, cuda_graphs=True), "batches change shape"),
        (replace(LLAMA, provider="cpu", cuda_graphs=True), "false where provider = 'cpu'"),
    ],
)
def test_impossible_wishes_are_refused_in_one_line(unit_type: UnitType, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        check_gpu_wishes(unit_type)
    with pytest.raises(SettingError, match=said):
        TierSpec(Path(), (TierService("s", unit_type, Path("x")),))


def test_the_supervisor_places_units_and_denies_what_has_no_place(tmp_path: Path) -> None:
    services = (
        TierService("half", CLASSIC, Path("x")),
        TierService("whole", replace(LLAMA, name="w"), Path("x")),
        TierService("host", replace(CLASSIC, provider="cpu"), Path("x")),
    )
    plan = StartPlan(devices=(BIG, SMALL))
    supervisor = Supervisor(
        TierSpec(tmp_path, services), "tier", TierClock(None), tmp_path / "s", plan=plan
    )
    supervisor.prewarm("half", 1, "test", "1")
    supervisor.prewarm("whole", 1, "test", "2")
    supervisor.prewarm("half", 1, "test", "3")
    supervisor.prewarm("host", 3, "test", "4")
    placed = [(each.service.service, each.device) for each in supervisor.fleet]
    assert placed == [("half", BIG), ("whole", SMALL), ("half", BIG), *[("host", None)] * 3]
    with pytest.raises(CapacityDeniedError, match=r"1 more units of 'half' are denied: 0 fit"):
        supervisor.prewarm("half", 1, "test", "5")
    supervisor.drain("whole", 1, "test", "6")
    with pytest.raises(CapacityDeniedError, match="2 fit"):
        supervisor.prewarm("half", 3, "test", "7")
    assert all(unit.state is UnitState.COLD for unit in supervisor.fleet), "all or none"
    supervisor.prewarm("half", 2, "test", "8")
    assert [each.device for each in supervisor.fleet][-2:] == [SMALL, SMALL]
