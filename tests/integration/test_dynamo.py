"""Dynamo's planner plugin: over sockets with a client of its protocol, and asked by the real planner of `ai-dynamo`.

The real one is what ``python -m benchmarks.peers.servers`` has installed: without it those tests skip loudly.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from actuators.dynamo.messages import LIFECYCLE, PROPOSE, message_class
from actuators.dynamo.plugin import ProposePlugin, Wish
from actuators.dynamo.workers import WorkerFleet
from actuators.rpc_server import Tls
from benchmarks.peers.servers import installed, python_of
from forecaster.config import Settings, load_settings
from forecaster.domain.errors import ActuatorUnavailableError, SettingError
from forecaster.domain.lifecycle import UnitState
from forecaster.planning.leads import lead_times_s
from forecaster.wiring.checks import Health
from forecaster.wiring.dynamo import examine_dynamo
from tests.integration.daemon_world import HandClock
from tests.integration.run_helpers import ROOT, Tidegate
from tests.integration.tier_helpers import until
from tests.local_server import self_signed

PAGE = (ROOT / "docs" / "dynamo.md").read_text()
TOML = PAGE.split("```toml\n")[1].split("```")[0]
CONFIG = PAGE.split("```json\n")[1].split("```")[0]
BOTH = {"prefill": "chat-prefill", "decode": "chat"}
CALL_S, LEAD_S = 10.0, 60.0


class Plan:
    """Numbers that the test sets, None: nobody knows; and what was heard of workers."""

    def __init__(self, **units: int | None) -> None:
        self.units: dict[str, int | None] = {key.replace("_", "-"): n for key, n in units.items()}
        self.heard: dict[str, int] = {}

    def wanted(self, service: str) -> Wish:
        units = self.units[service]
        if units is None:
            raise ActuatorUnavailableError("the plan is 90 min old", "the replicas stay")
        return Wish(units, f"the tide of {service}")

    def hear(self, service: str, ready: int) -> None:
        self.heard[service] = ready


@contextmanager
def plugin(plan: Plan, components: dict[str, str], tls: Tls | None = None) -> Iterator[int]:
    served = ProposePlugin(components, plan.wanted, plan.hear)
    port = served.start("127.0.0.1", 0, tls)
    try:
        yield port
    finally:
        served.stop()


def ask(channel: grpc.Channel, **ready: int) -> Any:
    """Ask as a planner does; what it sends beyond our table is read over."""
    context = message_class("PipelineContext")(request_id="1")
    for key, count in ready.items():
        setattr(context.observations.workers, f"ready_{key}", count)
    traffic = bytes.fromhex("0a0909000000000000f03f")  # observations.traffic.duration_s = 1
    observed = context.observations.SerializeToString() + traffic
    raw = message_class("ProposeStageRequest")(context=context).SerializeToString()
    raw += bytes([0x0A, len(observed) + 2, 0x1A, len(observed)]) + observed
    return channel.unary_unary(
        f"/{PROPOSE}/Propose",
        response_deserializer=message_class("ProposeStageResponse").FromString,
    )(raw, timeout=CALL_S)


def told(answer: Any) -> dict[str, int]:
    assert not answer.final
    assert all(each.HasField("replicas") and each.type == 0 for each in answer.override.targets)
    return {each.sub_component_type: each.replicas for each in answer.override.targets}


def test_each_component_is_told_its_units_and_why_and_nothing_of_others() -> None:
    plan = Plan(chat=7, chat_prefill=0)
    with plugin(plan, BOTH) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = ask(channel, prefill=2, decode=3)
        assert told(answer) == {"prefill": 0, "decode": 7}  # a 0 that is meant is said, not unset
        assert answer.override.reason == (
            "prefill 0: the tide of chat-prefill; decode 7: the tide of chat"
        )
        assert plan.heard == {"chat-prefill": 2, "chat": 3}
    plan = Plan(chat=5)
    with (
        plugin(plan, {"decode": "chat"}) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        assert told(ask(channel, prefill=2)) == {"decode": 5}
        for call, answer_name in (
            ("Bootstrap", "BootstrapResponse"),
            ("Reset", "ResetResponse"),
        ):
            done = channel.unary_unary(
                f"/{LIFECYCLE}/{call}",
                response_deserializer=message_class(answer_name).FromString,
            )(b"", timeout=CALL_S)
            assert done.ok
    assert plan.heard == {}  # how many decode workers are ready was not said


def test_what_is_not_known_is_an_error_for_all_and_never_a_zero() -> None:
    plan = Plan(chat=7, chat_prefill=None)
    with plugin(plan, BOTH) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ask(channel, decode=3)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "the plan is 90 min old; the replicas stay"


def test_tls_lets_in_only_whom_the_authority_vouches_for(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    pem = cert.read_bytes()
    with plugin(Plan(chat=2), {"decode": "chat"}, Tls(cert, key, cert)) as port:
        ours = grpc.ssl_channel_credentials(pem, key.read_bytes(), pem)
        with grpc.secure_channel(f"localhost:{port}", ours) as channel:
            assert told(ask(channel)) == {"decode": 2}
        stranger = grpc.ssl_channel_credentials(pem)
        with (
            grpc.secure_channel(f"localhost:{port}", stranger) as channel,
            pytest.raises(grpc.RpcError),
        ):
            ask(channel)
    with (
        pytest.raises(SettingError, match=r"dynamo\.tls_cert"),
        plugin(Plan(), {}, Tls(tmp_path, key)),
    ):
        pass


class Workers:
    """A fleet, its clock, and the planner's word."""

    def __init__(self, file: Path) -> None:
        self.clock, self.file, self.orders = HandClock(1.7e9), file, 0
        self.fleet = self.started()

    def started(self) -> WorkerFleet:
        return WorkerFleet(self.clock, {"chat": LEAD_S}, self.file, 100)

    def more(self, units: int) -> None:
        self.orders += 1
        self.fleet.prewarm("chat", units, reason="tide", order_key=str(self.orders))

    def fewer(self, units: int) -> None:
        self.orders += 1
        self.fleet.drain("chat", units, reason="ebb", order_key=str(self.orders))

    def hear(self, ready: int, after_s: float = 0.0) -> int:
        """Units that are ready, a while later, when so many workers are."""
        self.clock.now += after_s
        self.fleet.heard("chat", ready)
        return self.fleet.observe("chat").ready

    @property
    def leads_s(self) -> list[float]:
        return lead_times_s(self.fleet.events_after(0))


