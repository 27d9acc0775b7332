"""A FAKE of the Kubernetes API: the few routes that the actuator and kubectl ask, in memory.

It keeps what matters of the real one: resource versions that rise, 409 for a write that names an old
one, 403 and 404 as Status objects, a ReplicaSet's order of deletion, StatefulSets that end their
highest ordinal, LeaderWorkerSets whose scale counts leaders, a scheduler with a number of GPUs, graceful
termination. Time is a number that the test moves. It is not a cluster: no kubelet, no probes, no
admission, no watches.
"""

from __future__ import annotations

import copy
import json
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.local_server import listening

COST = "controller.kubernetes.io/pod-deletion-cost"
GROUPS = {
    "deployments": ("apps/v1", "Deployment"),
    "statefulsets": ("apps/v1", "StatefulSet"),
    "leaderworkersets": ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"),
    "horizontalpodautoscalers": ("autoscaling/v2", "HorizontalPodAutoscaler"),
    "scaledobjects": ("keda.sh/v1alpha1", "ScaledObject"),
    "pods": ("v1", "Pod"),
    "configmaps": ("v1", "ConfigMap"),
}


@dataclass
class FakeCluster:
    """The state behind the API, and the handles by which a test brings disaster."""

    gpus: int = 8
    start_s: float = 5.0
    """From a node to a running container."""
    ready_s: float = 10.0
    """From a running container to ready."""
    grace_s: float = 5.0
    now_s: float = 1.7e9
    away: bool = False
    stale: bool = False
    conflicts: int = 0
    """So many writes meet somebody else's."""
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    """(verb, resource) pairs, as in ("patch", "pods")."""
    quota: int = 1000
    """Pods that may be made."""
    kinds: set[str] = field(default_factory=lambda: set(GROUPS))
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    version: int = 100
    writes: list[tuple[str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    """Authorization of each call."""

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.add("configmaps", "tidegate-fleet", {})

    def add(self, plural: str, name: str, extra: dict[str, Any], **meta: Any) -> dict[str, Any]:
        """Make an object, as `kubectl create` does."""
        api_version, kind = GROUPS[plural]
        item = {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {
                "name": name, "namespace": "ml", "uid": str(uuid.uuid4()),
                "creationTimestamp": stamp(self.now_s), **meta,
            },
            **extra,
        }  # fmt: skip
        self.objects[plural, name] = item
        self.touch(item)
        return item

    def workload(self, plural: str, name: str, replicas: int = 0) -> None:
        self.add(plural, name, {"spec": {"replicas": replicas}})
        self.settle()

    def touch(self, item: dict[str, Any]) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)

    def advance(self, seconds: float, step_s: float = 1.0) -> None:
        """Let time pass; controllers, scheduler and kubelet do what is due, step by step."""
        with self.lock:
            for _ in range(round(seconds / step_s)):
                self.now_s += step_s
                self.settle()

    def settle(self) -> None:
        with self.lock:
            for (plural, name), item in list(self.objects.items()):
                if plural in ("deployments", "statefulsets", "leaderworkersets"):
                    self._control(plural, name, item["spec"]["replicas"])
            for pod in self.pods():
                self._live(pod)
            for pod in self.pods():
                self._schedule(pod)

    def pods(self, owner: str = "") -> list[dict[str, Any]]:
        found = [item for (plural, _), item in self.objects.items() if plural == "pods"]
        return [p for p in found if not owner or p["metadata"]["labels"]["app"] == owner]

    def lose_readiness(self, name: str) -> None:
        self._condition(self.objects["pods", name], "Ready", "False")

    def fail(self, name: str, reason: str) -> None:
        """The pod is evicted: it stays, over and done, until somebody collects it."""
        self.objects["pods", name]["status"].update(phase="Failed", reason=reason)

    def _control(self, plural: str, owner: str, replicas: int) -> None:
        live = [p for p in self.pods(owner) if replica(p)]
        while len(live) < replicas and len(self.pods()) < self.quota:
            if plural == "deployments":
                name = f"{owner}-{uuid.uuid4().hex[:5]}"
            else:
                taken = {p["metadata"]["name"] for p in self.pods(owner)}
                free = [n for n in range(replicas) if f"{owner}-{n}" not in taken]
                if not free:
                    break  # the old pod of that name is still terminating
                name = f"{owner}-{free[0]}"
            pod = self.add(
                "pods", name, {"spec": {}, "status": {"phase": "Pending"}}, labels={"app": owner}
            )
            live.append(pod)
        order = deployment_order if plural == "deployments" else ordinal_order
        for pod in sorted(live, key=order)[: max(len(live) - replicas, 0)]:
            self._terminate(pod)

    def _terminate(self, pod: dict[str, Any]) -> None:
        if "nodeName" not in pod["spec"]:
            del self.objects["pods", pod["metadata"]["name"]]
            return
        pod["metadata"]["deletionTimestamp"] = stamp(self.now_s + self.grace_s)
        pod["metadata"]["deletionGracePeriodSeconds"] = int(self.grace_s)
        self.touch(pod)

    def _live(self, pod: dict[str, Any]) -> None:
        meta, status = pod["metadata"], pod["status"]
        if "deletionTimestamp" in meta and epoch_s(meta["deletionTimestamp"]) <= self.now_s:
            del self.objects["pods", meta["name"]]
        elif replica(pod) and "nodeName" in pod["spec"] and status["phase"] == "Pending":
            if self.now_s >= pod["spec"]["at"] + self.start_s:
                status["phase"] = "Running"
                status["containerStatuses"] = [
                    {"state": {"running": {"startedAt": stamp(self.now_s)}}}
                ]
                self._condition(pod, "Ready", "False")
                pod["spec"]["ran"] = self.now_s
        elif replica(pod) and self.now_s >= pod["spec"].get("ran", float("inf")) + pod["spec"].get(
            "takes_s", 0.0
        ):
            del pod["spec"]["ran"]  # once: what is lost later stays lost
            self._condition(pod, "Ready", "True")

    def _schedule(self, pod: dict[str, Any]) -> None:
        if "nodeName" in pod["spec"]:
            return
        taken = sum(
            "nodeName" in p["spec"] and p["status"]["phase"] != "Failed" for p in self.pods()
        )
        if taken < self.gpus:
            pod["spec"].update(nodeName=f"gpu-{taken}", at=self.now_s, takes_s=self.ready_s)
            self._condition(pod, "PodScheduled", "True")
        else:
            said = f"0/{self.gpus} nodes are available: {self.gpus} Insufficient nvidia.com/gpu."
            self._condition(pod, "PodScheduled", "False", "Unschedulable", said)

    def _condition(self, pod: dict[str, Any], kind: str, status: str, *why: str) -> None:
        held = pod["status"].setdefault("conditions", [])
        before = next((each for each in held if each["type"] == kind), None)
        if before is not None and before["status"] == status:
            return
        new = {"type": kind, "status": status, "lastTransitionTime": stamp(self.now_s)}
        new |= dict(zip(("reason", "message"), why, strict=False))
        held[:] = [each for each in held if each["type"] != kind] + [new]
        self.touch(pod)


def replica(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod["status"]["phase"] != "Failed"


def deployment_order(pod: dict[str, Any]) -> tuple[Any, ...]:
    """A ReplicaSet's: unassigned, pending, not ready, lower cost, younger."""
    cost = int(pod["metadata"].get("annotations", {}).get(COST, 0))
    return (
        "nodeName" in pod["spec"], pod["status"]["phase"] != "Pending", is_ready(pod), cost,
        -epoch_s(pod["metadata"]["creationTimestamp"]),
    )  # fmt: skip


def ordinal_order(pod: dict[str, Any]) -> int:
    return -int(pod["metadata"]["name"].rpartition("-")[2])


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def stamp(at_s: float) -> str:
    return datetime.fromtimestamp(int(at_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def epoch_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class _Refused(Exception):  # noqa: N818
    def __init__(self, code: int, reason: str, message: str) -> None:
        self.code, self.reason, self.message = code, reason, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cluster: FakeCluster

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        self.cluster.tokens.append(self.headers.get("Authorization", ""))
        try:
            with self.cluster.lock:
                if "json" not in self.headers.get("Content-Type", "json"):
                    raise _Refused(415, "UnsupportedMediaType", "only JSON is spoken here")
                if self.cluster.away:
                    raise _Refused(503, "ServiceUnavailable", "etcd has no leader")
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                asked = json.loads(body) if body else {}
                answer, code = (
                    self._answer(self.command, url.path.strip("/").split("/"), query, asked),
                    200,
                )
        except _Refused as refused:
            code = refused.code
            answer = {
                "kind": "Status", "apiVersion": "v1", "status": "Failure",
                "reason": refused.reason, "message": refused.message, "code": code,
            }  # fmt: skip
        raw = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _answer(self, method: str, parts: list[str], query: dict[str, str], body: Any) -> Any:
        if parts[-1] == "selfsubjectaccessreviews":
            return self._review(body)
        if "namespaces" not in parts:
            return discovery(parts, self.cluster.kinds)
        plural, *rest = parts[parts.index("namespaces") + 2 :]
        if plural not in self.cluster.kinds:
            raise _Refused(404, "NotFound", "the server could not find the requested resource")
        name, part = [*rest, "", ""][:2]
        verb = {"GET": "get" if name else "list", "PUT": "update", "PATCH": "patch"}[method]
        if (verb, "/".join(filter(None, (plural, part)))) in self.cluster.forbidden:
            raise _Refused(403, "Forbidden", f"{plural} is forbidden: no {verb}")
        if not name:
            return self._list(plural, query)
        if (plural, name) not in self.cluster.objects:
            raise _Refused(404, "NotFound", f'{plural} "{name}" not found')
        item = self.cluster.objects[plural, name]
        if method != "GET":
            self.cluster.writes.append((verb, f"{plural}/{name}"))
            self._write(item, method, part, body)
        return self._scale(item, name) if part == "scale" else item

    def _write(self, item: dict[str, Any], method: str, part: str, body: Any) -> None:
        if self.cluster.conflicts and method == "PUT":
            self.cluster.conflicts -= 1
            self.cluster.touch(item)
        given = body.get("metadata", {}).get("resourceVersion")
        if given is not None and given != item["metadata"]["resourceVersion"]:
            raise _Refused(409, "Conflict", "the object has been modified")
        if part == "scale":
            item["spec"]["replicas"] = int(body["spec"]["replicas"])
        elif method == "PUT":
            item["data"] = body.get("data", {})
        else:
            merge(item, body)
        self.cluster.touch(item)
        self.cluster.settle()

    def _list(self, plural: str, query: dict[str, str]) -> Any:
        found = [item for (kind, _), item in self.cluster.objects.items() if kind == plural]
        app = query.get("labelSelector", "").removeprefix("app=")
        if app:
            found = [each for each in found if each["metadata"].get("labels", {}).get("app") == app]
        version = self.cluster.version - 50 * self.cluster.stale
        api_version, kind = GROUPS[plural]
        items = found[:1] if self.cluster.stale else found
        return {
            "kind": f"{kind}List", "apiVersion": api_version,
            "metadata": {"resourceVersion": str(version)}, "items": copy.deepcopy(items),
        }  # fmt: skip

    def _scale(self, item: dict[str, Any], name: str) -> Any:
        meta = {
            key: item["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")
        }
        live = sum(map(replica, self.cluster.pods(name)))
        return {
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta,
            "spec": {"replicas": item["spec"]["replicas"]},
            "status": {"replicas": live, "selector": f"app={name}"},
        }  # fmt: skip

    def _review(self, body: Any) -> Any:
        asked = body["spec"]["resourceAttributes"]
        name = "/".join(filter(None, (asked["resource"], asked.get("subresource", ""))))
        allowed = (asked["verb"], name) not in self.cluster.forbidden
        return {**body, "status": {"allowed": allowed}}


def merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    """JSON merge patch."""
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def discovery(parts: list[str], kinds: set[str]) -> Any:
    """What kubectl asks before it asks anything."""
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    if parts == ["version"]:
        return {"major": "1", "minor": "35", "gitVersion": "v1.35.0-fake"}
    served = sorted({GROUPS[kind][0] for kind in kinds} - {"v1"})
    if parts == ["apis"]:
        groups = []
        for each in served:
            name, version = each.split("/")
            one = {"groupVersion": each, "version": version}
            groups.append({"name": name, "versions": [one], "preferredVersion": one})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    wanted = "/".join(parts[1:])
    found = []
    for plural in sorted(kinds):
        group, kind = GROUPS[plural]
        if group == wanted:
            verbs = ["get", "list", "update", "patch"]
            one = {
                "name": plural,
                "singularName": kind.lower(),
                "namespaced": True,
                "kind": kind,
                "verbs": verbs,
            }
            found.append(one)
            if group.startswith(("apps/", "leaderworkerset")):
                found.append(
                    one
                    | {
                        "name": f"{plural}/scale",
                        "group": "autoscaling",
                        "version": "v1",
                        "kind": "Scale",
                    }
                )
    if not found:
        raise _Refused(404, "NotFound", "the server could not find the requested resource")
    return {"kind": "APIResourceList", "groupVersion": wanted, "resources": found}


@contextmanager
def serving(cluster: FakeCluster, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve the fake on a free port of this machine; yields its address."""
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    with listening(handler, tls) as port:
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}"


def kubeconfig(url: str, folder: Path) -> Path:
    """A kubeconfig that leads to the fake."""
    file = folder / "kubeconfig"
    body = {
        "apiVersion": "v1", "kind": "Config", "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": url}}],
        "users": [{"name": "fake", "user": {"token": "not-a-secret"}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "ml"}}],
    }  # fmt: skip
    file.write_text(json.dumps(body))
    return file
