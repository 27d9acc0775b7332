"""A unit: one process, one session, one engine, one socket to the tier.

It reports ``loading``, ``loaded`` (with the provider that the session truly got) or ``failed``, then
answers. When the tier goes away, its socket ends and the unit exits: no unit outlives its tier.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from actuators.onnx_tier.devices import GpuLimits
from actuators.onnx_tier.session import open_session, provider_of, signature_of
from actuators.onnx_tier.spec import unit_type_from_dict
from actuators.onnx_tier.stages import SecondStage
from actuators.onnx_tier.unit_work import UnitWork, make_work
from actuators.onnx_tier.warm_up import WARM_UP_ID, warm_up_inputs
from actuators.onnx_tier.wire import BlockingLink, Frame, WireError
from forecaster.domain.errors import ModelError
from forecaster.domain.profile import UnitType

HEARTBEAT_S = 0.5


def run_unit(order: dict[str, Any]) -> int:
    """Live one unit's life; return the exit status.

    Parameters
    ----------
    order : dict
        ``unit_id``, ``socket`` (path), ``unit_type`` (as `unit_type_to_dict`), ``model_path``,
        ``in_stages`` (whether it answers before its weights are packed), ``device`` (name of the GPU
        that it may use; empty for any), ``gpu`` (fields of `GpuLimits`).
    """
    # Ctrl-C reaches the whole process group: the tier decides when a unit ends, not the terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link = BlockingLink(connection, HEARTBEAT_S)
    try:
        connection.connect(order["socket"])
        link.send({"t": "loading", "unit_id": order["unit_id"], "pid": os.getpid()})
        unit_type = unit_type_from_dict(order["unit_type"])
        path, in_stages = Path(order["model_path"]), bool(order["in_stages"])
        if order["device"]:
            # Before CUDA is first touched: this process sees one device, and calls it 0.
            os.environ["CUDA_VISIBLE_DEVICES"] = order["device"]
        work = _load(link, unit_type, path, in_stages, GpuLimits(**order["gpu"]))
        if work is None:
            return 1
        make = partial(open_session, path, unit_type.provider, unit_type.threads)
        _Loop(link, work, unit_type, SecondStage(make) if in_stages else None).run()
    except (EOFError, OSError, WireError):
        return 2
    except Exception as error:
        # The last words of a unit that meets a defect: they become its recorded reason.
        with suppress(OSError):
            link.send({"t": "failed", "reason": f"defect in the unit: {error!r}"})
        raise
    finally:
        connection.close()
    return 0


def _load(
    link: BlockingLink, unit_type: UnitType, path: Path, in_stages: bool, gpu: GpuLimits
) -> UnitWork | None:
    started_s = time.monotonic()
    try:
        session = open_session(
            path, unit_type.provider, unit_type.threads, packed=not in_stages, gpu=gpu
        )
        work = make_work(session, unit_type)
    except (ModelError, MemoryError) as error:
        link.send({"t": "failed", "reason": str(error) or "out of memory"})
        return None
    link.send(
        {
            "t": "loaded",
            "provider": provider_of(session),
            "inputs": warm_up_inputs(signature_of(session)),
            "seconds": time.monotonic() - started_s,
        }
    )
    return work


class _Loop:
    """Reads the socket between steps, makes each last what it should, beats its heart throughout."""

    def __init__(
        self, link: BlockingLink, work: UnitWork, unit_type: UnitType, second: SecondStage | None
    ) -> None:
        self._link = link
        self._work = work
        self._second = second
        # On a CPU this is what a fraction of a device is on a GPU: a step of c seconds of work lasts
        # c / share, and what it made is sent at its end, so that neighbours on one machine keep their
        # capacity apart and latency is that of the smaller unit. Processor time counts, not time on
        # the wall: a busy machine must not be paid for twice.
        self._rest_ratio = (1.0 / unit_type.compute_share - 1.0) / unit_type.threads
        # One thread is this one: what packs weights behind it is not the step's work.
        self._spent_s = time.thread_time if unit_type.threads == 1 else time.process_time
        self._warmed_up = False
        self._answered = False
        self._rest_until_s = 0.0
        self._unsent: list[Frame] = []
        self._beat_due_s = 0.0
        self._stopping = False

    def run(self) -> None:
        while not self._stopping:
            self._beat()
            if self._second is not None:
                self._take_second_stage(self._second)
            for frame in self._link.receive(self._idle_s()):
                self._take(frame)
            if self._idle_s() == 0.0:
                self._go_on()

    def _idle_s(self) -> float | None:
        """Seconds to listen before the next step; None while there is nothing to do."""
        if self._unsent:
            return max(0.0, min(self._rest_until_s - time.monotonic(), HEARTBEAT_S))
        return min(self._work.hold_s(), HEARTBEAT_S) if self._work.has_work else None

    def _take_second_stage(self, second: SecondStage) -> None:
        if self._answered:
            second.start()
        if (made := second.take()) is not None:
            session, seconds = made
            self._work.use(session)
            self._second = None
            self._link.send({"t": "packed", "seconds": seconds})

    def _take(self, frame: Frame) -> None:
        header, body = frame
        if header["t"] == "stop":
            self._stopping = True
            return
        self._warmed_up = self._warmed_up or header["id"] != WARM_UP_ID
        if refusal := self._work.accept(header, body):
            self._link.send(*refusal)

    def _go_on(self) -> None:
        """End the step that rested, or make the next one."""
        if self._unsent:
            unsent, self._unsent = self._unsent, []
            self._link.send_all(unsent)
        elif not self._rest_ratio or not self._warmed_up:
            self._answered = True
            self._link.send_all(self._work.step())
        else:
            started_s = self._spent_s()
            self._unsent = self._work.step() or [({"t": "beat"}, b"")]
            compute_s = self._spent_s() - started_s
            self._rest_until_s = time.monotonic() + compute_s * self._rest_ratio

    def _beat(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._beat_due_s:
            self._beat_due_s = now_s + HEARTBEAT_S
            self._link.send({"t": "beat"})
