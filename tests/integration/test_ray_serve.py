"""Replicas of Ray Serve: by the clock of a fake, and on a real local Ray.

Ray is what ``python -m benchmarks.peers.servers`` has installed (450 MB): without it its test skips loudly.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from actuators.ray_serve.actuator import RayServeActuator
from actuators.ray_serve.api import RayServe, Target
from actuators.ray_serve.following import BY_ITSELF
from benchmarks.peers.servers import installed, ray_serve
from forecaster.clock import SystemClock
from forecaster.config import Settings
from forecaster.domain.errors import ActuatorError, CapacityDeniedError
from forecaster.domain.lifecycle import UnitState
from forecaster.wiring.checks import Health
from forecaster.wiring.ray_serve import examine_ray
from tests.fake_ray import FakeRay, serving
from tests.integration.tier_helpers import until


def test_a_replica_that_finds_no_place_is_denied_capacity_before_the_next_order(
    tmp_path: Path,
) -> None:
    ray = FakeRay(("chat",), gpus=2, load_s=30.0, stop_s=5.0, now_s=1.7e9)
    with serving(ray) as url, closing(RayServe(url)) as api:
        actuator = RayServeActuator(
            api, ray, {"chat": Target("chat", "chat")}, tmp_path,
            autoscaled=True, place_wait_s=100.0, pause=lambda _: ray.settle(),
        )  # fmt: skip
        assert len(actuator.prewarm("chat", 3, reason="r", order_key="1")) == 2
        ray.advance(30)
        fleet = actuator.observe("chat")
        assert (fleet.ready, fleet.warming) == (2, 1)
        with pytest.raises(CapacityDeniedError, match="1 find no place"):
            actuator.prewarm("chat", 1, reason="r", order_key="2")
        ray.gpus = 3  # the autoscaler brought a node
        ray.advance(40)
        assert actuator.observe("chat").ready == 3
        ray.replicas["chat"].pop(0)
        ray.advance(10)
        died = [each for each in actuator.events_after(0) if each.after is UnitState.FAILED]
        assert [each.reason for each in died] == ["the replica died"]
        again = RayServeActuator(api, ray, {"chat": Target("chat", "chat")}, tmp_path)
        assert again.tier == actuator.tier
        assert list(again.events_after(0)) == list(actuator.events_after(0))


def test_one_that_is_gone_before_it_was_seen_to_stop_was_drained(tmp_path: Path) -> None:
    ray = FakeRay(("chat",), gpus=2, load_s=0.0, stop_s=0.0, now_s=1.7e9)
    with serving(ray) as url, closing(RayServe(url)) as api:
        actuator = RayServeActuator(
            api, ray, {"chat": Target("chat", "chat")}, tmp_path, pause=lambda _: ray.settle()
        )
        actuator.prewarm("chat", 2, reason="flood", order_key="1")
        ray.advance(10)
        assert actuator.observe("chat").ready == 2
        ray.quick = True
        (gone,) = actuator.drain("chat", 1, reason="ebb", order_key="2")
        last = actuator.events_after(0)[-1]
        assert (last.unit_id, last.after, last.reason) == (gone, UnitState.GONE, "ebb")
        assert actuator.observe("chat").ready == 1


def test_an_application_that_scales_itself_is_left_alone(tmp_path: Path) -> None:
    ray = FakeRay(("chat",), gpus=2, load_s=30.0, stop_s=5.0, now_s=1.7e9)
    ray.external = False
    with serving(ray) as url, closing(RayServe(url)) as api:
        actuator = RayServeActuator(api, ray, {"chat": Target("chat", "chat")}, tmp_path)
        with pytest.raises(ActuatorError, match="scales itself"):
            actuator.prewarm("chat", 1, reason="r", order_key="1")
        unit = {"name": "chat", "unit": "u", "slo": {"ttft_p99_s": 2.0}}
        settings = Settings(ray_serve={"url": url}, service=[unit])  # type: ignore[arg-type]
        assert [each.health for each in examine_ray(settings)] == [Health.FAIL]
        ray.external = True
        (found,) = examine_ray(settings)
        assert (found.health, found.says[-30:]) == (
            Health.OK,
            " the nodes have room for 2 more"[-30:],
        )


def test_a_real_ray_begins_and_ends_replicas(tmp_path: Path) -> None:
    if not installed("ray"):
        pytest.skip("Ray is not installed: `python -m benchmarks.peers.servers` installs it")
    with ray_serve(tmp_path) as url, closing(RayServe(url)) as api:
        actuator = RayServeActuator(api, SystemClock(), {"slow": Target("slow", "Slow")}, tmp_path)
        until(lambda: _known(actuator), "the deployment is there", 60)
        until(lambda: actuator.observe("slow").ready == 1, "one replica runs", 60)
        made = actuator.prewarm("slow", 2, reason="flood", order_key="1")
        assert len(made) == 2
        until(lambda: actuator.observe("slow").ready == 3, "three replicas run", 60)
        leads_s = [each.lead_time_s for each in actuator.observe("slow").units]
        assert all(lead_s is not None and lead_s > 0 for lead_s in leads_s)
        with pytest.raises(CapacityDeniedError, match="the nodes have room for 2"):
            actuator.prewarm("slow", 3, reason="flood", order_key="2")
        gone = actuator.drain("slow", 2, reason="ebb", order_key="3")
        assert len(gone) == 2
        until(lambda: actuator.observe("slow").draining == 0, "they are gone", 60)
        assert [(u.state.value, u.reason) for u in actuator.observe("slow").units] == [
            ("ready", BY_ITSELF)
        ]
        ends = {
            each.unit_id: each.reason for each in actuator.events_after(0) if each.after == "gone"
        }
        assert ends == dict.fromkeys(gone, "ebb")


def _known(actuator: RayServeActuator) -> bool:
    try:
        return bool(actuator.observe("slow").units)
    except ActuatorError:
        return False
