"""Reading `models/<name>/unit.toml` into a unit type."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from forecaster.config.table import Seconds, Table
from forecaster.domain.errors import ModelError, SettingError
from forecaster.domain.pools import PAIR
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, Mixed, Pair, UnitType

MOST = 4096
"""Units of a type, where nothing else is said."""
Cost = Field(ge=0, allow_inf_nan=False)


class _Generative(Table):
    alpha_s: Seconds
    beta_s: float = Cost
    kappa_s: float = Cost
    gamma_s: float = Cost
    gamma2_s: float = Field(0.0, ge=0)
    delta_s: float = Field(0.0, ge=0)
    max_batch: int = Field(32, ge=1, le=65536)
    chunk_tokens: int = Field(512, ge=1)
    kv_tokens: int = Field(1 << 20, ge=1)


class _Classic(Table):
    batch_latency_s: tuple[tuple[int, Seconds], ...] = Field(min_length=1)
    service_time_scv: float = Field(0.05, ge=0)
    batch_delay_s: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _rising(self) -> _Classic:
        sizes = [size for size, _ in self.batch_latency_s]
        if sizes[0] != 1 or sizes != sorted(set(sizes)):
            raise ValueError("batch sizes must rise from 1")
        return self


class _Disaggregated(Table):
    prefill: str = Field(min_length=1)
    decode: str = Field(min_length=1)
    handover_s: float = Cost
    handover_per_token_s: float = Cost


class _Mixed(Table):
    types: tuple[str, ...] = Field(min_length=2, max_length=8)
    most: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> _Mixed:
        if len(set(self.types)) < len(self.types):
            raise ValueError("each type once; `most` says how many there are of it")
        for name, count in self.most.items():
            if name not in self.types or not 1 <= count <= MOST:
                raise ValueError(f"most.{name}: one of the types, with 1..{MOST} units")
        return self


class _UnitFile(Table):
    kind: Literal["generative", "classic", "disaggregated", "mixed"]
    profile: dict[str, Any] = Field(default_factory=dict)
    disaggregated: _Disaggregated | None = None
    mixed: _Mixed | None = None
    name: str = ""
    lead_time_s: Seconds = 60.0
    drain_deadline_s: Seconds = 120.0
    price_per_hour: float = Field(1.0, ge=0)
    min_billing_s: float = Field(0.0, ge=0)
    billing_step_s: float = Field(0.0, ge=0)
    model_file: str = ""
    compute_share: float = Field(1.0, gt=0, le=1)
    provider: Literal["auto", "cuda", "cpu"] = "auto"
    threads: int = Field(1, ge=1, le=256)
    device_memory_share: float = Field(1.0, gt=0, le=1)
    gpus: int = Field(1, ge=1, le=1024)
    cuda_graphs: bool = False

    @model_validator(mode="after")
    def _whole(self) -> _UnitFile:
        for kind, table in (("disaggregated", self.disaggregated), ("mixed", self.mixed)):
            if (self.kind == kind) != (table is not None):
                raise ValueError(f"kind and the table [{kind}] go together")
        return self


TABLES: dict[str, type[Table]] = {
    "The file": _UnitFile,
    "[profile] of a generative type": _Generative,
    "[profile] of a classic type": _Classic,
    "[disaggregated]": _Disaggregated,
    "[mixed]": _Mixed,
}
"""What a file may hold, for the reference."""


def load_unit_type(models: Path, name: str) -> UnitType:
    """Read one unit type.

    Parameters
    ----------
    models : Path
        The model repository.
    name : str
        Folder in it.

    Raises
    ------
    ModelError
        When there is no such unit; names those that exist.
    SettingError
        For a value out of range.
    """
    path = models / name / "unit.toml"
    if not path.is_file():
        known = sorted(p.parent.name for p in models.glob("*/unit.toml"))
        raise ModelError(
            f"unit = {name!r}: there is no {path}",
            f"known units: {', '.join(known) or 'none'}; set `models` to your model repository",
        )
    try:
        values = tomllib.loads(path.read_text("utf-8"))
        file = _UnitFile(**values)
        profile = None if file.disaggregated or file.mixed else _profile(file)
    except tomllib.TOMLDecodeError as error:
        raise SettingError("unit.toml", str(path), f"not TOML: {error}", "mend the file") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "profile"
        raise SettingError(
            f"{path}: {key}", first["input"], first["msg"], "mend the file"
        ) from error
    if file.disaggregated is not None:
        return _pair(models, name, file.disaggregated)
    if file.mixed is not None:
        return _mixed(models, name, file.mixed)
    kept = file.model_dump(exclude={"kind", "profile", "name", "disaggregated", "mixed"})
    assert profile is not None
    return UnitType(name=name, profile=profile, **kept)


def _pair(models: Path, name: str, pools: _Disaggregated) -> UnitType:
    """The type that stands for two kinds of units: as slow to start as the slower one of them."""
    both = read, generate = tuple(
        load_unit_type(models, each) for each in (pools.prefill, pools.decode)
    )
    for each in both:
        if each.pooled or not each.generative:
            raise SettingError(
                f"{name}: disaggregated", each.name, "two generative unit types",
                "name the types that read and generate",
            )  # fmt: skip
    pair = Pair(read, generate, pools.handover_s, pools.handover_per_token_s)
    return UnitType(
        name,
        pair.profile.together,
        lead_time_s=max(each.lead_time_s for each in both),
        drain_deadline_s=max(each.drain_deadline_s for each in both),
        price_per_hour=sum(each.price_per_hour for each in both) / 2,
        min_billing_s=max(each.min_billing_s for each in both),
        billing_step_s=max(each.billing_step_s for each in both),
        gpus=max(each.gpus for each in both),
        provider=pair.decode.provider,
        pair=pair,
    )


def _mixed(models: Path, name: str, wanted: _Mixed) -> UnitType:
    """The type that stands for several: as slow to start as the slowest of them."""
    types = tuple(load_unit_type(models, each) for each in wanted.types)
    for each in types:
        if each.pooled or each.generative != types[0].generative:
            raise SettingError(
                f"{name}: mixed.types", each.name, "types that are generative, or none that is",
                "name types of one pool that do the same work",
            )  # fmt: skip
        if each.name in PAIR:
            raise SettingError(f"{name}: mixed.types", each.name, "another name", "rename the type")
    most = tuple(wanted.most.get(each.name, MOST) for each in types)
    return UnitType(
        name,
        types[0].profile,
        lead_time_s=max(each.lead_time_s for each in types),
        drain_deadline_s=max(each.drain_deadline_s for each in types),
        price_per_hour=sum(each.price_per_hour for each in types) / len(types),
        min_billing_s=max(each.min_billing_s for each in types),
        billing_step_s=max(each.billing_step_s for each in types),
        gpus=max(each.gpus for each in types),
        provider=types[0].provider,
        mixed=Mixed(types, most),
    )


def model_path(models: Path, unit: UnitType) -> Path:
    """Path of the unit's ONNX file."""
    return models / unit.name / unit.model_file


def _profile(file: _UnitFile) -> GenerativeProfile | ClassicProfile:
    if file.kind == "generative":
        return GenerativeProfile(**_Generative(**file.profile).model_dump())
    return ClassicProfile(**_Classic(**file.profile).model_dump())
