"""What a tier is told at its start: one JSON file, one frozen value."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from actuators.onnx_tier.devices import check_gpu_wishes
from forecaster.domain.errors import SettingError
from forecaster.domain.pools import Pool, of_pool, pool_service
from forecaster.domain.ports import Clock
from forecaster.domain.profile import (
    ClassicProfile,
    GenerativeProfile,
    Mixed,
    Pair,
    Profile,
    UnitType,
)


@dataclass(frozen=True, slots=True)
class ClockSpec:
    """A compressed clock: `start_s` (epoch) when monotonic time is `origin_s`, `speed` as fast."""

    start_s: float
    origin_s: float
    speed: float


class TierClock:
    """The installation's clock inside the tier: system time, or what a `ClockSpec` says."""

    def __init__(self, spec: ClockSpec | None) -> None:
        self._spec = spec

    @property
    def speed(self) -> float:
        """Clock seconds per real second."""
        return self._spec.speed if self._spec else 1.0

    def now_s(self) -> float:
        """Epoch seconds."""
        spec = self._spec
        if spec is None:
            return time.time()
        return spec.start_s + (time.monotonic() - spec.origin_s) * spec.speed


@dataclass(frozen=True, slots=True)
class TierService:
    """One service that the tier answers for.

    Attributes
    ----------
    service : str
        Its name: the model name in every API.
    unit_type : UnitType
        What its units are.
    model_path : Path
        The ONNX file that its units load.
    queue_limit : int
        Requests that may wait for a unit; the next one is refused with 503.
    queue_wait_s : float
        Longest wait for a unit, real seconds; then 503.
    decode_path : Path or None
        Of two pools: the file that decode units load; `model_path` is that of prefill units.
    type_paths : tuple of Path
        Of several types: the file that units of each load, in their order.
    """

    service: str
    unit_type: UnitType
    model_path: Path
    queue_limit: int = 1024
    queue_wait_s: float = 60.0
    decode_path: Path | None = None
    type_paths: tuple[Path, ...] = ()

    @property
    def lanes(self) -> tuple[TierService, ...]:
        """What units are run for: itself, or its pools or types, each by a name of its own."""
        paths = self.type_paths
        if self.decode_path is not None:
            paths = (self.model_path, self.decode_path)
        if not self.unit_type.pooled:
            return (self,)
        return tuple(
            replace(self, service=pool_service(self.service, pool), unit_type=kind, model_path=path)
            for (pool, kind), path in zip(self.unit_type.by_pool.items(), paths, strict=True)
        )

    @property
    def pool(self) -> Pool:
        """What the units of a lane do."""
        pooled = self.decode_path is not None or bool(self.type_paths)
        return of_pool(self.service)[1] if pooled else Pool.WHOLE

    @property
    def public(self) -> str:
        """The service that a lane's units serve."""
        return of_pool(self.service)[0] if self.pool else self.service


