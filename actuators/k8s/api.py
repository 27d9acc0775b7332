"""The cluster's API through the official client: paths and JSON in, the domain's errors out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from actuators.k8s.pods import COST, OUR_COST, Pod, pod_of
from actuators.k8s.workload import KINDS, Workload
from forecaster.domain.errors import ActuatorError, ActuatorUnavailableError

CALL_S = 10.0
IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
BOOK = "tidegate-fleet"
"""Name of the ConfigMap that holds the book of units."""
_MERGE = "application/merge-patch+json"


class ConflictError(ActuatorUnavailableError):
    """The object changed between our look and our write: look again."""


class NotThereError(ActuatorError):
    """The API has no such object."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale subresource: how many replicas are wanted, and which pods they are."""

    replicas: int
    selector: str
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Right:
    """One permission that we need."""

    verb: str
    group: str
    resource: str
    name: str = ""

    def __str__(self) -> str:
        owner = f".{self.group}" if self.group else ""
        return f"{self.verb} {self.resource}{owner}" + (f" {self.name}" if self.name else "")


class KubeApi:
    """What we ask of a cluster, in one namespace.

    Parameters
    ----------
    client : kubernetes.client.ApiClient
        See `connect`.
    namespace : str
        Of workloads, pods and book.
    """

    def __init__(self, client: Any, namespace: str) -> None:
        self._client, self.namespace = client, namespace
        self._latest = 0

    def scale(self, workload: Workload) -> Scale:
        """Read the scale of a workload."""
        raw = self._ask("GET", f"{workload.path(self.namespace)}/scale", _scale_of(workload, "get"))
        spec, status = raw.get("spec", {}), raw.get("status", {})
        return Scale(int(spec.get("replicas", 0)), status.get("selector", ""), raw)

    def set_scale(self, workload: Workload, before: Scale, replicas: int) -> None:
        """Write the scale; `ConflictError` when it is not `before` any more."""
        body = {**before.raw, "spec": {**before.raw.get("spec", {}), "replicas": replicas}}
        path = f"{workload.path(self.namespace)}/scale"
        self._ask("PUT", path, _scale_of(workload, "update"), body)

    def pods(self, selector: str) -> list[Pod]:
        """Every pod that a scale counts.

        Raises
        ------
        ActuatorUnavailableError
            Also for an answer that is older than one that was seen before.
        """
        right = Right("list", "", "pods")
        found = self._ask("GET", self._core("pods"), right, query={"labelSelector": selector})
        self._refuse_stale(found.get("metadata", {}).get("resourceVersion", ""))
        return [pod_of(item) for item in found.get("items", ())]

    def mark(self, pod: Pod, first_to_go: bool) -> None:
        """Set our deletion cost on a pod, or take it off."""
        body = {"metadata": {"annotations": {COST: OUR_COST if first_to_go else None}}}
        self._ask("PATCH", self._core("pods", pod.name), Right("patch", "", "pods"), body)

    def rival(self, workload: Workload) -> str:
        """Who else scales the workload: a HorizontalPodAutoscaler or a ScaledObject; empty for none."""
        for group, version, plural, kind, default in (
            ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", ""),
            ("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject", "Deployment"),
        ):
            path = f"/apis/{group}/{version}/namespaces/{self.namespace}/{plural}"
            try:
                found = self._ask("GET", path, Right("list", group, plural))
            except NotThereError:
                continue  # a cluster without KEDA
            for item in found.get("items", ()):
                target = item["spec"]["scaleTargetRef"]
                if (target.get("kind", default), target["name"]) == (workload.kind, workload.name):
                    return f"{kind} {item['metadata']['name']!r}"
        return ""

    def read_book(self) -> Mapping[str, Any]:
        """The ConfigMap that holds the book."""
        try:
            return self._ask("GET", self._core("configmaps", BOOK), _book("get"))
        except NotThereError as error:
            raise ActuatorError(
                f"there is no ConfigMap {BOOK!r} in namespace {self.namespace!r}",
                f"`kubectl create configmap {BOOK} -n {self.namespace}`",
            ) from error

    def write_book(self, before: Mapping[str, Any], text: str) -> None:
        """Write the book; `ConflictError` when another daemon wrote it meanwhile."""
        body = {**before, "data": {"book": text}}
        self._ask("PUT", self._core("configmaps", BOOK), _book("update"), body)

    def may(self, right: Right) -> bool:
        """Whether the API lets us (SelfSubjectAccessReview)."""
        resource, _, part = right.resource.partition("/")
        asked = {
            "namespace": self.namespace, "verb": right.verb, "group": right.group,
            "resource": resource, "subresource": part, "name": right.name,
        }  # fmt: skip
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        right = Right("create", "authorization.k8s.io", "selfsubjectaccessreviews")
        return bool(self._ask("POST", path, right, body)["status"]["allowed"])

    def _core(self, *parts: str) -> str:
        return "/".join(("/api/v1/namespaces", self.namespace, *parts))

    def _ask(
        self,
        method: str,
        path: str,
        right: Right,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """One call, answered with JSON or with an error that says who acts next."""
        kind = _MERGE if method == "PATCH" else "application/json"
        asked = self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(*asked, _request_timeout=CALL_S)
            raw = answer.read()
        except Exception as error:  # the client lets every library below speak for itself
            raise ActuatorUnavailableError(
                f"the Kubernetes API does not answer: {type(error).__name__}", "hold and retry"
            ) from error
        if answer.status >= 300:
            raise _refusal(answer.status, _message(raw), right, self.namespace, path)
        try:
            found: dict[str, Any] = json.loads(raw)
        except ValueError as error:
            raise ActuatorUnavailableError(f"{path} was answered with no JSON", "retry") from error
        return found

    def _refuse_stale(self, version: str) -> None:
        """An API server behind the others must not make units reappear or vanish."""
        if not version.isdecimal():
            return
        if int(version) < self._latest:
            raise ActuatorUnavailableError(
                f"the Kubernetes API answers with the past (version {version} after {self._latest})",
                "hold and retry; after a restore of etcd restart the daemon",
            )
        self._latest = int(version)


def connect(kubeconfig: Path | None, context: str, namespace: str) -> KubeApi:
    """The API as the pod's service account where there is one, else as the kubeconfig says.

    Raises
    ------
    ActuatorError
        Without the client library, and for a configuration that leads nowhere.
    """
    try:
        from kubernetes import client
        from kubernetes import config as untyped
    except ImportError as error:
        raise ActuatorError(
            "the Kubernetes client is not installed", "pip install 'tidegate[kubernetes]'"
        ) from error
    settings, config = client.Configuration(), cast(Any, untyped)
    try:
        if kubeconfig is None and not context and IN_CLUSTER.exists():
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(
                config_file=None if kubeconfig is None else str(kubeconfig),
                context=context or None,
                client_configuration=settings,
            )
    except (config.ConfigException, OSError) as error:
        raise ActuatorError(
            f"no way into the cluster: {error}", "set kubernetes.kubeconfig, or run in the cluster"
        ) from error
    settings.retries = False  # the next tick is the retry
    return KubeApi(client.ApiClient(settings), namespace)


def rights(workloads: Sequence[Workload]) -> list[Right]:
    """Every permission that these workloads need."""
    kinds = sorted({each.kind for each in workloads})
    scales = [(KINDS[kind].group, f"{KINDS[kind].plural}/scale") for kind in kinds]
    found = [Right(verb, *scale) for scale in scales for verb in ("get", "update")]
    found.append(Right("list", "", "pods"))
    if "Deployment" in kinds:
        found.append(Right("patch", "", "pods"))
    found.append(Right("list", "autoscaling", "horizontalpodautoscalers"))
    found.append(Right("list", "keda.sh", "scaledobjects"))
    return [*found, _book("get"), _book("update")]


def _scale_of(workload: Workload, verb: str) -> Right:
    return Right(verb, workload.resource.group, f"{workload.resource.plural}/scale")


def _book(verb: str) -> Right:
    return Right(verb, "", "configmaps", BOOK)


def _message(raw: bytes) -> str:
    try:
        return str(json.loads(raw).get("message", ""))
    except (ValueError, AttributeError):
        return ""


def _refusal(status: int, said: str, right: Right, namespace: str, path: str) -> ActuatorError:
    """The error of a status that is no success."""
    if status == 403:
        return ActuatorError(
            f"the Kubernetes API forbids `{right}` in namespace {namespace!r}",
            "bind the Role in deploy/kubernetes/rbac.yaml",
        )
    if status == 401:
        return ActuatorError("the Kubernetes API does not know us", "renew the credentials")
    if status == 404:
        return NotThereError(f"{path} is not there", "check kubernetes.namespace and the workload")
    if status == 409:
        return ConflictError(f"{path} changed meanwhile", "hold and retry")
    if status == 429 or status >= 500:
        return ActuatorUnavailableError(
            f"the Kubernetes API answers {status}{f' ({said})' if said else ''}", "hold and retry"
        )
    return ActuatorError(f"the Kubernetes API refuses `{right}` with {status}: {said}", "see above")
