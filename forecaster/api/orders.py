"""What an operator may set over HTTP: pins, modes, the freeze, the answer to an order; all of it audited."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from forecaster.api.backend import Backend
from forecaster.api.money import LAST_ID
from forecaster.domain.service import Mode
from forecaster.domain.word import Word

LONGEST_PIN_S = 30 * 86_400.0


class PinWish(BaseModel):
    """A number of units to hold for a while, whatever the plan says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: Annotated[int, Field(ge=0, le=4096, description="inside the service's limits")]
    seconds: Annotated[float, Field(ge=60, le=LONGEST_PIN_S, description="until it ends by itself")]
    why: Annotated[str, Field(max_length=200, description="said in every explanation")] = ""


Why = Annotated[str, Field(max_length=200, description="kept in the audit log")]


class ModeWish(BaseModel):
    """A rung of the trust ladder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode
    why: Why = ""


class FreezeWish(BaseModel):
    """Whether every order is stopped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frozen: bool
    why: Why = ""


class AnswerWish(BaseModel):
    """Yes or no to the order that waits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    order_id: Annotated[str, Field(min_length=1, max_length=200, description="as the service says")]
    approved: bool = True
    why: Why = ""


class Kind(StrEnum):
    """What is listed as activity."""

    ALERT = "alert"
    CHANGE = "change"
    ORDER = "order"


def order_routes(app: FastAPI, backend: Backend) -> None:
    """Add the routes."""

    @app.put("/v1/services/{service}/pin", tags=["orders"], response_class=Response)
    async def pin(request: Request, service: str, wish: PinWish) -> Response:
        """Hold a number of units from now on, until the pin ends or is taken away."""
        return _answer(
            await run_in_threadpool(
                backend.pin, service, wish.units, wish.seconds, _word(request, wish.why)
            )
        )

    @app.delete("/v1/services/{service}/pin", tags=["orders"], response_class=Response)
    async def unpin(request: Request, service: str) -> Response:
        """Take the pin away: the plan decides again."""
        return _answer(await run_in_threadpool(backend.unpin, service, _word(request)))

    @app.put("/v1/services/{service}/mode", tags=["orders"], response_class=Response)
    async def mode(request: Request, service: str, wish: ModeWish) -> Response:
        """Observe, approve or act, from the next decision on; kept over restarts."""
        return _answer(
            await run_in_threadpool(
                backend.set_mode, service, wish.mode.value, _word(request, wish.why)
            )
        )

    @app.post("/v1/services/{service}/answer", tags=["orders"], response_class=Response)
    async def answer(request: Request, service: str, wish: AnswerWish) -> Response:
        """Approve or decline the order that waits; what is approved is carried out at once."""
        return _answer(
            await run_in_threadpool(
                backend.answer, service, wish.order_id, wish.approved, _word(request, wish.why)
            )
        )

    @app.put("/v1/freeze", tags=["orders"], response_class=Response)
    async def freeze(request: Request, wish: FreezeWish) -> Response:
        """Stop every order of every service, or let them go again; units that run go on serving."""
        return _answer(
            await run_in_threadpool(backend.freeze, wish.frozen, _word(request, wish.why))
        )

    @app.get("/v1/audit", tags=["orders"], response_class=Response)
    async def audit(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before_id: Annotated[int | None, Query(ge=1, le=LAST_ID, description="next page")] = None,
    ) -> Response:
        """What operators changed, newest first."""
        return _answer(await run_in_threadpool(backend.audit, limit, before_id))

    @app.get("/v1/activity", tags=["orders"], response_class=Response)
    async def activity(
        service: Annotated[str, Query(max_length=200, description="empty: all of them")] = "",
        kind: Annotated[list[Kind] | None, Query(description="what to list; default: all")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[str, Query(max_length=60, description="of the page before")] = "",
    ) -> Response:
        """Alerts, changes by hand and orders as one list, newest first."""
        kinds = sorted(set(kind or ()))
        return _answer(await run_in_threadpool(backend.activity, service, kinds, limit, before))


def _answer(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


def _word(request: Request, why: str = "") -> Word:
    """Why, and whose request it is, as the gatekeeper saw it."""
    return Word(why, request.state.who)
