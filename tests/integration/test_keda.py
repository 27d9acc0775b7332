"""KEDA's external scaler over real sockets, and from a log to the number that KEDA is told."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from actuators.keda.messages import SERVICE, message_class
from actuators.keda.pulled import PulledActuator
from actuators.keda.scaler import ExternalScaler, metric_name
from actuators.rpc_server import Tls
from forecaster.config import load_settings
from forecaster.domain.errors import ActuatorUnavailableError, DataError, SettingError
from forecaster.planning.leads import lead_times_s
from tests.integration.daemon_world import HandClock
from tests.integration.run_helpers import Tidegate
from tests.integration.tier_helpers import until
from tests.local_server import self_signed

CALL_S = 10.0


class Keda:
    """What KEDA's operator asks, over a channel of its own."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def ask(self, method: str, answer: str, request: Any) -> Any:
        call = self.channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(answer).FromString,
        )
        return call(request, timeout=CALL_S)

    def units(self, service: str) -> float:
        request = message_class("GetMetricsRequest")(
            scaledObjectRef=ref(service), metricName=metric_name(service)
        )
        found = self.ask("GetMetrics", "GetMetricsResponse", request).metricValues
        assert len(found) == 1
        assert found[0].metricName == metric_name(service)
        assert found[0].metricValue == found[0].metricValueFloat  # old and new readers agree
        return float(found[0].metricValueFloat)

    def active(self, service: str) -> bool:
        return bool(self.ask("IsActive", "IsActiveResponse", ref(service)).result)

    def refusal(self, service: str) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self.units(service)
        return caught.value.code(), caught.value.details()


def ref(service: str) -> Any:
    metadata = {"service": service} if service else {}
    return message_class("ScaledObjectRef")(
        name="chat", namespace="ml", scalerMetadata={"scalerAddress": "tidegate:6000", **metadata}
    )


class Wanted:
    """A number that the test sets; None: nobody knows."""

    def __init__(self, units: int | None) -> None:
        self.units = units

    def __call__(self, service: str) -> int:
        if service != "chat":
            raise DataError(f"there is no service {service!r}", "known services: chat")
        if self.units is None:
            raise ActuatorUnavailableError("the plan is 90 min old", "the replicas stay")
        return self.units


@contextmanager
def scaler(wanted: Callable[[str], int], tls: Tls | None = None) -> Iterator[int]:
    served = ExternalScaler(wanted, push_s=0.01)
    port = served.start("127.0.0.1", 0, tls)
    try:
        yield port
    finally:
        served.stop()


def test_the_metric_is_the_number_of_units_at_a_target_of_one() -> None:
    wanted = Wanted(7)
    with scaler(wanted) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        keda = Keda(channel)
        specs = keda.ask("GetMetricSpec", "GetMetricSpecResponse", ref("chat")).metricSpecs
        assert [(s.metricName, s.targetSize, s.targetSizeFloat) for s in specs] == [
            ("tidegate-chat-units", 1, 1.0)
        ]
        assert keda.units("chat") == 7
        assert keda.active("chat")
        wanted.units = 0
        assert keda.units("chat") == 0
        assert not keda.active("chat")


