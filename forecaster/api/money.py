"""Money over HTTP: the ledger by day, the monthly statement, units' lives, the shadow report."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Query, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.concurrency import run_in_threadpool

from forecaster.api.backend import Backend
from forecaster.api.shared import Shared
from forecaster.api.statement_page import statement_page

LAST_S = 253_402_300_799
"""The end of the year 9999, epoch seconds."""
LAST_ID = (1 << 63) - 1
Moment = Annotated[float | None, Query(ge=0, le=LAST_S, description="epoch seconds")]
Month = Annotated[str, Query(max_length=7, description="YYYY-MM; empty: the present one")]


class Paper(StrEnum):
    """How a statement is written."""

    JSON = "json"
    CSV = "csv"
    HTML = "html"


def money_routes(app: FastAPI, backend: Backend) -> None:
    """Add the routes."""
    present = Shared(lambda: backend.desk.money(""), least_s=0.0)

    @app.get("/v1/money", tags=["money"], response_class=Response)
    async def money(month: Month = "") -> Response:
        """Every service's month in a line each: bill, SLO, and what rivals would have cost."""
        if not month:  # every open overview page asks for the present one
            return _answer(await present.ask())
        return _answer(await run_in_threadpool(backend.desk.money, month))

    @app.get("/v1/services/{service}/ledger", tags=["money"], response_class=Response)
    async def ledger(service: str, from_s: Moment = None, to_s: Moment = None) -> Response:
        """Accounts day by day in the service's time zone; the last 30 days where nothing is said."""
        return _answer(await run_in_threadpool(backend.desk.ledger, service, from_s, to_s))

    @app.get("/v1/services/{service}/statement", tags=["money"], response_class=Response)
    async def statement(
        service: str,
        month: Month = "",
        paper: Annotated[Paper, Query(alias="format")] = Paper.JSON,
    ) -> Response:
        """A service's month as JSON, CSV or one self-contained HTML file."""
        found, lines = await run_in_threadpool(backend.desk.statement, service, month)
        if paper is Paper.CSV:
            return PlainTextResponse(lines, media_type="text/csv")
        if paper is Paper.HTML:
            return HTMLResponse(statement_page(found))
        return _answer(found)

    @app.get("/v1/services/{service}/lives", tags=["money"], response_class=Response)
    async def lives(service: str, from_s: Moment = None, to_s: Moment = None) -> Response:
        """Each unit's life as stays in states: the fleet's timeline; the last day by default."""
        return _answer(await run_in_threadpool(backend.desk.lives, service, from_s, to_s))

    @app.get("/v1/services/{service}/report", tags=["money"], response_class=Response)
    async def report(service: str, from_s: Moment = None, to_s: Moment = None) -> Response:
        """What Tidegate would have saved and violated, against what the fleet did; a week by default."""
        return _answer(await run_in_threadpool(backend.desk.report, service, from_s, to_s))


def alert_routes(app: FastAPI, backend: Backend) -> None:
    """Add the routes."""

    @app.get("/v1/alerts", tags=["alerts"], response_class=Response)
    async def alerts(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before_id: Annotated[int | None, Query(ge=1, le=LAST_ID, description="next page")] = None,
        open_only: Annotated[bool, Query(alias="open", description="only what lasts")] = False,
    ) -> Response:
        """What somebody should know, newest first."""
        return _answer(await run_in_threadpool(backend.desk.alerts, limit, before_id, open_only))


def _answer(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
