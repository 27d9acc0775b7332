"""Every setting out of range is refused with key, value, range and remedy, before anything starts."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from forecaster.config import load_settings, load_unit_type
from forecaster.config.example import example_toml, rows
from forecaster.config.load import state_home
from forecaster.domain.errors import ModelError, SettingError
from forecaster.domain.profile import ClassicProfile, GenerativeProfile

MODELS = Path(__file__).resolve().parents[2] / "models"
SERVICE = {"name": "chat", "unit": "tiny-llama"}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for key in ("TIDEGATE_HOME", "TIDEGATE_DSN", "TIDEGATE_CONFIG", "TIDEGATE_API__PORT"):
        monkeypatch.delenv(key, raising=False)


def refused(values: dict[str, Any]) -> str:
    with pytest.raises(SettingError) as caught:
        load_settings(None, values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [
        ({"elasticity": 1.5}, "elasticity", "1.5"),
        ({"elasticity": -0.1}, "elasticity", "-0.1"),
        ({"slo": {"ttft_p99_s": 0}}, "slo.ttft_p99_s", "0"),
        ({"slo": {"attainment": 1.0}}, "slo.attainment", "1.0"),
        ({"slo": {"latency_p99_s": float("nan")}}, "slo.latency_p99_s", "nan"),
        ({"max_units": 0}, "max_units", "0"),
        ({"mode": "yolo"}, "mode", "'yolo'"),
        ({"log_sample": 0}, "log_sample", "0"),
        ({"colour": "red"}, "colour", "'red'"),
    ],
)
def test_service_settings_out_of_range(service: dict[str, Any], key: str, value: str) -> None:
    line = refused({"service": [{**SERVICE, **service}]})
    assert f"service.0.{key} = {value} is refused" in line
    assert "tidegate config --example" in line


def test_floor_above_ceiling_is_refused() -> None:
    assert "min_units" in refused({"service": [{**SERVICE, "min_units": 9, "max_units": 3}]})


def test_binding_beyond_loopback_needs_a_token() -> None:
    assert "loopback" in refused({"api": {"host": "0.0.0.0"}})
    assert load_settings(None, {"api": {"host": "0.0.0.0", "token": "t"}}).api.token == "t"


def test_bad_timezone_is_refused_before_anything_starts() -> None:
    assert "timezone" in refused({"service": [{**SERVICE, "timezone": "Mars/Olympus"}]})


def test_events_are_read_by_the_clock_of_the_service() -> None:
    sale = {"name": "sale", "start": "2026-07-01T09:00:00", "end": "2026-07-01T21:00:00"}
    service = {**SERVICE, "timezone": "Europe/Berlin", "event": [sale]}
    (event,) = load_settings(None, {"service": [service]}).service[0].service().calendar.events
    assert (event.start_s, event.end_s - event.start_s) == (1_782_889_200.0, 12 * 3600)  # 07:00 UTC
    line = refused({"service": [{**service, "event": [{**sale, "end": "2026-07-01T08:00:00"}]}]})
    assert "is not after start" in line
    assert "factor = 0" in refused({"service": [{**service, "event": [{**sale, "factor": 0}]}]})


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "t.toml"
    file.write_text('dsn = "host=a"\n[api]\nport = 1234\n')
    monkeypatch.setenv("TIDEGATE_API__PORT", "4321")
    settings = load_settings(file)
    assert (settings.api.port, settings.dsn) == (4321, "host=a")


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no such file"):
        load_settings(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("api = [")
    with pytest.raises(SettingError, match="unreadable"):
        load_settings(broken)


def test_home_is_the_users_unless_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    assert state_home(load_settings()) == tmp_path.resolve()


def test_example_is_complete_and_loads() -> None:
    text = example_toml()
    values = tomllib.loads(text)
    settings = load_settings(None, values)
    assert settings.service[0].name == "chat"
    for key, _default, meaning in rows():
        assert meaning, f"{key} is undocumented"
        assert f"{key.rsplit('.', 1)[-1]} =" in text or key in ("service.event", "service.window")


def test_shipped_unit_types_load() -> None:
    kinds = {
        p.parent.name: load_unit_type(MODELS, p.parent.name) for p in MODELS.glob("*/unit.toml")
    }
    assert isinstance(kinds["tiny-llama"].profile, GenerativeProfile)
    assert isinstance(kinds["mlp-classifier"].profile, ClassicProfile)
    assert kinds["llama70b-h100x8"].profile.alpha_s == 0.0298


def test_unknown_unit_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match="tiny-llama"):
        load_unit_type(MODELS, "gpt-9")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('kind = "classic"\n[profile]\nbatch_latency_s = [[2, 0.1]]', "profile"),
        ('kind = "generative"\n[profile]\nalpha_s = 0', "alpha_s"),
        ('kind = "generative"\ncompute_share = 2\n[profile]\nalpha_s = 1', "compute_share"),
        ("kind = ", "unit.toml"),
    ],
)
def test_broken_unit_types_are_refused(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / "u").mkdir()
    (tmp_path / "u" / "unit.toml").write_text(text)
    with pytest.raises(SettingError, match=key):
        load_unit_type(tmp_path, "u")
