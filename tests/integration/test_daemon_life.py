"""A daemon's life: settings read again on SIGHUP, a dead job's exit, the doctor's word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forecaster.config.settings import ServiceSettings
from forecaster.domain.errors import SettingError
from forecaster.store import Store
from tests.integration.cli_runner import Runner
from tests.integration.daemon_world import CHAT, World, world

WAITS = """
import sys
from forecaster.wiring.signals import StopSignals
with StopSignals() as signals:
    signals.started()
    print("up", flush=True)
    signals.wait(None, lambda: print("hangup", flush=True))
print("stopped", signals.failure, flush=True)
"""


@pytest.fixture
def noon(learned_store: Store, tmp_path: Path) -> Iterator[World]:
    found = world(learned_store, tmp_path, at_h=12)
    found.overload = False
    for _ in found.steps(3):
        pass
    found.daemon.start()  # its first tick by itself is minutes away
    yield found
    found.daemon.stop()


def changed(noon: World, **service: object) -> None:
    values = noon.settings.service[0].model_dump() | service
    fresh = noon.settings.model_copy(update={"service": (ServiceSettings(**values),)})
    noon.daemon.reload(fresh)


def test_settings_are_taken_over_live_and_what_was_learnt_is_kept(noon: World) -> None:
    before = noon.supply
    assert before > 2
    leads, evidence = noon.pilot.planner.leads, noon.pilot.planner.carrying.belief
    changed(noon, max_units=2, min_units=1)
    assert noon.pilot.planner.leads == leads
    assert noon.pilot.planner.carrying.belief.factor == evidence.factor
    noon.last_plan_s = -1e18
    for _ in range(6):
        noon.step()
    assert noon.supply == 2
    assert max(noon.board.plan(CHAT)["hold_units"]) == 2


def test_settings_that_want_a_restart_leave_everything_as_it_was(noon: World) -> None:
    before = noon.daemon.settings
    with pytest.raises(SettingError, match="another unit type"):
        changed(noon, unit="mlp-classifier")
    assert noon.daemon.settings is before
    assert noon.pilot.settings is before


def test_a_hangup_is_heard_where_no_terminal_is_and_a_stop_stops() -> None:
    process = subprocess.Popen(
        ["env", "--default-signal=HUP", sys.executable, "-c", WAITS],  # whoever runs us under nohup
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    for _ in range(2):
        os.kill(process.pid, signal.SIGHUP)
        assert process.stdout.readline() == "hangup\n"
    os.kill(process.pid, signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == "stopped \n"


def test_the_doctor_finds_a_sound_installation_sound(cli: Runner, tmp_path: Path) -> None:
    file = tmp_path / "tidegate.toml"
    file.write_text(
        '[api]\nport = 0\n[tier]\nport = 0\n[[service]]\nname = "chat"\nunit = "tiny-llama"\n'
    )
    done = cli("doctor", "--config", file, "--format", "json")
    assert done.code == 0, done.out
    assert done.json["healthy"] is True
    names = {each["name"] for each in done.json["checks"]}
    assert names >= {
        "config", "home", "permissions", "disk", "models", "provider", "database", "schema",
        "clock", "port api", "port tier", "secrets",
    }  # fmt: skip
    table = cli("doctor", "--config", file)
    assert "as this release has it" in table.out


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("[planner]\ntick_s = 0\n", "config", "planner.tick_s"),
        ('dsn = "postgresql://127.0.0.1:1/none"\n', "database", "the database is away"),
        ('[[service]]\nname = "chat"\nunit = "no-such"\n', "models", "there is no"),
    ],
)
def test_the_doctor_names_what_is_wrong(
    cli: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str, says: str
) -> None:
    monkeypatch.delenv("TIDEGATE_DSN") if text.startswith("dsn") else None
    file = tmp_path / "tidegate.toml"
    file.write_text(text)
    done = cli("doctor", "--config", file, "--format", "json")
    assert done.code == 1
    (wrong,) = [c for c in done.json["checks"] if c["name"] == name and c["health"] == "fail"]
    assert says in wrong["says"]
    assert wrong["remedy"]
