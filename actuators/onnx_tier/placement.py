"""Which unit runs on which GPU, and how much of its memory it gets: decided before it is started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from actuators.onnx_tier.devices import Device, GpuLimits
from actuators.onnx_tier.session import ModelSignature
from actuators.onnx_tier.spec import TierService
from forecaster.domain.errors import CapacityDeniedError, ModelError
from forecaster.domain.profile import GenerativeProfile, UnitType

CONTEXT_BYTES = 600 << 20
"""Memory that a process takes on a device before any weight: CUDA's context and its libraries."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class StartPlan:
    """How the units of a tier start, and where.

    Attributes
    ----------
    in_stages : frozenset of str
        Services whose units answer before their weights are packed.
    devices : tuple of Device
        Empty where every unit runs on the CPU, or the driver lists none.
    cache_bytes : mapping of str to int
        Keys and values of one unit of each service.
    """

    in_stages: frozenset[str] = frozenset()
    devices: tuple[Device, ...] = ()
    cache_bytes: Mapping[str, int] = field(default_factory=dict)

    def uses(self, unit_type: UnitType) -> bool:
        """Whether units of this type get a device."""
        return bool(self.devices) and unit_type.provider != "cpu"

    def places(
        self, service: TierService, taken: Iterable[tuple[Device, float]], units: int
    ) -> tuple[Device | None, ...]:
        """Choose a place for each of `units` units; None is the CPU.

        Raises
        ------
        CapacityDeniedError
            When there is no place for all of them.
        """
        if not self.uses(service.unit_type):
            return (None,) * units
        share = service.unit_type.device_memory_share
        chosen = place(self.devices, taken, share, units)
        if len(chosen) < units:
            raise CapacityDeniedError(
                f"{units} more units of {service.service!r} are denied: {len(chosen)} fit where each "
                f"takes {share:g} of a device's memory ({len(self.devices)} devices)",
                "drain another service, or set a smaller device_memory_share",
            )
        return chosen

    def limits(self, service: str, unit_type: UnitType, device: Device | None) -> GpuLimits:
        """Return what a unit of `service` is told on `device`."""
        if device is None:
            return GpuLimits(graphs=unit_type.cuda_graphs)
        arena = arena_bytes(device, unit_type, self.cache_bytes.get(service, 0))
        return GpuLimits(arena, unit_type.cuda_graphs)


ON_CPU = StartPlan()


def place(
    devices: Sequence[Device], taken: Iterable[tuple[Device, float]], share: float, units: int
) -> tuple[Device, ...]:
    """Choose devices for `units` units, each on the one whose memory is least taken.

    Parameters
    ----------
    devices : sequence of Device
        All there are.
    taken : iterable of (Device, float)
        Where live units are and the share of its device that each holds.
    share : float
        Share of a device's memory that each new unit takes, 0 < share <= 1.
    units : int
        How many.

    Returns
    -------
    tuple of Device
        One for each unit; fewer than `units` when there is no room for more.

    Examples
    --------
    >>> a, b = Device("a", 8 << 30), Device("b", 8 << 30)
    >>> [each.name for each in place((a, b), [(a, 0.5)], 0.5, 4)]
    ['b', 'a', 'b']
    """
    held = {each.name: 0.0 for each in devices}
    for device, part in taken:
        held[device.name] = held.get(device.name, 0.0) + part
    chosen: list[Device] = []
    for _ in range(units):
        emptiest = min(devices, key=lambda each: held[each.name], default=None)
        if emptiest is None or held[emptiest.name] + share > 1.0 + _ROUNDING:
            break
        held[emptiest.name] += share
        chosen.append(emptiest)
    return tuple(chosen)


def cache_bytes(signature: ModelSignature, unit_type: UnitType) -> int:
    """Return the bytes of keys and values that a unit keeps on its device; 0 for classic models."""
    profile = unit_type.profile
    if not isinstance(profile, GenerativeProfile):
        return 0
    tokens = profile.max_batch * min(signature.context_tokens, profile.kv_tokens)
    pasts = [each for each in signature.inputs if each.name.startswith("past_key_values.")]
    sizes = (each.shape[1] * each.shape[3] * np.dtype(each.dtype).itemsize for each in pasts)
    return tokens * sum(sizes)


def arena_bytes(device: Device, unit_type: UnitType, cache: int) -> int:
    """Return what a unit's share of a device leaves for weights and passes."""
    share = int(device.memory_bytes * unit_type.device_memory_share)
    return share - CONTEXT_BYTES - cache


def check_fits(plan: StartPlan, service: str, unit_type: UnitType, weight_bytes: int) -> None:
    """Refuse a service whose units cannot fit into their share of the smallest device.

    Raises
    ------
    ModelError
        With what a unit needs and what it would get.
    """
    if not plan.uses(unit_type):
        return
    smallest = min(plan.devices, key=lambda each: each.memory_bytes)
    cache = plan.cache_bytes.get(service, 0)
    if arena_bytes(smallest, unit_type, cache) < weight_bytes:
        need = weight_bytes + cache + CONTEXT_BYTES
        got = smallest.memory_bytes * unit_type.device_memory_share
        raise ModelError(
            f"service {service!r}: a unit needs {need / 1e9:.1f} GB of a device (weights, cache, "
            f"context), device_memory_share = {unit_type.device_memory_share:g} gives {got / 1e9:.1f} GB",
            "raise the share, or lower max_batch or kv_tokens",
        )
