"""What an operator may set over HTTP: a pin, and its end."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from forecaster.api.backend import Backend

LONGEST_PIN_S = 30 * 86_400.0


class PinWish(BaseModel):
    """A number of units to hold for a while, whatever the plan says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: Annotated[int, Field(ge=0, le=4096, description="inside the service's limits")]
    seconds: Annotated[float, Field(ge=60, le=LONGEST_PIN_S, description="until it ends by itself")]
    why: Annotated[str, Field(max_length=200, description="said in every explanation")] = ""


def order_routes(app: FastAPI, backend: Backend) -> None:
    """Add the routes."""

    @app.put("/v1/services/{service}/pin", tags=["orders"], response_class=Response)
    async def pin(service: str, wish: PinWish) -> Response:
        """Hold a number of units from now on, until the pin ends or is taken away."""
        return _answer(
            await run_in_threadpool(backend.pin, service, wish.units, wish.seconds, wish.why)
        )

    @app.delete("/v1/services/{service}/pin", tags=["orders"], response_class=Response)
    async def unpin(service: str) -> Response:
        """Take the pin away: the plan decides again."""
        return _answer(await run_in_threadpool(backend.unpin, service))


def _answer(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
