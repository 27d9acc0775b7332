"""The tier's side of the zygote: keeps one alive, orders forks, passes on how units ended."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from actuators.onnx_tier.fleet import Unit
from actuators.onnx_tier.links import FrameLink
from actuators.onnx_tier.placement import ON_CPU, StartPlan
from actuators.onnx_tier.spec import unit_type_to_dict
from actuators.onnx_tier.wire import Header

log = logging.getLogger("onnx_tier")

_RETRY_S = 0.5
_EXIT_WITHIN_S = 3.0


class UnitParent(Protocol):
    """Who is told about processes."""

    def zygote_started(self) -> None:
        """Forks can be ordered."""
        ...

    def zygote_lost(self) -> None:
        """Forks that were ordered and not reported will never be."""
        ...

    def forked(self, unit_id: str, pid: int) -> None:
        """A unit's process exists."""
        ...

    def not_forked(self, unit_id: str, reason: str) -> None:
        """A unit's process could not be made."""
        ...

    def exited(self, unit_id: str, how: str) -> None:
        """A unit's process has ended and is reaped."""
        ...


class ZygoteHost:
    """Runs the zygote process, and another one when it dies.

    Parameters
    ----------
    parent : UnitParent
        Who is told.
    units_socket : Path
        Where forked units connect.
    plan : StartPlan
        How units start, and what they are told on a device.
    """

    def __init__(self, parent: UnitParent, units_socket: Path, plan: StartPlan = ON_CPU) -> None:
        self._parent = parent
        self._plan = plan
        self._units_socket = units_socket
        self._link: FrameLink | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    @property
    def alive(self) -> bool:
        """Whether forks can be ordered."""
        return self._link is not None

    async def start(self) -> None:
        """Start the process; orders queue in its socket while it imports."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            descriptor = theirs.fileno()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "actuators.onnx_tier.zygote",
                str(descriptor),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=(descriptor,),
                # A thread pool of numpy's own would not survive the fork.
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        _, self._link = await loop.connect_accepted_socket(
            lambda: FrameLink(self._on_frame, self._on_lost), ours
        )
        self._parent.zygote_started()

    def fork(self, unit: Unit) -> None:
        """Order a process for `unit`."""
        if self._link is None:
            return
        name, unit_type = unit.service.service, unit.service.unit_type
        self._link.send(
            {
                "t": "fork",
                "unit_id": unit.unit_id,
                "socket": str(self._units_socket),
                "unit_type": unit_type_to_dict(unit_type),
                "model_path": str(unit.service.model_path),
                "in_stages": name in self._plan.in_stages,
                "device": unit.device.name if unit.device else "",
                "gpu": asdict(self._plan.limits(name, unit_type, unit.device)),
            }
        )

    async def stop(self) -> None:
        """End the zygote; it kills and reaps whatever unit is left."""
        self._stopping = True
        if self._link is not None:
            self._link.close()
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), _EXIT_WITHIN_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _on_frame(self, _link: FrameLink, header: Header, _body: bytes) -> None:
        if header["t"] == "forked":
            self._parent.forked(header["unit_id"], header["pid"])
        elif header["t"] == "refused":
            self._parent.not_forked(header["unit_id"], header["reason"])
        elif header["t"] == "exit":
            self._parent.exited(header["unit_id"], _how_it_ended(header["code"]))

    def _on_lost(self, _link: FrameLink) -> None:
        self._link = None
        if self._stopping:
            return
        log.error("the zygote died; starting another")
        self._parent.zygote_lost()
        loop = asyncio.get_running_loop()
        loop.call_later(_RETRY_S, self._restart, loop)

    def _restart(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._stopping:
            self._restarting = loop.create_task(self.start())


def kill(pid: int) -> None:
    """Kill a process that may already have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"its process was killed by signal {-code}"
    return f"its process ended with status {code}"
