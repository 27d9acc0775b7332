"""Ray Serve's REST interface, as far as scaling wants it.

Source: Ray documentation, "Serve REST API" and "External scaling webhook" (alpha since 2.50).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import httpx

from forecaster.domain.errors import ActuatorError, ActuatorUnavailableError
from forecaster.domain.lifecycle import UnitState

_STATES = {
    "STARTING": UnitState.LOADING,
    "UPDATING": UnitState.LOADING,
    "RECOVERING": UnitState.LOADING,
    "RUNNING": UnitState.READY,
    "PENDING_MIGRATION": UnitState.READY,
    "STOPPING": UnitState.DRAINING,
}
"""What a replica's state is in a unit's life; others are over."""


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment by its names, as in ``chat/Llama``."""

    application: str
    deployment: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read APPLICATION/DEPLOYMENT."""
        application, deployment = text.split("/")
        return cls(application, deployment)

    def __str__(self) -> str:
        return f"{self.application}/{self.deployment}"


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica, started at `started_s` (epoch seconds on Ray's clock)."""

    replica_id: str
    state: UnitState
    started_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A deployment at one moment.

    Attributes
    ----------
    wanted : int
        Replicas that Ray Serve aims at.
    message : str
        What it says of trouble, as of replicas that find no place.
    """

    wanted: int
    replicas: tuple[Replica, ...]
    message: str

    @property
    def live(self) -> list[Replica]:
        """Replicas that stay, the eldest first."""
        stays = [each for each in self.replicas if each.state is not UnitState.DRAINING]
        return sorted(stays, key=lambda each: each.started_s)

    @property
    def unmade(self) -> int:
        """Replicas that are wanted and not begun."""
        return max(self.wanted - len(self.live), 0)


class RayServe:
    """A Ray cluster by its dashboard's address.

    Parameters
    ----------
    url : str
        As in ``http://ray-head:8265``.
    token : str
        Bearer token where the cluster wants one.
    """

    def __init__(self, url: str, token: str = "", timeout_s: float = 10.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout_s)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def look(self, target: Target) -> Seen:
        """A deployment as it stands.

        Raises
        ------
        ActuatorError
            When there is no such deployment, or its application scales itself.
        ActuatorUnavailableError
            When the cluster does not answer.
        """
        applications = self._ask("GET", "/api/serve/applications/")["applications"]
        application = applications.get(target.application)
        found = (application or {}).get("deployments", {}).get(target.deployment)
        if application is None or found is None:
            there = [f"{a}/{d}" for a, body in applications.items() for d in body["deployments"]]
            raise ActuatorError(
                f"Ray Serve has no deployment {target}", f"there are: {', '.join(there) or 'none'}"
            )
        if not application.get("external_scaler_enabled"):
            raise ActuatorError(
                f"application {target.application!r} of Ray Serve scales itself",
                "set external_scaler_enabled: true in its config, without autoscaling_config",
            )
        replicas = tuple(
            Replica(each["replica_id"], _STATES[each["state"]], float(each["start_time_s"]))
            for each in found["replicas"]
            if each["state"] in _STATES
        )
        return Seen(int(found["target_num_replicas"]), replicas, found.get("message", ""))

    def room(self, target: Target) -> int | None:
        """Replicas for which the nodes have resources beside all that Ray Serve wants; None: unbounded.

        Who else uses the cluster is not counted: Ray's own word comes later, as `Seen.message`.
        """
        free: dict[str, float] = {}
        for node in self._ask("GET", "/nodes?view=summary")["data"]["summary"]:
            if node["raylet"].get("state") == "ALIVE":
                for name, amount in node["raylet"]["resourcesTotal"].items():
                    free[name] = free.get(name, 0.0) + float(amount)
        needed: dict[str, float] = {}
        applications = self._ask("GET", "/api/serve/applications/")["applications"]
        for name, application in applications.items():
            for deployment, found in application["deployments"].items():
                each = found["required_resources"]
                for resource, amount in each.items():
                    taken = float(amount) * max(
                        found["target_num_replicas"], len(found["replicas"])
                    )
                    free[resource] = free.get(resource, 0.0) - taken
                if (name, deployment) == (target.application, target.deployment):
                    needed = {key: float(amount) for key, amount in each.items() if amount}
        if not needed:
            return None
        fits = min(free[name] / amount for name, amount in needed.items())
        return max(math.floor(fits + 1e-6), 0)

    def scale(self, target: Target, replicas: int) -> None:
        """Want so many replicas."""
        path = f"/api/v1/applications/{target.application}/deployments/{target.deployment}/scale"
        self._ask("POST", path, {"target_num_replicas": replicas})

    def _ask(self, verb: str, path: str, body: Any = None) -> Any:
        try:
            answer = self._client.request(verb, path, json=body)
        except httpx.HTTPError as error:
            raise ActuatorUnavailableError(
                f"Ray does not answer: {error or type(error).__name__}", "retry"
            ) from error
        if answer.status_code in (401, 403):
            raise ActuatorError(
                f"Ray refuses us ({answer.status_code})", "set TIDEGATE_RAY_SERVE__TOKEN"
            )
        if answer.status_code >= 500:
            raise ActuatorUnavailableError(
                f"Ray says {answer.status_code}: {_words(answer)}", "retry"
            )
        if not answer.is_success:
            raise ActuatorError(
                f"Ray says {answer.status_code}: {_words(answer)}", "see Ray's words"
            )
        return answer.json()


def _words(answer: httpx.Response) -> str:
    return answer.text[:300].strip()