@dataclass(frozen=True, slots=True)
class TierSpec:
    """Everything a tier needs to know.

    Attributes
    ----------
    home : Path
        Folder for sockets and ``tier.json`` (where the control socket is).
    services : tuple of TierService
        What it serves.
    host, port : str, int
        Public address; port 0 takes a free one, `stats` tells which.
    grpc_port : int or None
        Port of the Open Inference Protocol over gRPC; None for none.
    model_control : bool
        Whether clients may load and unload models through the model-repository extension.
    max_units_total : int
        Units that may be alive at once over all services.
    clock : ClockSpec or None
        A compressed clock, or None for system time.
    exit_with_parent : bool
        Drain and exit when the process that launched the tier is gone (end of standard input).
    grace_s : float
        Time that a shutdown gives accepted requests.
    heartbeat_timeout_s : float
        Silence after which a unit is taken for hung and killed; at least twenty of its longest steps.
    load_deadline_s : float
        Longest time from the fork to a created session.
    head_within_s : float
        Time in which a client must have sent a request's head.
    otlp_endpoint : str
        Base address of an OpenTelemetry collector that metrics are pushed to; empty for none.
    otlp_every_s : float
        Time between two pushes.
    """

    home: Path
    services: tuple[TierService, ...]
    host: str = "127.0.0.1"
    port: int = 0
    grpc_port: int | None = None
    model_control: bool = False
    max_units_total: int = 16
    clock: ClockSpec | None = None
    exit_with_parent: bool = True
    grace_s: float = 8.0
    heartbeat_timeout_s: float = 8.0
    load_deadline_s: float = 300.0
    head_within_s: float = 10.0
    otlp_endpoint: str = ""
    otlp_every_s: float = 30.0

    @property
    def lanes(self) -> tuple[TierService, ...]:
        """What units are run for; see `TierService.lanes`."""
        return tuple(lane for each in self.services for lane in each.lanes)

    def __post_init__(self) -> None:
        names = [each.service for each in self.services]
        if len(set(names)) != len(names):
            raise SettingError("services", names, "each name once", "rename one of them")
        if not 0 <= self.port <= 65535:
            raise SettingError("port", self.port, "0..65535", "0 takes a free port")
        if self.max_units_total < 1:
            raise SettingError("max_units_total", self.max_units_total, "1 or more")
        if self.clock is not None and self.clock.speed <= 0:
            raise SettingError("clock.speed", self.clock.speed, "above 0")
        if self.otlp_endpoint and not self.otlp_endpoint.startswith(("http://", "https://")):
            raise SettingError(
                "tier.otlp_endpoint", self.otlp_endpoint, "http://... or https://..."
            )
        if not self.otlp_every_s > 0:
            raise SettingError("tier.otlp_every_s", self.otlp_every_s, "above 0")
        for each in self.services:
            if (each.unit_type.pair is None) != (each.decode_path is None):
                said = "with two pools, and only there"
                raise SettingError(f"{each.service}.decode_path", str(each.decode_path), said)
            types = each.unit_type.mixed.types if each.unit_type.mixed else ()
            if len(types) != len(each.type_paths):
                said = f"{len(types)} files, one for each type"
                raise SettingError(f"{each.service}.type_paths", len(each.type_paths), said)
        for each in self.lanes:
            if not 0 < each.unit_type.compute_share <= 1:
                raise SettingError(
                    f"{each.unit_type.name}.compute_share",
                    each.unit_type.compute_share,
                    "0 < share <= 1",
                )
            check_gpu_wishes(each.unit_type)

    def make_clock(self) -> Clock:
        """Return the clock that stamps arrivals and unit events."""
        return TierClock(self.clock)

    def to_json(self) -> bytes:
        """Return the spec as JSON; `from_json` is the inverse."""
        return orjson.dumps(asdict(self), default=str, option=orjson.OPT_INDENT_2)

    @classmethod
    def from_json(cls, text: bytes) -> TierSpec:
        """Read what `to_json` wrote.

        Raises
        ------
        SettingError
            When it is no tier specification.
        """
        try:
            data = orjson.loads(text)
            services = tuple(_service(each) for each in data.pop("services"))
            clock = data.pop("clock")
            return cls(
                home=Path(data.pop("home")),
                services=services,
                clock=ClockSpec(**clock) if clock else None,
                **data,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SettingError(
                "spec", str(error), "must be a tier specification", "write it with TierSpec.to_json"
            ) from error


def unit_type_to_dict(unit_type: UnitType) -> dict[str, Any]:
    """Return a unit type as JSON values."""
    return asdict(unit_type)


def unit_type_from_dict(data: dict[str, Any]) -> UnitType:
    """Read what `unit_type_to_dict` wrote: the profile's fields tell its kind."""
    rest = dict(data)
    fields = dict(rest.pop("profile"))
    profile: Profile
    if "batch_latency_s" in fields:
        curve = tuple(
            (int(size), float(latency)) for size, latency in fields.pop("batch_latency_s")
        )
        profile = ClassicProfile(batch_latency_s=curve, **fields)
    else:
        profile = GenerativeProfile(**fields)
    labels = tuple((str(key), str(value)) for key, value in rest.pop("labels", ()))
    pair = rest.pop("pair", None)
    mixed = rest.pop("mixed", None)
    return UnitType(
        profile=profile, labels=labels, pair=_pair(pair) if pair else None,
        mixed=_mixed(mixed) if mixed else None, **rest,
    )  # fmt: skip


def _pair(data: dict[str, Any]) -> Pair:
    kinds = {name: unit_type_from_dict(data[name]) for name in ("prefill", "decode")}
    return Pair(**{**data, **kinds})


def _mixed(data: dict[str, Any]) -> Mixed:
    types = tuple(unit_type_from_dict(each) for each in data["types"])
    return Mixed(types, tuple(int(each) for each in data["most"]))


def _service(data: dict[str, Any]) -> TierService:
    rest = dict(data)
    unit_type = unit_type_from_dict(rest.pop("unit_type"))
    decode_path = rest.pop("decode_path", None)
    type_paths = tuple(Path(each) for each in rest.pop("type_paths", ()))
    return TierService(
        unit_type=unit_type,
        model_path=Path(rest.pop("model_path")),
        decode_path=Path(decode_path) if decode_path else None,
        type_paths=type_paths,
        **rest,
    )
