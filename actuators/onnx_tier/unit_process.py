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
from actuators.onnx_tier.unit_loop import HEARTBEAT_S, UnitLoop
from actuators.onnx_tier.unit_work import UnitWork, make_work
from actuators.onnx_tier.warm_up import warm_up_inputs
from actuators.onnx_tier.wire import BlockingLink, WireError
from forecaster.domain.errors import ModelError
from forecaster.domain.profile import UnitType


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
        second = SecondStage(make) if in_stages else None
        UnitLoop(link, work, unit_type.compute_share, unit_type.threads, second).run()
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
