"""The GPUs of this machine, what a session on one is told, and what no unit can be told."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from forecaster.domain.errors import SettingError
from forecaster.domain.profile import UnitType

_LIST = ("nvidia-smi", "--query-gpu=uuid,memory.total", "--format=csv,noheader,nounits")
_LIST_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU.

    Attributes
    ----------
    name : str
        Its UUID: what ``CUDA_VISIBLE_DEVICES`` takes, whatever order devices are counted in.
    memory_bytes : int
        All of its memory.
    """

    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class GpuLimits:
    """What a session may do on the one device that its process sees.

    Attributes
    ----------
    arena_bytes : int
        Most memory for weights and passes; 0 sets no limit.
    graphs : bool
        Whether steps are captured as CUDA graphs and replayed.
    """

    arena_bytes: int = 0
    graphs: bool = False

    def provider_options(self) -> dict[str, str]:
        """Return the options of ONNX Runtime's CUDA provider.

        Examples
        --------
        >>> GpuLimits(arena_bytes=1 << 30).provider_options()["gpu_mem_limit"]
        '1073741824'
        """
        options = {"device_id": "0"}
        if self.arena_bytes:
            # An arena that doubles would claim memory that a neighbour was promised.
            options["gpu_mem_limit"] = str(self.arena_bytes)
            options["arena_extend_strategy"] = "kSameAsRequested"
        if self.graphs:
            options["enable_cuda_graph"] = "1"
        return options


def parse_devices(listing: str, visible: str | None = None) -> tuple[Device, ...]:
    """Read ``nvidia-smi``'s list of UUIDs and mebibytes.

    Parameters
    ----------
    listing : str
        A line for each device.
    visible : str or None
        ``CUDA_VISIBLE_DEVICES``: numbers in the list's order, or the beginnings of UUIDs; None
        leaves all.

    Examples
    --------
    >>> parse_devices("GPU-a1, 1024\\nGPU-b2, 2048\\n", "GPU-b")
    (Device(name='GPU-b2', memory_bytes=2147483648),)
    """
    rows = [line.rpartition(",") for line in listing.splitlines() if "," in line]
    found = [
        Device(name.strip(), int(size) << 20) for name, _, size in rows if size.strip().isdigit()
    ]
    if visible is None:
        return tuple(found)
    chosen: list[Device] = []
    for token in filter(None, map(str.strip, visible.split(","))):
        if token.isdigit():
            chosen += found[int(token) : int(token) + 1]
        else:
            chosen += [each for each in found if each.name.startswith(token)]
    return tuple(chosen)


def visible_devices() -> tuple[Device, ...]:
    """Ask the driver for the devices that this process may use; empty where it lists none."""
    try:
        done = subprocess.run(
            _LIST, capture_output=True, text=True, check=False, timeout=_LIST_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    listing = done.stdout if done.returncode == 0 else ""
    return parse_devices(listing, os.environ.get("CUDA_VISIBLE_DEVICES"))


def check_gpu_wishes(unit_type: UnitType) -> None:
    """Refuse what no GPU unit can be.

    Raises
    ------
    SettingError
        Naming the setting.
    """
    share = unit_type.device_memory_share
    if not 0 < share <= 1:
        key = f"{unit_type.name}.device_memory_share"
        raise SettingError(key, share, "0 < share <= 1", "1 gives each unit a device of its own")
    if not unit_type.cuda_graphs:
        return
    key = f"{unit_type.name}.cuda_graphs"
    if unit_type.provider == "cpu":
        raise SettingError(key, True, "false where provider = 'cpu'", "take provider = 'cuda'")
    if not unit_type.generative:
        raise SettingError(key, True, "false for classic models: their batches change shape")