@pytest.fixture
def workers(tmp_path: Path) -> Workers:
    return Workers(tmp_path / "dynamo.json")


def test_a_unit_is_ready_when_its_worker_is_and_the_lead_is_measured(workers: Workers) -> None:
    assert workers.hear(0) == 0
    workers.more(3)
    assert workers.hear(0, 20.0) == 0
    assert workers.hear(1, 10.0) == 1  # before the configured lead
    assert workers.hear(1, 60.0) == 1  # 90 s: the clock alone makes none ready
    assert workers.hear(3, 5.0) == 3
    assert workers.leads_s == [30.0, 95.0, 95.0]
    assert workers.fleet.wanted("chat") == 3


def test_a_worker_that_is_not_scaled_in_yet_is_not_the_one_that_was_ordered(
    workers: Workers,
) -> None:
    assert workers.hear(2) == 0  # there before us
    workers.more(4)
    assert workers.hear(2, 10.0) == 0
    assert workers.hear(4, 30.0) == 2  # two came
    assert workers.hear(4, 25.0) == 4  # the lead has passed: those two are as good as any
    workers.fewer(2)
    assert workers.hear(4) == 2
    workers.more(1)
    assert workers.hear(4, 5.0) == 2
    assert workers.hear(3, 5.0) == 2  # one of both is gone
    assert workers.hear(4, 20.0) == 3
    assert min(workers.leads_s) == 30.0


