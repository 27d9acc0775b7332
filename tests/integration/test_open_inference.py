"""Models on servers with the repository extension: by the clock of a fake, and on the real Triton and MLServer.

The real ones are those that `make bench-peers` has installed (about 1 GB): without them their test skips loudly.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import onnx
import pytest

from actuators.onnx_tier.demo_models import mlp_classifier
from actuators.open_inference.actuator import ADOPTED, OpenInferenceActuator
from actuators.open_inference.following import Patience
from actuators.open_inference.host import Host
from actuators.open_inference.watch import Model
from benchmarks.peers.servers import installed, mlserver, triton
from forecaster.clock import SystemClock
from forecaster.config import Settings
from forecaster.domain.errors import ActuatorError, CapacityDeniedError, SettingError
from forecaster.wiring.checks import Health
from forecaster.wiring.open_inference import examine_servers, model_fleet
from tests.fake_repositories import FakeWorld, serving
from tests.integration.tier_helpers import until

LOAD_S, ROUTE_S, DRAIN_S = 30.0, 5.0, 100.0


class Story:
    """Three servers, one service, and steps in time."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.world = FakeWorld(3, ("chat-int8",), LOAD_S, 1.7e9)
        stack.enter_context(serving(self.world))
        self.actuator = self.started()
        self.orders = 0

    def started(self) -> OpenInferenceActuator:
        """The adapter, as a restart makes it."""
        patience = Patience(ROUTE_S, DRAIN_S, lost_s=50.0)
        models = {"chat": Model("chat-int8")}
        return self.stack.enter_context(
            closing(
                OpenInferenceActuator(
                    self.world.hosts, self.world, models, self.folder, patience=patience
                )
            )
        )

    def order(self, units: int = 1) -> tuple[str, ...]:
        self.orders += 1
        return self.actuator.prewarm("chat", units, reason="r", order_key=str(self.orders))

    def drain(self) -> tuple[str, ...]:
        self.orders += 1
        return self.actuator.drain("chat", 1, reason="ebb", order_key=str(self.orders))

    def after(self, seconds: float) -> dict[str, str]:
        """States by unit, a while later."""
        self.world.advance(seconds, self.actuator)
        return {each.unit_id: each.state.value for each in self.actuator.observe("chat").units}

    @property
    def routes(self) -> list[str]:
        found: list[str] = json.loads((self.folder / "routes.json").read_text())["chat"]
        return found


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with ExitStack() as stack:
        yield Story(tmp_path, stack)


def test_a_load_is_a_prewarm_with_a_warm_up_and_then_a_route(story: Story) -> None:
    (unit,) = story.order()
    assert story.after(LOAD_S / 2) == {unit: "loading"}
    assert story.routes == []
    assert story.after(LOAD_S) == {unit: "ready"}
    assert story.routes == [story.world.urls[0]]
    assert story.world.servers[0].warmed == ["chat-int8"]


def test_a_drain_leaves_the_routes_falls_quiet_and_only_then_unloads(story: Story) -> None:
    (unit,) = story.order()
    story.after(LOAD_S)
    server = story.world.servers[0]
    server.waiting, server.answered = 1, 10
    assert story.drain() == (unit,)
    assert story.routes == []
    assert story.after(ROUTE_S) == {unit: "draining"}
    server.waiting, server.answered = 0, 11
    assert story.after(1) == {unit: "draining"}, "it has just answered"
    story.after(1)  # nothing since the last look: the unload begins
    assert story.after(1) == {}
    assert server.states == {"chat-int8": "UNAVAILABLE"}


def test_one_that_never_falls_quiet_is_unloaded_after_its_time(story: Story) -> None:
    (unit,) = story.order()
    story.after(LOAD_S)
    story.world.servers[0].waiting = 1
    story.drain()
    assert story.after(DRAIN_S - 1) == {unit: "draining"}
    story.after(1)
    assert story.after(1) == {}


def test_a_load_that_fails_says_so_and_the_next_goes_elsewhere(story: Story) -> None:
    story.world.servers[0].refuses = "out of memory"
    (unit,) = story.order()
    assert story.after(1) == {unit: "failed"}
    (failed,) = story.actuator.observe("chat").units
    assert "out of memory" in failed.reason
    (second,) = story.order()
    assert story.after(LOAD_S)[second] == "ready"
    assert story.routes == [story.world.urls[1]]


