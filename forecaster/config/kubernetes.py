"""Settings of units that are pods."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from forecaster.config.table import Table


class KubernetesSettings(Table):
    """Units that are pods: `tidegate daemon` scales what runs in a cluster already."""

    namespace: str = Field(
        "", pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$",
        description="of the workloads; set: units are pods and no tier of ours is needed",
    )  # fmt: skip
    node_wait_s: float = Field(
        0.0, ge=0, le=7200,
        description="a pod without a node waits so long for a cluster autoscaler; 0: denied at once",
    )  # fmt: skip
    kubeconfig: Path | None = Field(
        None, description="outside the cluster; default: $KUBECONFIG or ~/.kube/config"
    )
    context: str = Field("", description="of the kubeconfig; empty: its current one")
