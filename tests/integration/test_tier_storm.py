"""A storm sized for CI: units come, go, crash and hang while clients send, leave and err.

`python -m benchmarks.tier_storm` is the long version.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from actuators.onnx_tier.spec import TierService
from benchmarks.tier_storm import LLAMA, MLP, resources, storm
from forecaster.domain.lifecycle import UnitState
from tests.integration.tier_helpers import (
    CHAT,
    RunningTier,
    alive,
    children_of,
    running,
    services,
    until,
)

MLP_SERVICE = "mlp"


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[RunningTier]:
    paths = [each.model_path for each in services(tmp_path / "models")]
    served = (
        TierService(CHAT, LLAMA, paths[0], queue_limit=4096),
        TierService(MLP_SERVICE, MLP, paths[1], queue_limit=4096),
    )
    home = tmp_path / "home"
    with running(home, served, max_units_total=9, heartbeat_timeout_s=2.0) as tier:
        tier.ready(CHAT, 1)
        tier.ready(MLP_SERVICE, 1)
        yield tier


def _settle(tier: RunningTier) -> None:
    """Whatever the storm left behind: nothing in flight, one unit of each service."""
    until(lambda: tier.actuator.stats()["in_flight"] == 0, "nothing is in flight")
    for service in (CHAT, MLP_SERVICE):
        until(lambda name=service: tier.actuator.observe(name).warming == 0, "none is warming")
        tier.ready(service, 1)
    stats = tier.actuator.stats()
    assert stats["waiting"] == {CHAT: 0, MLP_SERVICE: 0}
    assert len(stats["pids"]) == 2


def test_scaling_alone_drops_nothing(tier: RunningTier) -> None:
    found = asyncio.run(storm(tier.url, tier.actuator, 500, seed=2, kills=False))
    assert found.wrong == []
    assert found.sent == 500
    assert {name.split()[-1] for name in found.outcomes} <= {"200", "left", "refused"}
    assert min(found.blows["prewarm"], found.blows["drain"]) >= 3
    _settle(tier)
    assert UnitState.FAILED not in {each.after for each in tier.actuator.events_after(0, 10_000)}


def test_every_request_ends_clearly_whatever_happens_to_the_units(tier: RunningTier) -> None:
    found = asyncio.run(storm(tier.url, tier.actuator, 600, seed=3))
    assert found.wrong == []
    assert found.sent == 600
    answered = sum(number for name, number in found.outcomes.items() if name.endswith("200"))
    assert answered > 450
    _settle(tier)
    records = tier.actuator.requests_after(0, 50_000)
    assert [each.seq for each in records] == list(range(1, len(records) + 1))
    family = children_of(tier.handle.process.pid)
    until(lambda: len([pid for pid in family if alive(pid)]) == 3, "zygote and two units")


def test_a_unit_that_failed_is_replaced_by_the_tier_itself(tier: RunningTier) -> None:
    for blow, reason in ((signal.SIGKILL, "killed by signal 9"), (signal.SIGSTOP, "no heartbeat")):
        victim = tier.live(CHAT)[0].unit_id
        os.kill(tier.pid_of(victim), blow)
        replaced = until(
            lambda old=victim: [
                u for u in tier.live(CHAT) if u.state == "ready" and u.unit_id != old
            ],
            "another unit is ready",
        )
        assert replaced[0].reason.startswith(f"replaces {victim}")
        assert reason in replaced[0].reason
        body = {"model": CHAT, "prompt": "x", "max_tokens": 2}
        assert httpx.post(f"{tier.url}/v1/completions", json=body).status_code == 200


def test_generations_of_units_leave_nothing_behind(tier: RunningTier) -> None:
    pid = tier.handle.process.pid
    zygote = next(child for child in children_of(pid) if children_of(child))
    generations = 30

    def cycle() -> None:
        tier.ready(MLP_SERVICE, 3)
        tier.ready(MLP_SERVICE, 1)

    cycle()
    before = [resources(process) for process in (pid, zygote)]
    pids = set()
    for _ in range(generations // 2):
        tier.ready(MLP_SERVICE, 3)
        pids |= set(tier.actuator.stats()["pids"].values())
        tier.ready(MLP_SERVICE, 1)
    after = [resources(process) for process in (pid, zygote)]
    assert len(pids) >= generations
    for (files, rss, children), (files_now, rss_now, children_now) in zip(
        before, after, strict=True
    ):
        assert files_now <= files
        assert children_now == children
        assert rss_now - rss < 4096, "KiB over thirty generations"
    assert len([each for each in pids if alive(each)]) <= 2, "only the ready units are left"
