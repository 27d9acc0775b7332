"""Units that are models on Open Inference servers: settings become hosts and models, and checks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from actuators.open_inference.actuator import OpenInferenceActuator
from actuators.open_inference.following import Patience
from actuators.open_inference.host import Host
from actuators.open_inference.watch import Model
from forecaster.config import Settings
from forecaster.config.places import PlaceSettings
from forecaster.domain.errors import ActuatorUnavailableError, SettingError, TidegateError
from forecaster.domain.ports import Clock
from forecaster.wiring.checks import Check, Health
from forecaster.wiring.lanes import lanes, written


def model_fleet(settings: Settings, home: Path, clock: Clock) -> OpenInferenceActuator:
    """The models of every service on the servers.

    Raises
    ------
    SettingError
        When a warm-up request cannot be read.
    """
    asked = settings.open_inference
    return OpenInferenceActuator(
        hosts_of(settings),
        clock,
        {name: _model(name, place) for name, place in lanes(settings).items()},
        home,
        models_per_host=asked.models_per_host,
        patience=Patience(asked.route_s, asked.drain_s, asked.lost_s),
    )


@contextmanager
def followed_fleet(settings: Settings, home: Path, clock: Clock) -> Iterator[OpenInferenceActuator]:
    """The same, looked at every few seconds, so that a load is routed to as soon as it is done."""
    over = threading.Event()

    def follow() -> None:
        while not over.wait(settings.open_inference.look_s):
            with suppress(ActuatorUnavailableError):  # the daemon's next tick says so
                fleet.look()

    with closing(model_fleet(settings, home, clock)) as fleet:
        follower = threading.Thread(target=follow, name="oip-follow", daemon=True)
        follower.start()
        try:
            yield fleet
        finally:
            over.set()
            follower.join()


def hosts_of(settings: Settings) -> list[Host]:
    """The servers, and where their metrics are."""
    asked = settings.open_inference
    return [
        Host(url, _metrics_url(url, asked.metrics_port), asked.token, asked.load_s)
        for url in asked.hosts
    ]


def examine_servers(settings: Settings) -> Iterator[Check]:
    """What each server says of each model, for `tidegate doctor`."""
    for host in hosts_of(settings):
        with closing(host):
            try:
                index = host.index()
            except TidegateError as error:
                yield Check("open inference", Health.FAIL, error.problem, error.remedy)
                continue
            for name, place in lanes(settings).items():
                model = _model(name, place)
                if model.name not in index:
                    yield Check(
                        "open inference", Health.FAIL,
                        f"{host.url} has no model {model.name!r} in its repository",
                        f"put it there, or name it in [service.repository] of {name}",
                    )  # fmt: skip
                    continue
                state = index[model.name].state.lower() or "not loaded"
                known = "" if host.traffic(model.name) else "; what is in flight is not known"
                health = Health.OK if not known else Health.WARN
                remedy = "" if not known else "set open_inference.metrics_port"
                yield Check("open inference", health, f"{host.url}: {model.name} is {state}{known}", remedy)  # fmt: skip


def _model(lane: str, place: PlaceSettings) -> Model:
    file = place.repository.warm_up
    name = place.repository.model or written(lane)
    if file is None:
        return Model(name)
    try:
        return Model(name, orjson.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise SettingError(
            "service.repository.warm_up", str(file), f"readable as JSON ({error})", "check the file"
        ) from error


def _metrics_url(url: str, port: int | None) -> str:
    """The same host on its metrics port; nothing without one."""
    parts = urlsplit(url)
    return "" if port is None else f"{parts.scheme}://{parts.hostname}:{port}/metrics"
