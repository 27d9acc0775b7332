"""Who answers and what is loaded where; and the work that goes on on the servers meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from actuators.open_inference.following import Job, Outcome
from actuators.open_inference.host import Host, Loaded
from actuators.open_inference.metrics import Traffic
from forecaster.domain.errors import ActuatorUnavailableError, TidegateError

_UNLOADED_S, _AGAIN_S = 60.0, 0.1
"""Real seconds: how long an unload may go on behind its answer, and between two looks at it."""


@dataclass(frozen=True, slots=True)
class Model:
    """A service's model in the repositories of the servers.

    Attributes
    ----------
    name : str
        As the repository calls it.
    warm_up : object
        JSON body of the warm-up request; None: zeros.
    """

    name: str
    warm_up: Any = None


class Watch:
    """Looks at every server at once.

    Attributes
    ----------
    hosts : dict of str to Host
        By label: the address without its scheme.
    seen : dict of str to (dict of str to Loaded) or None
        What each had at the last look; None: it was away.
    """

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = {host.url.split("://", 1)[-1]: host for host in hosts}
        self.seen: dict[str, dict[str, Loaded] | None] = {}
        self._away_since: dict[str, float] = {}
        self._traffic: dict[str, Traffic | None] = {}
        self._pool = ThreadPoolExecutor(max(min(len(hosts), 16), 1), "oip-look")

    def close(self) -> None:
        """Stop looking."""
        self._pool.shutdown(cancel_futures=True)
        for host in self.hosts.values():
            host.close()

    def look(self, now_s: float) -> None:
        """See what every server has loaded.

        Raises
        ------
        ActuatorUnavailableError
            When none of them says.
        """
        asked = {label: self._pool.submit(_index, host) for label, host in self.hosts.items()}
        words = []
        for label, future in asked.items():
            answer = future.result()
            if isinstance(answer, TidegateError):
                words.append(str(answer))
                self.seen[label] = None
                self._away_since.setdefault(label, now_s)
            else:
                self.seen[label] = answer
                self._away_since.pop(label, None)
        if len(words) == len(self.hosts):
            first = words[0] if words else "there is none"
            raise ActuatorUnavailableError(f"no server can be asked: {first}", "retry")

    def away_s(self, label: str, now_s: float) -> float:
        """How long a server has been away."""
        return now_s - self._away_since.get(label, now_s)

    def loaded(self, label: str, model: str) -> Loaded | None:
        """A model on a server; None while that is away."""
        seen = self.seen[label]
        return None if seen is None else seen.get(model, Loaded())

    def quiet(self, unit_id: str, label: str, model: str) -> bool:
        """Whether nothing was asked of a draining unit since its last look."""
        now = self.hosts[label].traffic(model)
        before, self._traffic[unit_id] = self._traffic.get(unit_id), now
        return now is not None and now.quiet_since(before)

    def forget(self, unit_id: str) -> None:
        """A unit that does not drain."""
        self._traffic.pop(unit_id, None)


class Work:
    """Loads and unloads, each on a thread of its own."""

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(max(most, 1), "oip-work")
        self._jobs: dict[str, Future[Outcome]] = {}

    def close(self) -> None:
        """Begin nothing more; what the servers do goes on."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def start(self, unit_id: str, job: Job, host: Host, model: Model) -> None:
        """Begin a job of a unit."""
        self._jobs[unit_id] = self._pool.submit(_load if job is Job.LOAD else _unload, host, model)

    def state(self, unit_id: str) -> tuple[bool, Outcome | None]:
        """Whether a job of the unit goes on; how it ended, once."""
        job = self._jobs.get(unit_id)
        if job is None or not job.done():
            return job is not None, None
        return False, self._jobs.pop(unit_id).result()


def _index(host: Host) -> dict[str, Loaded] | TidegateError:
    try:
        return host.index()
    except TidegateError as error:
        return error


def _load(host: Host, model: Model) -> Outcome:
    try:
        host.load(model.name)
        return Outcome(note=host.warm_up(model.name, model.warm_up))
    except TidegateError as error:
        return Outcome(str(error))


def _unload(host: Host, model: Model) -> Outcome:
    """Unload, wait until it is out of memory, and say what that gave back."""
    before = host.traffic(model.name)
    try:
        host.unload(model.name)
        until_s = time.monotonic() + _UNLOADED_S
        while not host.index().get(model.name, Loaded()).idle and time.monotonic() < until_s:
            time.sleep(_AGAIN_S)
    except TidegateError as error:
        return Outcome(str(error))
    return Outcome(note=_given_back(before, host.traffic(model.name)))


def _given_back(before: Traffic | None, after: Traffic | None) -> str:
    if before is None or after is None or before.memory_bytes is None or after.memory_bytes is None:
        return ""
    mib = (each.memory_bytes / 2**20 for each in (before, after) if each.memory_bytes is not None)
    return "memory of its server {:.0f} -> {:.0f} MiB".format(*mib)
