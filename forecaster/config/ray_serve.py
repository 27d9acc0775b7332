"""Settings of units that are replicas of Ray Serve."""

from __future__ import annotations

from pydantic import Field

from forecaster.config.table import Table


class RayServeSettings(Table):
    """Replicas of Ray Serve deployments: `tidegate daemon` scales them."""

    url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="of the dashboard, as in http://ray-head:8265; set: units are replicas",
    )
    token: str = Field("", description="bearer token; better in TIDEGATE_RAY_SERVE__TOKEN")
    autoscaled: bool = Field(
        False,
        description="Ray's autoscaler brings nodes: what finds no place at once is not denied",
    )
    place_wait_s: float = Field(
        600.0, ge=10, le=7200,
        description="a replica that does not run after this has found no place; until it does, more are denied",
    )  # fmt: skip
