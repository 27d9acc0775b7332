"""Replays over HTTP: a job that is started, looked at and given up.

Only what lies in the store is played: a path on the server is nobody's business.
"""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SloWish(BaseModel):
    """Bounds that differ from the service's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ttft_p99_s: Seconds | None = None
    tpot_p99_s: Seconds | None = None
    latency_p99_s: Seconds | None = None
    attainment: Annotated[float, Field(ge=0.5, lt=1)] | None = None


class ReplayWish(BaseModel):
    """What is to be replayed; what is left out is the service's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: str = Field(min_length=1, description="a service in the store")
    unit: str = Field("", description="unit type: a folder under `models`")
    slo: SloWish = SloWish()
    lead_s: Annotated[float, Field(ge=0, le=86_400)] | None = Field(
        None, description="from order to readiness; default: the unit type's"
    )
    elasticity: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="of Tidegate's plans; default: the service's"
    )
    days: float = Field(3.0, gt=0, le=400, description="days that are scored, the last ones")
    policies: tuple[str, ...] = Field((), description="default: all of them")
    untuned: bool = Field(True, description="Tidegate without hindsight as well")
    rate_scale: Annotated[float, Field(gt=0, le=100_000)] | None = Field(
        None, description="copies of the log; default: 1 / log_sample of the service"
    )
    seed: int = Field(0, ge=0, lt=2**31)


class Replays(Protocol):
    """Plays one replay at a time, beside everything else."""

    def start(self, wish: ReplayWish) -> dict[str, Any]:
        """Begin.

        Raises
        ------
        BusyError
            When one is under way.
        SettingError, DataError, ModelError
            For what cannot be played.
        """
        ...

    def job(self, job_id: str) -> dict[str, Any]:
        """How far it is, and what came out.

        Raises
        ------
        DataError
            For an unknown one.
        """
        ...

    def give_up(self, job_id: str) -> dict[str, Any]:
        """End it early; one that is over stays as it is."""
        ...


def replay_routes(app: FastAPI, replays: Replays) -> None:
    """Add the routes."""

    @app.post("/v1/replay", tags=["replay"], status_code=202, response_class=Response)
    async def start(wish: ReplayWish) -> Response:
        """Replay a service's stored requests under every policy; answers at once."""
        job = await run_in_threadpool(replays.start, wish)
        return _answer(job, 202, {"Location": f"/v1/replay/{job['id']}"})

    @app.get("/v1/replay/{job_id}", tags=["replay"], response_class=Response)
    async def state(job_id: str) -> Response:
        """Progress, and the result when it is there."""
        return _answer(await run_in_threadpool(replays.job, job_id))

    @app.delete("/v1/replay/{job_id}", tags=["replay"], response_class=Response)
    async def give_up(job_id: str) -> Response:
        """End a replay early."""
        return _answer(await run_in_threadpool(replays.give_up, job_id))


def _answer(
    job: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(orjson.dumps(job), status, headers, media_type="application/json")
