"""Units that are replicas of Ray Serve: settings become deployments, and checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from actuators.ray_serve.actuator import RayServeActuator
from actuators.ray_serve.api import RayServe, Target
from forecaster.config import Settings
from forecaster.domain.errors import TidegateError
from forecaster.domain.ports import Clock
from forecaster.wiring.checks import Check, Health
from forecaster.wiring.lanes import lanes, written


def replica_fleet(settings: Settings, home: Path, clock: Clock) -> RayServeActuator:
    """The replicas of every service."""
    asked = settings.ray_serve
    return RayServeActuator(
        RayServe(asked.url, asked.token),
        clock,
        targets(settings),
        home,
        autoscaled=asked.autoscaled,
        place_wait_s=asked.place_wait_s,
    )


def targets(settings: Settings) -> dict[str, Target]:
    """What each service scales."""
    return {
        name: Target.parse(place.deployment or f"{written(name)}/{written(name)}")
        for name, place in lanes(settings).items()
    }


def examine_ray(settings: Settings) -> Iterator[Check]:
    """What Ray Serve says of each deployment, for `tidegate doctor`."""
    if not settings.ray_serve.url:
        return
    with closing(RayServe(settings.ray_serve.url, settings.ray_serve.token)) as api:
        for service, target in targets(settings).items():
            try:
                seen, room = api.look(target), api.room(target)
            except TidegateError as error:
                yield Check("ray serve", Health.FAIL, error.problem, error.remedy)
                continue
            says = f"{service}: {target} wants {seen.wanted} replicas, {len(seen.live)} are there"
            more = "" if room is None else f", the nodes have room for {room} more"
            yield Check("ray serve", Health.OK, says + more)
