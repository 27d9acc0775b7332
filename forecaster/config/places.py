"""Where units run under others' engines: the workload, deployment or model of a service, a pool or a type."""

from __future__ import annotations

from pydantic import Field

from forecaster.config.open_inference import RepositorySettings
from forecaster.config.table import Table


class PlaceSettings(Table):
    """What runs the units: of a service, of one of its two pools, or of one of its types."""

    workload: str = Field(
        "",
        pattern=r"^((Deployment|StatefulSet|LeaderWorkerSet)/[a-z0-9][-.a-z0-9]*)?$",
        description="under [kubernetes], as StatefulSet/chat; empty: the Deployment of its name",
    )
    deployment: str = Field(
        "",
        pattern=r"^([\w.:-]+/[\w.:-]+)?$",
        description="under [ray_serve], as APPLICATION/DEPLOYMENT; empty: its name/its name",
    )
    repository: RepositorySettings = Field(
        default_factory=RepositorySettings,
        description="[service.repository]: its model under [open_inference]",
    )
