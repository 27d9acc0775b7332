"""Starting and ending a tier: clear refusals, and no process left however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from actuators.onnx_tier.launch import start_tier, stop_tier
from actuators.onnx_tier.session import cuda_visible
from actuators.onnx_tier.spec import ClockSpec, TierService, TierSpec
from forecaster.domain.errors import (
    ActuatorError,
    ActuatorUnavailableError,
    ModelError,
    SettingError,
)
from forecaster.domain.lifecycle import UnitState
from tests.integration.tier_helpers import (
    CHAT,
    CLASSIFIER,
    LLAMA_TYPE,
    MLP_TYPE,
    alive,
    children_of,
    running,
    services,
    until,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def test_a_taken_port_is_one_clear_line(models: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SettingError) as refusal:
            start_tier(TierSpec(tmp_path, services(models), port=port), tmp_path / "log")
    line = str(refusal.value)
    assert f"tier.port = '127.0.0.1:{port}' is refused: it cannot be bound" in line
    assert "choose another port" in line
    assert "\n" not in line


def test_two_tiers_never_share_a_home(models: Path, tmp_path: Path) -> None:
    with running(tmp_path, services(models)) as tier:
        with pytest.raises(SettingError, match="another tier is running there; stop it or choose"):
            start_tier(TierSpec(tmp_path, services(models)), tmp_path / "log")
        assert tier.actuator.observe(CHAT).units == ()


def test_broken_models_are_named_before_anything_starts(models: Path, tmp_path: Path) -> None:
    missing = (TierService(CHAT, LLAMA_TYPE, tmp_path / "absent.onnx"),)
    with pytest.raises(ModelError, match=r"service 'chat': model file .*absent\.onnx does not"):
        start_tier(TierSpec(tmp_path / "a", missing), tmp_path / "log")
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(services(models)[1].model_path.read_bytes()[:50_000])
    with pytest.raises(ModelError, match=r"torn\.onnx is not ONNX"):
        spec = TierSpec(tmp_path / "b", (TierService(CLASSIFIER, MLP_TYPE, torn),))
        start_tier(spec, tmp_path / "log")


def test_a_unit_told_cuda_fails_on_a_machine_without(models: Path, tmp_path: Path) -> None:
    if cuda_visible():
        pytest.skip("this machine has a CUDA device")
    path = services(models)[1].model_path
    strict = (TierService(CLASSIFIER, replace(MLP_TYPE, provider="cuda"), path),)
    with running(tmp_path, strict) as tier:
        tier.prewarm(CLASSIFIER)
        failed = until(
            lambda: [
                u for u in tier.actuator.observe(CLASSIFIER).units if u.state is UnitState.FAILED
            ],
            "the unit fails",
        )[0]
        assert "told cuda, session is on CPU" in failed.reason
        assert tier.actuator.stats()["units_live"] == 0


def test_cpu_units_of_provider_auto_are_mentioned_once(models: Path, tmp_path: Path) -> None:
    with running(tmp_path, services(models)) as tier:
        tier.ready(CHAT, 2)
        tier.ready(CLASSIFIER, 1)
        providers = {unit.provider for unit in tier.live(CHAT)}
        lines = tier.log.read_text().splitlines()
    if providers == {"CPUExecutionProvider"}:
        assert len(lines) == 1, lines
        assert "run on the CPU" in lines[0]


def test_a_model_that_vanishes_fails_its_units_with_a_reason(models: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model.onnx"
    copy.write_bytes(services(models)[1].model_path.read_bytes())
    with running(tmp_path, (TierService(CLASSIFIER, MLP_TYPE, copy),)) as tier:
        copy.unlink()
        tier.prewarm(CLASSIFIER)
        until(
            lambda: any(
                "refused by ONNX Runtime" in u.reason
                for u in tier.actuator.observe(CLASSIFIER).units
            ),
            "the unit fails with its reason",
        )


def test_sigterm_answers_what_was_accepted_and_leaves_no_process(
    models: Path, tmp_path: Path
) -> None:
    with running(tmp_path, services(models)) as tier, ThreadPoolExecutor(1) as pool:
        tier.ready(CHAT, 2)
        tier.ready(CLASSIFIER, 1)
        processes = [tier.handle.process.pid, *children_of(tier.handle.process.pid)]
        assert len(processes) == 5, "tier, zygote, three units"
        body = {"model": CHAT, "prompt": "ebb", "max_tokens": 300, "temperature": 0}
        answer = pool.submit(httpx.post, f"{tier.url}/v1/completions", json=body, timeout=30)
        until(lambda: tier.actuator.stats()["in_flight"] == 1, "a request runs")
        tier.handle.process.send_signal(signal.SIGTERM)
        assert answer.result().status_code == 200
        assert answer.result().json()["usage"]["completion_tokens"] == 300
        assert tier.handle.stop() == 0
        assert not [pid for pid in processes if alive(pid)]
        with pytest.raises(ActuatorUnavailableError, match="cannot be reached"):
            tier.actuator.stats()


def test_a_killed_tier_takes_its_units_along(models: Path, tmp_path: Path) -> None:
    with start_tier(TierSpec(tmp_path, services(models)), tmp_path / "log") as handle:
        with handle.actuator() as actuator:
            actuator.prewarm(CHAT, 2, reason="test", order_key="1")
            until(lambda: actuator.observe(CHAT).ready == 2, "two units are ready")
        children = children_of(handle.process.pid)
        assert len(children) == 3
        handle.process.kill()
        until(lambda: not [pid for pid in children if alive(pid)], "every unit is gone")


_PARENT = """
import sys
from pathlib import Path
from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.spec import TierSpec
spec = TierSpec.from_json(Path(sys.argv[1]).read_bytes())
handle = start_tier(spec, spec.home / "log")
print(handle.process.pid, flush=True)
sys.stdin.read()
"""


def test_a_tier_ends_with_the_parent_that_died(models: Path, tmp_path: Path) -> None:
    spec_path = tmp_path / "spec.json"
    spec_path.write_bytes(TierSpec(tmp_path / "home", services(models)).to_json())
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(spec_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        tier_pid = int(parent.stdout.readline())
        assert alive(tier_pid)
        parent.kill()
    until(lambda: not alive(tier_pid), "the tier ends after its parent")


def test_a_tier_whose_launcher_is_gone_can_be_stopped(models: Path, tmp_path: Path) -> None:
    spec_path = tmp_path / "spec.json"
    home = tmp_path / "home"
    spec_path.write_bytes(TierSpec(home, services(models), exit_with_parent=False).to_json())
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(spec_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        tier_pid = int(parent.stdout.readline())
        parent.kill()
    assert alive(tier_pid), "it outlives its launcher"
    family = [tier_pid, *children_of(tier_pid)]
    assert stop_tier(home, 5.0) == tier_pid
    assert not [pid for pid in family if alive(pid)]
    with pytest.raises(ActuatorUnavailableError, match="no serving tier runs in"):
        stop_tier(home, 5.0)


def test_homes_with_long_paths_get_short_sockets(models: Path, tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)
    with running(home, services(models)) as tier:
        assert len(os.fsencode(tier.handle.control_socket)) < 108
        assert tier.actuator.observe(CHAT).units == ()


def test_a_dead_zygote_is_replaced(models: Path, tmp_path: Path) -> None:
    with running(tmp_path, services(models)) as tier:
        tier.ready(CHAT, 1)
        unit_pid = tier.pid_of(tier.live(CHAT)[0].unit_id)
        zygote = next(
            pid for pid in children_of(tier.handle.process.pid) if unit_pid in children_of(pid)
        )
        os.kill(zygote, signal.SIGKILL)
        until(lambda: "the zygote died" in tier.log.read_text(), "its death is noticed")
        tier.ready(CHAT, 2)


def test_a_compressed_clock_stamps_events_and_arrivals(models: Path, tmp_path: Path) -> None:
    import time

    clock = ClockSpec(start_s=1.7e9, origin_s=time.monotonic(), speed=600.0)
    with running(tmp_path, services(models), clock=clock) as tier:
        tier.ready(CLASSIFIER, 1)
        unit = tier.live(CLASSIFIER)[0]
        now_s = tier.actuator.observe(CLASSIFIER).observed_s
        assert 1.7e9 < unit.ordered_s < unit.since_s < now_s < 1.7e9 + 600 * 300
        events = [e for e in tier.actuator.events_after(0) if e.unit_id == unit.unit_id]
        assert unit.lead_time_s == pytest.approx(sum(e.seconds for e in events))
        assert unit.lead_time_s == pytest.approx(events[-1].at_s - unit.ordered_s)


def test_a_tier_that_cannot_run_says_why(models: Path, tmp_path: Path) -> None:
    spec_path = tmp_path / "spec.json"
    spec_path.write_text("{}")
    ran = subprocess.run(
        [sys.executable, "-m", "actuators.onnx_tier", "--spec", str(spec_path)],
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 1
    assert b'"key":"spec"' in ran.stdout
    with pytest.raises(ActuatorError, match="cannot be reached"):
        from actuators.onnx_tier.client import OnnxTierActuator

        with OnnxTierActuator(tmp_path / "nowhere.sock") as nobody:
            nobody.stats()
