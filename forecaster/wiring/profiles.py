"""Unit profiles as this machine measures them, kept by content so that each is measured once."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict, replace
from pathlib import Path

import orjson

from actuators.onnx_tier.handover_profile import measure_handover
from actuators.onnx_tier.profiler import measure
from actuators.onnx_tier.spec import unit_type_from_dict, unit_type_to_dict
from forecaster.config.unit_types import model_path
from forecaster.domain.profile import Pair, UnitType


def measured(unit: UnitType, model: Path, cache: Path, budget_s: float = 2.0) -> UnitType:
    """Return the unit type with the profile that this machine measures.

    Parameters
    ----------
    unit : UnitType
        As `unit.toml` declares it: its limits hold, its coefficients are replaced.
    model : Path
        ONNX file.
    cache : Path
        Folder of measured profiles; the key is the content of file, declaration and machine.

    Raises
    ------
    ModelError
        When the model file is missing or broken.
    """
    key = _key(unit, model)
    path = cache / f"{unit.name}-{key}.json"
    try:
        return unit_type_from_dict(orjson.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError):
        pass
    found = replace(unit, profile=measure(unit, model, budget_s).profile)
    cache.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(orjson.dumps(unit_type_to_dict(found)))
    fresh.replace(path)
    return found


def measured_pair(unit: UnitType, models: Path, cache: Path) -> UnitType:
    """Return a type of two pools with the profiles that this machine measures, the hand-over included.

    Raises
    ------
    ModelError
        As `measured` does.
    """
    pair = unit.pair
    assert pair is not None
    read, generate = (
        measured(each, model_path(models, each), cache) for each in (pair.prefill, pair.decode)
    )
    base_s, token_s = _handed_over(model_path(models, generate), generate, cache)
    pair = Pair(read, generate, base_s, token_s)
    return replace(unit, profile=pair.profile.together, pair=pair)


def measured_types(unit: UnitType, models: Path, cache: Path) -> UnitType:
    """Return a type that stands for several with the profile of each that this machine measures.

    Raises
    ------
    ModelError
        As `measured` does.
    """
    mixed = unit.mixed
    assert mixed is not None
    types = tuple(measured(each, model_path(models, each), cache) for each in mixed.types)
    return replace(unit, profile=types[0].profile, mixed=replace(mixed, types=types))


def _handed_over(model: Path, unit: UnitType, cache: Path) -> tuple[float, float]:
    path = cache / f"handover-{unit.name}-{_key(unit, model)}.json"
    try:
        kept = orjson.loads(path.read_bytes())
        return float(kept[0]), float(kept[1])
    except (OSError, ValueError, TypeError, IndexError):
        pass
    found = measure_handover(unit, model)
    path.write_bytes(orjson.dumps(found))
    return found


def _key(unit: UnitType, model: Path) -> str:
    digest = hashlib.sha256(orjson.dumps(asdict(unit)))
    digest.update(platform.processor().encode() + platform.machine().encode())
    if model.is_file():
        digest.update(str(model.stat().st_size).encode())
        with model.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
