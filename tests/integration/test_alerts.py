"""Alerts against a real HTTP server: once, resolved once, quiet hours, bounded tries, no secrets."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from forecaster.config.alerts import AlertsSettings, HookFormat
from forecaster.daemon.notifier import TRIES
from forecaster.domain.alert import Kind, Symptom
from forecaster.store import Store
from tests.integration.cli_runner import Runner
from tests.integration.daemon_world import CHAT, World, world

SECRET = "hush-9f8e7d"


@dataclass
class Hook:
    """A webhook that writes down what it is told."""

    url: str = ""
    told: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    answers: Callable[[int], int] = lambda count: 200

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(each["event"], each["kind"]) for each in self.told]


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.told.append(json.loads(body))
            found.keys.append(self.headers["Idempotency-Key"])
            self.send_response(found.answers(len(found.told)))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/services/{SECRET}"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def calm(learned_store: Store, tmp_path: Path, hook: Hook) -> World:
    found = world(learned_store, tmp_path, at_h=9)
    alerts = AlertsSettings(webhook=(SecretStr(hook.url),), kinds=(Kind.CAPACITY_DENIED,))
    found.settings = found.settings.model_copy(update={"alerts": alerts})
    found.restart()
    found.overload = False
    found.step()
    return found


def test_a_denial_is_said_once_over_restarts_and_resolved_once(calm: World, hook: Hook) -> None:
    calm.daemon.look_for_alarms()
    assert hook.told == []
    calm.tier.deny = True
    calm.tier.drain(CHAT, 20, reason="test", order_key="all")
    calm.step()
    calm.daemon.look_for_alarms()
    assert hook.events == [("firing", "capacity_denied")]
    assert hook.told[0]["service"] == CHAT
    denied_s = calm.pilot.planner.denied_s
    for _ in range(3):
        calm.restart()
        calm.pilot.planner.denied_s = denied_s  # it is denied again
        calm.step()
        calm.daemon.look_for_alarms()
    assert len(hook.told) == 1, "neither a tick nor a restart says it again"
    calm.tier.deny = False
    calm.clock.now += 3700.0
    for _ in range(4):
        calm.step()
        calm.daemon.look_for_alarms()
    assert hook.events[1:] == [("resolved", "capacity_denied")]
    assert hook.told[1]["alert_id"] == hook.told[0]["alert_id"]
    assert len(set(hook.keys)) == 2
    (row,) = calm.board.desk.alerts(10, None, False)["alerts"]
    assert row["resolved_s"] is not None
    assert calm.board.desk.alerts(10, None, True)["alerts"] == []


def test_a_hook_that_fails_is_tried_again_and_not_for_ever(
    calm: World, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    hook.answers = lambda count: 503
    calm.tier.deny = True
    calm.tier.drain(CHAT, 20, reason="test", order_key="all")
    calm.step()
    with caplog.at_level(logging.DEBUG):
        for _ in range(3 * TRIES):
            calm.daemon.look_for_alarms()
            calm.clock.now += 2000.0
            calm.pilot.planner.denied_s = calm.clock.now  # it lasts
    assert len(hook.told) == TRIES
    assert SECRET not in "".join(
        r.getMessage() for r in caplog.records if r.name.startswith("forecaster")
    )


def test_a_tick_does_not_wait_for_a_hook(calm: World, hook: Hook) -> None:
    """The hook is held while a whole tick goes by."""
    held, told = threading.Event(), threading.Event()

    def answer(_count: int) -> int:
        told.set()
        held.wait(20)
        return 200

    hook.answers = answer
    calm.tier.deny = True
    calm.tier.drain(CHAT, 20, reason="test", order_key="all")
    calm.step()
    beside = threading.Thread(target=calm.daemon.look_for_alarms)
    beside.start()
    assert told.wait(20)
    before = calm.daemon.ticks
    calm.step()
    assert calm.daemon.ticks == before + 1
    assert beside.is_alive()
    held.set()
    beside.join(20)
    assert not beside.is_alive()


def test_quiet_hours_keep_what_can_wait_and_forget_what_is_over(store: Store) -> None:
    calm = Symptom(Kind.DRIFT, CHAT, "slow units")
    loud = Symptom(Kind.CAPACITY_DENIED, CHAT, "denied", urgent=True)

    def see(symptoms: list[Symptom], now_s: float) -> list[tuple[str, str]]:
        store.alerts.see(
            symptoms, now_s, ["hook"], lambda urgent: now_s if urgent else 5000.0, settle_s=100.0
        )
        return [(each.event, each.alert.text) for each in store.alerts.due(now_s, 3, 10)]

    assert see([calm, loud], 1000.0) == [("firing", "denied")]
    (denied,) = store.alerts.due(1000.0, 3, 10)
    store.alerts.trying(denied.notice_id, 1030.0)
    store.alerts.sent(denied.notice_id, 1000.0)
    assert see([calm], 1050.0) == []
    assert see([calm], 1200.0) == []  # the denial is over, its end is said at the end of the quiet
    assert see([], 1400.0) == []  # over before anybody was told: nothing is ever said of it
    assert see([], 5000.0) == [("resolved", "denied")]
    assert [each.resolved_s for each in store.alerts.newest()] == [1200.0, 1400.0]


def test_the_command_tries_every_hook(cli: Runner, hook: Hook, tmp_path: Path) -> None:
    file = tmp_path / "tidegate.toml"
    file.write_text(f'[alerts]\nwebhook = ["{hook.url}"]\nformat = "slack"\n')
    done = cli("alerts", "--test", "--config", file, "--format", "json")
    assert done.code == 0
    assert done.json == {"taken": True, "webhooks": ["webhook 1: 127.0.0.1 took it"]}
    assert set(hook.told[0]) == {"text"}
    hook.answers = lambda count: 404
    failed = cli("alerts", "--test", "--config", file)
    assert failed.code == 1
    assert "127.0.0.1 answered 404" in failed.out
    assert SECRET not in failed.out + failed.err + done.out
    none = cli("alerts", "--test", "--config", Path("/dev/null"))
    assert none.code == 2
    assert "no webhook is configured" in none.error


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f'webhook = ["ftp://{SECRET}"]', "https://host/path"),
        ('quiet = "25:00-07:00"', "alerts.quiet"),
        ('timezone = "Mars"', "IANA"),
        ('kinds = ["rain"]', "alerts.kinds"),
    ],
)
def test_settings_out_of_range_are_refused_without_the_secret(
    cli: Runner, tmp_path: Path, line: str, says: str
) -> None:
    file = tmp_path / "tidegate.toml"
    file.write_text(f"[alerts]\n{line}\n")
    refused = cli("config", "--config", file)
    assert refused.code == 2
    assert says in refused.error
    assert SECRET not in refused.error


def test_slack_gets_one_line() -> None:
    assert AlertsSettings(format="slack").format is HookFormat.SLACK
    assert AlertsSettings(quiet="22:00-07:30").quiet_minutes() == (1320, 450)