def test_what_is_not_known_is_an_error_and_never_a_zero() -> None:
    with (
        scaler(Wanted(None)) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        keda = Keda(channel)
        code, said = keda.refusal("chat")
        assert (code, said) == (
            grpc.StatusCode.UNAVAILABLE,
            "the plan is 90 min old; the replicas stay",
        )
        assert keda.refusal("nobody")[0] is grpc.StatusCode.NOT_FOUND
        code, said = keda.refusal("")
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "the trigger of ml/chat names no service" in said


def test_a_stream_tells_of_the_first_unit_and_of_the_last_and_not_of_doubt() -> None:
    wanted = Wanted(0)
    with scaler(wanted) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = channel.unary_stream(
            f"/{SERVICE}/StreamIsActive",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class("IsActiveResponse").FromString,
        )(ref("chat"), timeout=60.0)
        heard = [next(stream).result]
        for units in (3, None, 5, 0):  # doubt and another number change nothing
            wanted.units = units
            if units in (3, 0):
                heard.append(next(stream).result)
        assert heard == [False, True, False]
        stream.cancel()


def test_tls_lets_in_only_whom_the_authority_vouches_for(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    pem = cert.read_bytes()
    with scaler(Wanted(2), Tls(cert, key, cert)) as port:
        ours = grpc.ssl_channel_credentials(pem, key.read_bytes(), pem)
        with grpc.secure_channel(f"localhost:{port}", ours) as channel:
            assert Keda(channel).units("chat") == 2
        stranger = grpc.ssl_channel_credentials(pem)
        with grpc.secure_channel(f"localhost:{port}", stranger) as channel:
            assert Keda(channel).refusal("chat")[0] is grpc.StatusCode.UNAVAILABLE
    with (
        pytest.raises(SettingError, match=r"keda\.tls_cert"),
        scaler(Wanted(1), Tls(tmp_path, key)),
    ):
        pass


def test_the_numbers_outlive_the_process(tmp_path: Path) -> None:
    file = tmp_path / "keda.json"
    fleet = PulledActuator(HandClock(1.7e9), {"chat": 60.0}, file, 100)
    with pytest.raises(ActuatorUnavailableError, match="nothing was ordered"):
        fleet.wanted("chat")
    fleet.prewarm("chat", 5, reason="tide", order_key="1")
    fleet.drain("chat", 2, reason="ebb", order_key="2")
    assert fleet.wanted("chat") == 3
    clock = HandClock(1.7e9)
    clock.now += 30.0
    again = PulledActuator(clock, {"chat": 60.0, "new": 60.0}, file, 100)
    assert (again.wanted("chat"), again.observe("chat").warming) == (3, 3)
    assert again.tier == fleet.tier  # the same units go on: the ledger counts none of them twice
    clock.now += 30.0
    assert again.observe("chat").ready == 3
    events = again.events_after(0)
    assert [each.seq for each in events] == list(range(1, len(events) + 1))
    assert lead_times_s(events) == [60.0] * 3
    assert not again.events_after(events[-1].seq)
    again.drain("chat", 1, reason="ebb", order_key="3")
    assert again.events_after(events[-1].seq)[0].seq == events[-1].seq + 1
    with pytest.raises(ActuatorUnavailableError, match="nothing was ordered"):
        again.wanted("new")
    file.write_text("{torn")
    with pytest.raises(ActuatorUnavailableError):
        PulledActuator(HandClock(1.7e9), {"chat": 60.0}, file, 100).wanted("chat")


SETTINGS = """
[api]
port = 0
[keda]
port = 0
[planner]
tick_s = 1
[[service]]
name = "chat"
unit = "llama70b-h100x8"
slo = { ttft_p99_s = 2.0, tpot_p99_s = 0.08 }
log_sample = 0.001
max_units = 16
"""
DAYS = 9


@pytest.fixture(scope="module")
def home(open_folder: Callable[[], Path]) -> Path:
    """Nine days of a busy service that end now, trained."""
    place = open_folder()
    (place / "tidegate.toml").write_text(SETTINGS)
    rng = np.random.default_rng(5)
    now_s = time.time()
    at_s = np.sort(now_s - rng.uniform(0, DAYS * 86_400, DAYS * 1440))
    with (place / "log.jsonl").open("w") as log:
        for each in at_s:
            row = {
                "timestamp": each,
                "service": "chat",
                "prompt_tokens": 1000,
                "output_tokens": 200,
            }
            log.write(json.dumps(row) + "\n")
    config = ("--config", str(place / "tidegate.toml"))
    for command in (("ingest", str(place / "log.jsonl")), ("retrain", "chat")):
        with Tidegate(place, *command, *config) as done:
            assert done.ended(120.0) == 0, done.said
    return place


def daemon(home: Path) -> Tidegate:
    return Tidegate(home, "daemon", "--config", str(home / "tidegate.toml"), "--format", "json")


def test_from_a_log_to_keda_and_over_a_kill_without_a_jump(home: Path) -> None:
    with daemon(home) as first:
        found = first.document()
        with grpc.insecure_channel(found["keda"]) as channel:
            told = until(lambda: answered(Keda(channel)), "a number for KEDA", 120.0)
            assert told > 3
            assert Keda(channel).active("chat")
            until(lambda: shown(found["url"]) == answered(Keda(channel)), "the same number shown")
        first.send(signal.SIGKILL)
        first.process.wait(20.0)
    with daemon(home) as second:
        found = second.document()
        with grpc.insecure_channel(found["keda"]) as channel:
            after = until(lambda: answered(Keda(channel)), "a number after the kill", 120.0)
            assert abs(after - told) <= 1
            mode = httpx.put(
                f"{found['url']}/v1/services/chat/mode", json={"mode": "observe"}, timeout=20.0
            )
            assert mode.status_code == 200, mode.text
            until(lambda: answered(Keda(channel)) is None, "silence in observe mode")
            assert "mode of 'chat' is observe" in Keda(channel).refusal("chat")[1]
        second.send(signal.SIGTERM)
        assert second.ended() == 0, second.said


def test_the_settings_on_the_page_load(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "keda.md").read_text()
    file = tmp_path / "tidegate.toml"
    file.write_text(page.split("```toml\n")[1].split("```")[0])
    assert load_settings(file).keda.port == 6000


def shown(url: str) -> int:
    units = httpx.get(f"{url}/v1/services/chat", timeout=20.0).json()["units"]
    return int(units["ready"]) + int(units["warming"])


def answered(keda: Keda) -> float | None:
    try:
        return keda.units("chat")
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        return None