def test_a_worker_that_never_comes_is_ordered_anew_and_the_planner_told_the_same(
    workers: Workers,
) -> None:
    workers.hear(0)
    workers.more(2)
    assert workers.hear(0, 2.0 * LEAD_S) == 0
    workers.fleet = workers.started()  # and over a restart
    assert workers.fleet.observe("chat").warming == 2
    assert workers.hear(0, 1.1 * LEAD_S) == 0
    workers.more(2)  # the plan counts on the first two no more
    assert workers.fleet.wanted("chat") == 2
    workers.more(1)
    assert workers.fleet.wanted("chat") == 3
    assert workers.hear(3, LEAD_S) == 3
    gone = [each for each in workers.fleet.observe("chat").units if each.state is UnitState.FAILED]
    assert [each.reason for each in gone] == ["no worker came; ordered anew"] * 2


def test_until_a_planner_tells_of_workers_the_clock_does(workers: Workers) -> None:
    workers.more(2)
    workers.clock.now += LEAD_S
    assert workers.fleet.observe("chat").ready == 2


def services(*names: str) -> tuple[dict[str, Any], ...]:
    return tuple({"name": name, "unit": "llama70b-h100x8"} for name in names)


def configured(names: tuple[str, ...], **dynamo: Any) -> Settings:
    return Settings(dynamo={"port": 6001, **dynamo}, service=services(*names))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "dynamo", "said"),
    [
        ((), {}, "there are: none"),
        (("chat", "mail"), {}, r"dynamo.decode = '' is no service, there are: chat, mail"),
        (("chat",), {"prefill": "in"}, r"dynamo.prefill = 'in' is no service"),
        (("chat",), {"prefill": "chat"}, "are one service"),
        (("chat", "mail"), {"decode": "chat"}, "mail: a planner scales one deployment"),
        (("chat",), {"client_ca": "ca.pem"}, "client_ca wants tls_cert"),
    ],
)
def test_a_service_that_no_component_is_and_others_are_refused(
    names: tuple[str, ...], dynamo: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        configured(names, **dynamo)


def test_there_is_one_scaler() -> None:
    with pytest.raises(ValueError, match=r"keda.port and dynamo.port: one of them scales"):
        Settings(keda={"port": 1}, dynamo={"port": 2}, service=services("chat"))  # type: ignore[arg-type]


def test_the_doctor_says_what_a_planner_is_answered(tmp_path: Path) -> None:
    (check,) = examine_dynamo(configured(("chat",)))
    assert (check.health, check.says) == (
        Health.OK, "a planner is answered on 127.0.0.1:6001: decode is 'chat'",
    )  # fmt: skip
    for dynamo, said in (
        ({"port": 0}, "set dynamo.port"),
        ({"host": "0.0.0.0"}, "NetworkPolicy"),
        ({"tls_cert": tmp_path, "tls_key": tmp_path}, "leave dynamo.tls_cert out"),
    ):
        (check,) = examine_dynamo(configured(("chat",), **dynamo))
        assert check.health is Health.WARN
        assert said in check.remedy
    assert not list(examine_dynamo(Settings()))


def test_the_settings_on_the_page_load(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.toml"
    file.write_text(TOML)
    found = load_settings(file)
    assert found.dynamo.components([each.name for each in found.service]) == BOTH


real = pytest.mark.skipif(
    not installed("dynamo"),
    reason="the real planner is not here: python -m benchmarks.peers.servers installs it",
)


class Planner:
    """The real planner's engine in a process of its own, with the configuration of the page."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.now_s = process, 0.0

    def tick(self, after_s: float = 5.0, **ready: int) -> dict[str, int | None] | None:
        """What it wants of its connector, with so many workers ready."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.now_s += after_s
        self.process.stdin.write(json.dumps({"now_s": self.now_s, **ready}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the planner ended"
        found: dict[str, int | None] | None = json.loads(line)
        return found


@contextmanager
def planner(port: int, tmp_path: Path, **more: Any) -> Iterator[Planner]:
    config = json.loads(CONFIG.replace("127.0.0.1:6001", f"127.0.0.1:{port}"))
    command = [python_of("dynamo"), ROOT / "benchmarks" / "peers" / "dynamo_planner.py"]
    with (
        (tmp_path / "planner.log").open("w") as log,
        subprocess.Popen(
            [*command, json.dumps({"served_model_name": "m", **config, **more})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        ) as process,
    ):  # fmt: skip
        try:
            yield Planner(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30.0)
    assert "accepted plugin_id=tidegate" in (tmp_path / "planner.log").read_text()


@real
def test_the_real_planner_takes_our_counts_and_holds_while_we_are_unsure(tmp_path: Path) -> None:
    plan = Plan(chat=7, chat_prefill=4)
    with plugin(plan, BOTH) as port, planner(port, tmp_path, max_gpu_budget=16) as dynamo:
        assert dynamo.tick(prefill=2, decode=3) == {"prefill": 4, "decode": 7}
        assert plan.heard == {"chat-prefill": 2, "chat": 3}
        plan.units |= {"chat": 12, "chat-prefill": 3}
        assert dynamo.tick(prefill=4, decode=7) == {"prefill": 3, "decode": 12}
        plan.units["chat"] = None
        for _ in range(6):  # five refusals, and its circuit breaker
            assert dynamo.tick(prefill=3, decode=12) is None
        plan.units |= {"chat": 6, "chat-prefill": 3}
        assert dynamo.tick(35.0, prefill=3, decode=12) == {"prefill": 3, "decode": 6}
        assert plan.heard == {"chat-prefill": 3, "chat": 12}
        plan.units |= {"chat": 0, "chat-prefill": 0}
        assert dynamo.tick(prefill=3, decode=6) == {"prefill": 1, "decode": 1}  # its own floor
        plan.units |= {"chat": 20, "chat-prefill": 4}
        wanted = dynamo.tick(prefill=1, decode=1)
        assert wanted is not None
        assert sum(each or 0 for each in wanted.values()) == 16  # and its own budget


DAEMON = """
[api]
port = 0
[dynamo]
port = 0
decode = "chat"
[planner]
tick_s = 1
replan_s = 10
[[service]]
name = "chat"
unit = "llama70b-h100x8"
slo = { ttft_p99_s = 2.0, tpot_p99_s = 0.08 }
min_units = 2
max_units = 16
tail = ["LOG"]
"""


@real
def test_from_the_daemon_to_the_real_planner(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    file = home / "tidegate.toml"
    log = home / "log.jsonl"
    now_s = time.time()
    row = {"service": "chat", "prompt_tokens": 1000, "output_tokens": 200}
    log.write_text(
        "".join(
            json.dumps({"timestamp": now_s - at_s, **row}) + "\n" for at_s in range(7200, 0, -2)
        )
    )
    file.write_text(DAEMON.replace("LOG", str(log)))
    with Tidegate(home, "daemon", "--config", str(file), "--format", "json") as daemon:
        found = daemon.document()
        port = int(found["dynamo"].rpartition(":")[2])
        with planner(port, tmp_path, mode="agg") as dynamo:

            def agreed() -> tuple[int, int] | None:
                """Ready and warming units that are shown, when the planner wants that many."""
                wanted = dynamo.tick(40.0, decode=1)
                units = shown(found["url"]) if wanted else (0, 0)
                return units if wanted and wanted["decode"] == sum(units) else None

            ready, warming = until(agreed, "the number that is shown")
            assert ready + warming >= 2
            assert ready <= 1  # what the planner tells is what is ready
        assert daemon.process.poll() is None
    assert math.isfinite(json.loads((home / "dynamo.json").read_text())["ordered"])


def shown(url: str) -> tuple[int, int]:
    units = httpx.get(f"{url}/v1/services/chat", timeout=20.0).json()["units"]
    return int(units["ready"]), int(units["warming"])
