"""A specification comes back as it was written; nonsense is refused with key and remedy."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actuators.onnx_tier.spec import (
    ClockSpec,
    TierClock,
    TierService,
    TierSpec,
    unit_type_from_dict,
    unit_type_to_dict,
)
from forecaster.domain.errors import SettingError
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType

LLAMA = UnitType("llama", GenerativeProfile(1e-3, 2e-4, 3e-7, 4e-5), labels=(("gpu", "h100"),))
MLP = UnitType("mlp", ClassicProfile(((1, 0.01), (8, 0.02)), batch_delay_s=0.001), threads=2)
SPEC = TierSpec(
    Path("/tmp/home"),
    (TierService("a", LLAMA, Path("/m/a.onnx")), TierService("b", MLP, Path("/m/b.onnx"), 5, 0.5)),
    port=8000,
    clock=ClockSpec(1.7e9, 12.5, 600.0),
)


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, clock=None, services=())])
def test_json_round_trip(spec: TierSpec) -> None:
    assert TierSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("unit_type", [LLAMA, MLP])
def test_unit_types_round_trip(unit_type: UnitType) -> None:
    assert unit_type_from_dict(unit_type_to_dict(unit_type)) == unit_type


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"services": [1], "clock": null}'])
def test_what_is_no_specification_is_refused(text: bytes) -> None:
    with pytest.raises(SettingError, match="must be a tier specification; write it with"):
        TierSpec.from_json(text)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"port": 70000}, "port = 70000 is refused: 0..65535; 0 takes a free port"),
        ({"max_units_total": 0}, "max_units_total = 0 is refused: 1 or more"),
        ({"services": SPEC.services * 2}, "each name once; rename one of them"),
        ({"clock": ClockSpec(0, 0, 0)}, "clock.speed = 0 is refused: above 0"),
        (
            {"services": (replace(SPEC.services[0], unit_type=replace(LLAMA, compute_share=0)),)},
            "llama.compute_share = 0 is refused: 0 < share <= 1",
        ),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingError) as refusal:
        replace(SPEC, **change)
    assert line in str(refusal.value)


def test_two_clocks_of_one_specification_agree() -> None:
    spec = ClockSpec(1.7e9, time.monotonic(), 3600.0)
    one, other = TierClock(spec), TierClock(spec)
    first = one.now_s()
    assert 1.7e9 <= first <= other.now_s()
    assert one.speed == 3600.0
    assert TierClock(None).speed == 1.0
    assert TierClock(None).now_s() == pytest.approx(time.time(), abs=60)