def test_a_restart_goes_on_with_units_numbers_and_a_load_that_was_cut(story: Story) -> None:
    first, second = story.order(2)
    events = len(story.actuator.events_after(0))
    story.world.servers[1].states["chat-int8"] = "UNAVAILABLE"
    story.after(LOAD_S)
    tier = story.actuator.tier
    (third,) = story.order()
    story.actuator = story.started()
    assert story.actuator.tier == tier
    story.after(LOAD_S)
    assert story.after(LOAD_S) == {first: "ready", second: "ready", third: "ready"}
    seqs = [each.seq for each in story.actuator.events_after(0)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > events


def test_what_others_load_is_taken_over_and_what_they_unload_has_failed(story: Story) -> None:
    story.world.servers[2].states["chat-int8"] = "READY"
    (unit,) = story.actuator.observe("chat").units
    assert (unit.state.value, unit.reason) == ("ready", ADOPTED)
    story.world.servers[2].states["chat-int8"] = "UNAVAILABLE"
    assert story.after(1) == {unit.unit_id: "failed"}


def test_a_server_that_is_away_is_no_supply_and_lost_after_a_while(story: Story) -> None:
    first, second = story.order(2)
    story.after(LOAD_S)
    story.world.servers[0].away = True
    assert story.after(1) == {first: "warming", second: "ready"}
    with pytest.raises(CapacityDeniedError, match="1 servers are free"):
        story.order(2)
    assert story.after(50) == {first: "failed", second: "ready"}


def test_settings_name_the_servers_and_the_doctor_asks_them(story: Story, tmp_path: Path) -> None:
    asked = {
        "hosts": [*story.world.urls, "http://127.0.0.1:9"],
        "token": "secret",
    }
    unit = {"name": "chat", "unit": "llama70b-h100x8", "slo": {"ttft_p99_s": 2.0}}
    settings = Settings(
        open_inference=asked,  # type: ignore[arg-type]  # as TOML has it
        service=[unit | {"repository": {"model": "chat-int8"}}, unit | {"name": "mail"}],  # type: ignore[arg-type,list-item]
    )
    found = list(examine_servers(settings))
    assert [each.health for each in found] == [Health.WARN, Health.FAIL] * 3 + [Health.FAIL]
    assert "has no model 'mail'" in found[1].says
    broken = settings.service[0].model_copy(
        update={
            "repository": settings.service[0].repository.model_copy(
                update={"warm_up": tmp_path / "no"}
            )
        }
    )
    with pytest.raises(SettingError, match="warm_up"):
        model_fleet(settings.model_copy(update={"service": (broken,)}), tmp_path, SystemClock())
    with pytest.raises(ValueError, match=r"keda.port and open_inference.hosts"):
        Settings(open_inference=asked, keda={"port": 6000})  # type: ignore[arg-type]


FEATURES = {"name": "features", "datatype": "FP32", "shape": [1, 64], "data": [0.1] * 64}


@pytest.mark.parametrize("peer", ["triton", "mlserver"])
def test_the_real_server_loads_answers_drains_and_unloads(peer: str, tmp_path: Path) -> None:
    """A client that reads the routes before each request never sees an error."""
    if not installed(peer):
        pytest.skip(f"{peer} is not installed: `make bench-peers` installs the real servers")
    model = tmp_path / "mlp.onnx"
    onnx.save_model(mlp_classifier(64, 2), model)
    start = triton if peer == "triton" else mlserver
    warm_up = {"inputs": [FEATURES]}
    with ExitStack() as stack:
        servers = [stack.enter_context(start(model, tmp_path, n, on_demand=True)) for n in (1, 2)]
        hosts = [Host(each.url, each.metrics_url) for each in servers]
        patience = Patience(route_s=0.3, drain_s=20.0)
        actuator = stack.enter_context(
            closing(
                OpenInferenceActuator(
                    hosts, SystemClock(), {"mlp": Model("m", warm_up)}, tmp_path, patience=patience
                )
            )
        )
        actuator.prewarm("mlp", 2, reason="flood", order_key="1")
        _until(actuator, ready=2)
        over, answers = threading.Event(), list[int]()
        client = threading.Thread(target=_ask, args=(tmp_path / "routes.json", over, answers))
        client.start()
        try:
            actuator.drain("mlp", 1, reason="ebb", order_key="2")
            _until(actuator, ready=1)
        finally:
            over.set()
            client.join()
        assert len(answers) > 10
        assert set(answers) == {200}
        with pytest.raises(ActuatorError, match="no-such-model"):
            hosts[0].load("no-such-model")
        hosts[0].unload("m")  # where it is not loaded any more, or is: both are fine
        gone = [each for each in actuator.events_after(0) if each.after == "gone"]
        assert [("ebb; memory of its server" in each.reason) for each in gone] == [True]


def _until(actuator: OpenInferenceActuator, ready: int) -> None:
    def settled() -> bool:
        fleet = actuator.observe("mlp")
        assert not [each.reason for each in fleet.units if each.state == "failed"]
        return (fleet.ready, fleet.warming, fleet.draining) == (ready, 0, 0)

    until(settled, f"{ready} ready units")


def _ask(routes: Path, over: threading.Event, answers: list[int]) -> None:
    with httpx.Client(timeout=20) as client:
        turn = 0
        while not over.is_set():
            open_to_us = json.loads(routes.read_text())["mlp"]
            turn += 1
            url = open_to_us[turn % len(open_to_us)]
            answer = client.post(f"{url}/v2/models/m/infer", json={"inputs": [FEATURES]})
            answers.append(answer.status_code)
