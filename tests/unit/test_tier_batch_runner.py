"""What a daemon let in holds for a while, and not for ever."""

from __future__ import annotations

import math
from pathlib import Path

from actuators.onnx_tier.batch_folder import BatchFolder
from actuators.onnx_tier.batch_runner import SAID_S, BatchRunner
from actuators.onnx_tier.router import Router
from tests.integration.daemon_world import HandClock


async def nobody(_path: str, _body: bytes) -> tuple[int, bytes]:
    raise AssertionError("nothing is asked")


def test_a_daemon_that_is_gone_holds_nothing_back(tmp_path: Path) -> None:
    clock = HandClock()
    router = Router((), lambda unit_id: None, lambda service: 1)
    runner = BatchRunner(BatchFolder(tmp_path), {}, router, nobody, clock)
    assert runner.allowed("chat") == math.inf
    runner.allow("chat", 0.0)
    clock.now += SAID_S - 1
    assert runner.allowed("chat") == 0.0
    clock.now += 1
    assert runner.allowed("chat") == math.inf
