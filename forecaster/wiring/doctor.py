"""The self-check: what an installation stands on, each with what is wrong and what to do."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg

from forecaster.config import Settings, load_settings, load_unit_type
from forecaster.config.load import state_home
from forecaster.config.unit_types import model_path
from forecaster.domain.errors import SettingError, TidegateError
from forecaster.domain.profile import UnitType
from forecaster.store.migrate import shipped
from forecaster.wiring.checks import Check, Health
from forecaster.wiring.dynamo import examine_dynamo
from forecaster.wiring.kubernetes import examine_cluster
from forecaster.wiring.meters import examine_latencies
from forecaster.wiring.open_inference import examine_servers
from forecaster.wiring.pushes import examine_pushes
from forecaster.wiring.ray_serve import examine_ray
from forecaster.wiring.running import bind
from forecaster.wiring.stores import ensure_home, open_store
from forecaster.wiring.tails import examine_tails

OLDEST_POSTGRES = 150_000
SKEW_WARN_S, SKEW_FAIL_S = 2.0, 60.0
DISK_WARN_BYTES, DISK_FAIL_BYTES = 2 << 30, 200 << 20


def examine(file: Path | None) -> list[Check]:
    """Check everything; a broken configuration is all that is said where there is one."""
    try:
        settings = load_settings(file)
    except SettingError as error:
        return [Check("config", Health.FAIL, error.problem, error.remedy)]
    said = f"{len(settings.service)} services"
    health = Health.OK if settings.service else Health.WARN
    remedy = "" if settings.service else "add a [[service]] table to tidegate.toml"
    found = [Check("config", health, said, remedy)]
    for name, look in (
        ("home", _home), ("disk", _disk), ("models", _models), ("provider", _provider),
        ("database", _database), ("port", _port), ("secrets", _secrets),
        ("kubernetes", examine_cluster), ("open inference", examine_servers),
        ("ray serve", examine_ray), ("dynamo", examine_dynamo), ("push", examine_pushes), ("tail", examine_tails),
        ("latencies", examine_latencies),
    ):  # fmt: skip
        found += _safely(name, look, settings)
    return found


def _safely(
    name: str, look: Callable[[Settings], Iterator[Check]], settings: Settings
) -> list[Check]:
    found: list[Check] = []
    try:
        found += look(settings)
    except TidegateError as error:
        found.append(Check(name, Health.FAIL, error.problem, error.remedy))
    except OSError as error:
        found.append(Check(name, Health.FAIL, str(error), "see the message"))
    return found


def _home(settings: Settings) -> Iterator[Check]:
    home = ensure_home(settings)
    yield Check("home", Health.OK, f"{home} can be written to")
    private = home.stat().st_mode & 0o022
    if private:
        yield Check("permissions", Health.WARN, f"others may write to {home}", f"chmod go-w {home}")
    else:
        yield Check("permissions", Health.OK, "only its owner writes to the state folder")


def _disk(settings: Settings) -> Iterator[Check]:
    free = shutil.disk_usage(ensure_home(settings)).free
    says = f"{free / 1e9:.1f} GB free"
    if free < DISK_FAIL_BYTES:
        yield Check("disk", Health.FAIL, says, "free some space: nothing can be kept soon")
    elif free < DISK_WARN_BYTES:
        yield Check("disk", Health.WARN, says, "free some space, or lower store.raw_days")
    else:
        yield Check("disk", Health.OK, says)


def _models(settings: Settings) -> Iterator[Check]:
    for each in settings.service:
        for unit in load_unit_type(settings.models, each.unit).by_pool.values():
            yield _model(each.name, unit, model_path(settings.models, unit))


def _model(service: str, unit: UnitType, path: Path) -> Check:
    if not unit.model_file:
        return Check(
            "models", Health.WARN, f"{service}: unit {unit.name} exists on paper only",
            "name a unit type with a model file to serve it here",
        )  # fmt: skip
    if not path.is_file():
        return Check(
            "models", Health.WARN, f"{service}: {path} is missing",
            "the samples are made by `tidegate run`; others come from `tidegate deploy`",
        )  # fmt: skip
    return Check("models", Health.OK, f"{service}: {path.stat().st_size:,} bytes")


def _provider(settings: Settings) -> Iterator[Check]:
    import onnxruntime as ort  # heavy

    built = ort.get_available_providers()
    wanted = {load_unit_type(settings.models, each.unit).provider for each in settings.service}
    gpu = Path("/dev/nvidiactl").exists()
    says = f"onnxruntime {ort.__version__}, built for {', '.join(built)}"
    if "cuda" in wanted and not (gpu and "CUDAExecutionProvider" in built):
        yield Check(
            "provider", Health.FAIL, f"a unit type is strict about CUDA: {says}; GPU seen: {gpu}",
            "install the extra `cuda` on a GPU host, or set provider = 'auto'",
        )  # fmt: skip
    elif gpu and "CUDAExecutionProvider" not in built:
        yield Check(
            "provider", Health.WARN, f"a GPU is here and not used: {says}", "install tidegate[cuda]"
        )
    else:
        yield Check("provider", Health.OK, says)


def _database(settings: Settings) -> Iterator[Check]:
    with open_store(settings) as store, psycopg.connect(store.dsn, autocommit=True) as connection:
        version = connection.info.server_version
        health = Health.OK if version >= OLDEST_POSTGRES else Health.FAIL
        remedy = "" if health is Health.OK else "use PostgreSQL 15 or newer"
        where = "your own server" if settings.dsn else "embedded"
        said = f"PostgreSQL {version // 10000}.{version % 10000}, {where}"
        yield Check("database", health, said, remedy)
        yield Check(
            "schema", Health.OK, f"migration {shipped()[-1].number}, as this release has it"
        )
        before = time.time()
        row = connection.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
        after = time.time()
        assert row is not None
        skew_s = max(row[0] - after, before - row[0], 0.0)
        yield _clock(skew_s)


def _clock(skew_s: float) -> Check:
    says = f"this clock and the database's differ by {skew_s:.2f} s"
    if skew_s > SKEW_FAIL_S:
        return Check("clock", Health.FAIL, says, "let both keep time by NTP")
    if skew_s > SKEW_WARN_S:
        return Check("clock", Health.WARN, says, "let both keep time by NTP")
    return Check("clock", Health.OK, says)


def _port(settings: Settings) -> Iterator[Check]:
    for key, each in (("api", settings.api), ("tier", settings.tier)):
        name = f"port {key}"
        try:
            bind(f"{key}.port", each.host, each.port).close()
            yield Check(name, Health.OK, f"{each.host}:{each.port} is free")
        except SettingError as error:
            if key == "api" and _ours(settings):
                yield Check(name, Health.OK, f"{each.host}:{each.port} is answered by Tidegate")
            else:
                yield Check(name, Health.WARN, error.problem, error.remedy)


def _ours(settings: Settings) -> bool:
    try:
        url = f"http://{settings.api.host}:{settings.api.port}/healthz"
        return httpx.get(url, timeout=2.0).text == "ok\n"
    except httpx.HTTPError:
        return False


def _secrets(settings: Settings) -> Iterator[Check]:
    named = Path(os.environ.get("TIDEGATE_CONFIG", "tidegate.toml"))
    secret = bool(settings.api.token or settings.alerts.webhook or settings.prometheus.token)
    if secret and named.is_file() and named.stat().st_mode & 0o044:
        yield Check(
            "secrets", Health.WARN, f"{named} holds secrets and others may read it",
            f"chmod 600 {named}, or set them in the environment",
        )  # fmt: skip
    else:
        yield Check(
            "secrets", Health.OK, f"none is readable by others; state in {state_home(settings)}"
        )
