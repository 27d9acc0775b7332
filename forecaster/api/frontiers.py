"""The frontier over HTTP: what a setting would cost on what was stored, played beside and kept."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

DAYS_MOST = 31.0
SETTINGS_MOST = 8
"""Values of each setting: at most 64 points."""

Elasticity = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Target = Annotated[float, Field(ge=0.5, lt=1, allow_inf_nan=False)]


class FrontierWish(BaseModel):
    """Which settings are to be played; the service's own are always among them."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"days": 1.0, "elasticities": [0, 0.5, 1], "targets": []}]},
    )

    days: float = Field(1.0, gt=0, le=DAYS_MOST, description="days that are scored, the last ones")
    lead_s: Annotated[float, Field(ge=0, le=86_400)] | None = Field(
        None, description="from order to readiness; default: the unit type's"
    )
    rate_scale: Annotated[float, Field(gt=0, le=100_000)] | None = Field(
        None, description="copies of the log; default: 1 / log_sample of the service"
    )
    elasticities: tuple[Elasticity, ...] = Field(
        (), max_length=SETTINGS_MOST, description="0 = peak, 1 = tide; default: five of them"
    )
    targets: tuple[Target, ...] = Field(
        (), max_length=SETTINGS_MOST, description="attainments to aim at; default: five of them"
    )


class Frontiers(Protocol):
    """Plays frontiers, one job at a time, and keeps the last of each service."""

    def start_frontier(self, service: str, wish: FrontierWish) -> dict[str, Any]:
        """Begin; raises as `Replays.start` does."""
        ...

    def frontier(self, service: str) -> dict[str, Any]:
        """What was played last, and the job under way.

        Raises
        ------
        DataError
            For an unknown service.
        """
        ...


def frontier_routes(app: FastAPI, frontiers: Frontiers) -> None:
    """Add the routes."""

    @app.get("/v1/services/{service}/frontier", tags=["replay"], response_class=Response)
    async def frontier(service: str) -> Response:
        """Elasticity and target against units, saving and attainment: what was played last."""
        return _answer(await run_in_threadpool(frontiers.frontier, service), 200)

    @app.post(
        "/v1/services/{service}/frontier", tags=["replay"], status_code=202, response_class=Response
    )
    async def start(service: str, wish: FrontierWish) -> Response:
        """Play every setting on the last stored days; answers at once, `/v1/replay/{id}` has the job."""
        return _answer(await run_in_threadpool(frontiers.start_frontier, service, wish), 202)


def _answer(content: dict[str, Any], status: int) -> Response:
    headers = {"Location": f"/v1/replay/{content['id']}"} if status == 202 else None
    return Response(orjson.dumps(content), status, headers, media_type="application/json")
