"""The replicas of one workload: seen, changed in number, and watched until Kubernetes has moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from actuators.k8s.api import ConflictError, KubeApi, Scale
from actuators.k8s.pods import Pod
from actuators.k8s.workload import Workload
from forecaster.domain.errors import ActuatorError, ActuatorUnavailableError

SETTLE_S = 5.0
"""So long an order waits to see what Kubernetes makes of it."""
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Seen:
    """A workload at one moment: all its pods, and those that go when there are fewer, first ones first."""

    scale: Scale
    pods: Sequence[Pod]
    leaving: Sequence[Pod]

    @property
    def live(self) -> int:
        """Pods that count as replicas."""
        return len(self.leaving)

    @property
    def unmade(self) -> int:
        """Replicas that were ordered and have no pod yet."""
        return max(self.scale.replicas - self.live, 0)

    @property
    def surplus(self) -> Sequence[Pod]:
        """Pods that were given up and do not know it yet."""
        return self.leaving[: max(self.live - self.scale.replicas, 0)]


class Replicas:
    """What is asked of one workload.

    Parameters
    ----------
    busy : callable
        Requests in flight by pod name; empty where nobody knows.
    pause : callable
        Waits real seconds between two looks.
    """

    def __init__(
        self,
        api: KubeApi,
        workload: Workload,
        busy: Callable[[], Mapping[str, float]],
        pause: Callable[[float], None],
    ) -> None:
        self.workload = workload
        self._api, self._busy, self._pause = api, busy, pause

    def look(self, choose: bool = False) -> Seen:
        """Scale and pods as they are now.

        Parameters
        ----------
        choose : bool
            Ask also who is busy: only where some pods are about to be given up.

        Raises
        ------
        ActuatorUnavailableError
            When the workload does not say which pods are its own.
        """
        scale = self._api.scale(self.workload)
        if not scale.selector:
            raise ActuatorUnavailableError(f"{self.workload} names no pods yet", "hold and retry")
        pods = self._api.pods(scale.selector)
        live = [pod for pod in pods if pod.live]
        busy = self._busy() if choose and len(live) > 1 else {}
        return Seen(scale, pods, self.workload.first_to_go(live, busy))

    def refuse_rival(self) -> None:
        """Stay away from what another autoscaler owns.

        Raises
        ------
        ActuatorError
            With its name.
        """
        rival = self._api.rival(self.workload)
        if rival:
            raise ActuatorError(
                f"{rival} scales {self.workload}: the two would fight",
                "delete it, or let KEDA ask Tidegate ([keda], docs/keda.md)",
            )

    def more(self, units: int, before: Seen) -> list[Pod]:
        """Want `units` more; the pods that came, once the scheduler has spoken of each or time is over."""
        self._rescale(units)
        known = {pod.uid for pod in before.pods}
        made: list[Pod] = []
        for _ in range(round(SETTLE_S / LOOK_S)):
            made = [pod for pod in self.look().pods if pod.uid not in known][:units]
            placed = sum(pod.scheduled_s is not None or bool(pod.unschedulable) for pod in made)
            if placed == units:
                break
            self._pause(LOOK_S)
        return made

    def fewer(self, units: int, leaving: Sequence[Pod]) -> None:
        """Want `units` fewer, let `leaving` go first, and wait until they do."""
        wanted = {pod.uid for pod in leaving}
        if not self.workload.resource.by_ordinal:
            for pod in self.look().leaving:
                if pod.marked is not (pod.uid in wanted):
                    self._api.mark(pod, pod.uid in wanted)
        self._rescale(-units)
        for _ in range(round(SETTLE_S / LOOK_S)):
            if not wanted & {pod.uid for pod in self.look().leaving}:
                break
            self._pause(LOOK_S)

    def _rescale(self, by: int) -> None:
        """Change the scale; where it changed meanwhile, read it again once."""
        try:
            self._write(by)
        except ConflictError:
            self._write(by)

    def _write(self, by: int) -> None:
        scale = self._api.scale(self.workload)
        self._api.set_scale(self.workload, scale, max(scale.replicas + by, 0))
