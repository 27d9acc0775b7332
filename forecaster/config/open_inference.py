"""Settings of units that are models on servers of the Open Inference Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from forecaster.config.table import Table

Server = Annotated[str, Field(pattern=r"^https?://[^/\s]+(/\S*)?$")]


class OpenInferenceSettings(Table):
    """Models on Triton, MLServer or KServe hosts: `tidegate daemon` loads and unloads them."""

    hosts: tuple[Server, ...] = Field(
        (), description="as in http://gpu-1:8000; set: units are models on them, in this order"
    )
    models_per_host: int = Field(
        1, ge=1, le=64, description="units that one server carries at once, of all services"
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535,
        description="of their /metrics (Triton 8002, MLServer 8082): a drain then sees what is in flight",
    )  # fmt: skip
    token: str = Field("", description="bearer token; better in TIDEGATE_OPEN_INFERENCE__TOKEN")
    look_s: float = Field(
        2.0, ge=0.2, le=60, description="seconds between two looks at the servers"
    )
    route_s: float = Field(
        5.0, ge=0, le=600,
        description="from the moment a unit leaves routes.json until all who route have read it",
    )  # fmt: skip
    drain_s: float = Field(
        60.0, ge=0, le=7200, description="a unit that does not fall quiet is unloaded after this"
    )
    lost_s: float = Field(
        300.0, ge=10, le=7200, description="a server that is away for so long has lost its units"
    )
    load_s: float = Field(1800.0, ge=1, le=7200, description="longest that a load may take")

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len({each.rstrip("/") for each in self.hosts}) < len(self.hosts):
            raise ValueError("a server is named twice")
        return self


class RepositorySettings(Table):
    """A service's model in the repositories of those servers."""

    model: str = Field(
        "", pattern=r"^[\w.-]*$", description="its name there; empty: the service's name"
    )
    warm_up: Path | None = Field(
        None, description="JSON body of the request that warms it up; default: zeros of its shapes"
    )
