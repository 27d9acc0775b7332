"""What is scaled: a Deployment, a StatefulSet or a LeaderWorkerSet, and which of its pods goes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from actuators.k8s.pods import Pod
from forecaster.domain.errors import ActuatorError
from forecaster.domain.lifecycle import UnitState


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind that has the scale subresource.

    Attributes
    ----------
    by_ordinal : bool
        Scaling in always ends the pod with the highest ordinal; deletion costs are not heard.
    """

    group: str
    version: str
    plural: str
    by_ordinal: bool


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "Deployment": Kind("apps", "v1", "deployments", False),
        "StatefulSet": Kind("apps", "v1", "statefulsets", True),
        "LeaderWorkerSet": Kind("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", True),
    }
)


@dataclass(frozen=True, slots=True)
class Workload:
    """One object whose replicas are units."""

    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Workload:
        """Read ``Kind/name``.

        Raises
        ------
        ActuatorError
            For a kind that cannot be scaled by us.

        Examples
        --------
        >>> Workload.parse("StatefulSet/chat")
        Workload(kind='StatefulSet', name='chat')
        """
        kind, _, name = text.partition("/")
        if kind not in KINDS or not name or "/" in name:
            known = ", ".join(KINDS)
            raise ActuatorError(
                f"workload {text!r} is none", f"write Kind/name with one of {known}"
            )
        return cls(kind, name)

    @property
    def resource(self) -> Kind:
        """How the API calls its kind."""
        return KINDS[self.kind]

    def path(self, namespace: str) -> str:
        """Path of the object in the API."""
        kind = self.resource
        return f"/apis/{kind.group}/{kind.version}/namespaces/{namespace}/{kind.plural}/{self.name}"

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    def first_to_go(self, pods: Sequence[Pod], busy: Mapping[str, float]) -> list[Pod]:
        """Pods in the order in which they are given up.

        A Deployment gives up what serves nobody first (without a node, not ready), then the emptiest,
        then the youngest: Kubernetes' own order, with our deletion cost where it has a choice. The
        others end their highest ordinal, ready or not.

        Parameters
        ----------
        busy : mapping of str to float
            Requests in flight by pod name, where they are known.

        Examples
        --------
        >>> old = Pod("1", "chat-0", UnitState.READY, 0.0)
        >>> young = Pod("2", "chat-1", UnitState.READY, 9.0)
        >>> web = Workload("Deployment", "chat")
        >>> [pod.name for pod in web.first_to_go([old, young], {"chat-1": 3.0})]
        ['chat-0', 'chat-1']
        """
        if self.resource.by_ordinal:
            return sorted(pods, key=lambda pod: -ordinal(pod.name))
        return sorted(
            pods,
            key=lambda pod: (
                pod.state is not UnitState.COLD,
                pod.state is UnitState.READY,
                busy.get(pod.name, 0.0),
                -pod.made_s,
                pod.name,
            ),
        )


def ordinal(pod_name: str) -> int:
    """Number at the end of the name of a StatefulSet's or LeaderWorkerSet's pod; -1 without one.

    Examples
    --------
    >>> ordinal("chat-12"), ordinal("chat")
    (12, -1)
    """
    tail = pod_name.rpartition("-")[2]
    return int(tail) if tail.isdecimal() else -1
