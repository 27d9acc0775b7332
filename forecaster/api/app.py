"""The application: routes under `/v1`, metrics, health, the dashboard at `/`."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import orjson
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from forecaster import __version__
from forecaster.api.backend import Backend
from forecaster.api.metrics import render
from forecaster.api.money import LAST_S, alert_routes, money_routes
from forecaster.api.orders import order_routes
from forecaster.api.replays import Replays, replay_routes
from forecaster.domain.errors import (
    BusyError,
    DataError,
    SettingError,
    StoreUnavailableError,
    TidegateError,
)

EVENT_EVERY_S = 1.0
TOKEN_COOKIE = "tidegate_token"
LONG_CACHE = {"Cache-Control": "public, max-age=86400"}


class Answer(Response):
    """JSON by orjson; NaN becomes null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def make_app(backend: Backend, token: str = "", replays: Replays | None = None) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    backend : Backend
        What is read.
    token : str
        Bearer token that every route but the health checks asks for; empty = none (loopback).
    replays : Replays or None
        Who plays replays; None = no such routes.
    """
    app = FastAPI(
        title="Tidegate",
        version=__version__,
        summary="Serve models on exactly as many GPUs as the tide of traffic needs.",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.add_exception_handler(TidegateError, _problem)
    app.add_exception_handler(RequestValidationError, _bad_query)
    if token:
        app.middleware("http")(_bearer(token))
    _read_routes(app, backend)
    money_routes(app, backend)
    alert_routes(app, backend)
    order_routes(app, backend)
    if replays is not None:
        replay_routes(app, replays)
    _health_routes(app, backend)
    _dashboard(app)
    return app


def _read_routes(app: FastAPI, backend: Backend) -> None:
    async def read(question: Callable[..., Any], *args: Any) -> Response:
        return Answer(await run_in_threadpool(question, *args))

    @app.get("/v1/services", tags=["services"], response_class=Answer)
    async def services() -> Response:
        """Every service in a line each."""
        return await read(backend.overview)

    @app.get("/v1/services/{service}", tags=["services"], response_class=Answer)
    async def service(service: str) -> Response:
        """One service: what it is, what it holds, what it kept of its SLO."""
        return await read(backend.service, service)

    @app.get("/v1/services/{service}/forecast", tags=["services"], response_class=Answer)
    async def forecast(
        service: str,
        horizon_s: Annotated[float, Query(ge=60, le=14 * 86400)] = 86400.0,
        quantile: Annotated[list[float] | None, Query(description="levels inside (0, 1)")] = None,
    ) -> Response:
        """Quantiles of the coming arrival rate and offered load."""
        levels = quantile or [0.5, 0.9, 0.99]
        for level in levels:
            if not 0 < level < 1:
                raise SettingError("quantile", level, "0 < quantile < 1", "for example 0.99")
        return await read(backend.forecast, service, horizon_s, levels)

    @app.get("/v1/services/{service}/accuracy", tags=["services"], response_class=Answer)
    async def accuracy(service: str) -> Response:
        """The last fortnight's forecasts beside what came: by lead, with drift."""
        return await read(backend.accuracy, service)

    @app.get("/v1/services/{service}/anomalies", tags=["services"], response_class=Answer)
    async def anomalies(service: str) -> Response:
        """Stretches of demand that the season does not learn, and why."""
        return await read(backend.anomalies, service)

    @app.get("/v1/services/{service}/plan", tags=["services"], response_class=Answer)
    async def plan(service: str) -> Response:
        """The tide table in force, in columns."""
        return await read(backend.plan, service)

    @app.get("/v1/services/{service}/units", tags=["services"], response_class=Answer)
    async def units(service: str) -> Response:
        """Units alive, and those that failed lately."""
        return await read(backend.units, service)

    @app.get("/v1/services/{service}/explain", tags=["services"], response_class=Answer)
    async def explain(
        service: str,
        at_s: Annotated[float | None, Query(ge=0, le=LAST_S, description="epoch seconds")] = None,
    ) -> Response:
        """The decision in force at a moment, with the numbers that decided."""
        return await read(backend.explain, service, at_s)

    @app.get("/v1/services/{service}/decisions", tags=["services"], response_class=Answer)
    async def decisions(service: str, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Response:
        """The last decisions that changed something, newest first."""
        return await read(backend.decisions, service, limit)

    @app.get("/v1/services/{service}/tide", tags=["services"], response_class=Answer)
    async def tide(service: str) -> Response:
        """The picture: load and units, behind and ahead, on one time axis."""
        return await read(backend.tide, service)

    @app.get("/v1/events", tags=["events"], response_class=EventSourceResponse)
    async def events(request: Request) -> EventSourceResponse:
        """Server-sent events: the overview every second."""

        async def stream() -> AsyncIterator[dict[str, str]]:
            while not await request.is_disconnected():
                try:
                    found = await run_in_threadpool(backend.overview)
                    yield {"event": "overview", "data": orjson.dumps(found).decode()}
                except TidegateError as error:
                    yield {"event": "problem", "data": orjson.dumps(str(error)).decode()}
                await asyncio.sleep(EVENT_EVERY_S)

        return EventSourceResponse(stream())


def _health_routes(app: FastAPI, backend: Backend) -> None:
    @app.get("/healthz", tags=["health"], response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process answers."""
        return "ok\n"

    @app.get("/readyz", tags=["health"], response_class=PlainTextResponse)
    async def readyz() -> Response:
        """Every service has a plan; 503 until then."""
        found = await run_in_threadpool(backend.overview)
        waiting = [s["name"] for s in found["services"] if s["hold_units"] is None]
        if waiting:
            return PlainTextResponse(f"no plan yet: {', '.join(waiting)}\n", 503)
        return PlainTextResponse("ready\n")

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus metrics."""
        body, kind = await run_in_threadpool(lambda: render(backend.overview()))
        return Response(body, media_type=kind)


def _dashboard(app: FastAPI) -> None:
    static = Path(str(files("forecaster.api") / "static"))

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse((static / "index.html").read_text("utf-8"))

    @app.get("/static/plotly.min.js", include_in_schema=False)
    async def plotly() -> FileResponse:
        path = Path(str(files("plotly") / "package_data" / "plotly.min.js"))
        return FileResponse(path, media_type="text/javascript", headers=LONG_CACHE)

    @app.get("/static/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        kinds = {
            "dashboard.js": "text/javascript",
            "dashboard.css": "text/css",
            "tide.svg": "image/svg+xml",
        }
        if name not in kinds:
            return PlainTextResponse("not found\n", 404)
        return FileResponse(static / name, media_type=kinds[name])


async def _problem(_request: Request, error: Exception) -> Response:
    """RFC 9457: every refusal says what, why and what to do."""
    assert isinstance(error, TidegateError)
    if isinstance(error, SettingError):
        status = 422
    elif isinstance(error, DataError):
        status = 404
    elif isinstance(error, StoreUnavailableError):
        status = 503
    elif isinstance(error, BusyError):
        status = 429
    else:
        status = 409
    retry_s = error.retry_s if isinstance(error, BusyError) else 5.0
    title = type(error).__name__.removesuffix("Error")
    return _answer(status, title, error.problem, error.remedy, retry_s)


async def _bad_query(_request: Request, error: Exception) -> Response:
    """A parameter that the route does not take, in the same words as every other refusal."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    key, allowed = str(first["loc"][-1]), str(first["msg"])
    refusal = SettingError(key, first["input"], allowed[:1].lower() + allowed[1:])
    return _answer(422, "Setting", refusal.problem, "see /openapi.json")


def _answer(status: int, title: str, detail: str, remedy: str, retry_s: float = 5.0) -> Response:
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "remedy": remedy,
    }
    headers = {"Retry-After": f"{retry_s:.0f}"} if status in (429, 503) else None
    return Response(orjson.dumps(body), status, headers, media_type="application/problem+json")


Next = Callable[[Request], Awaitable[Response]]


def _bearer(token: str) -> Callable[[Request, Next], Awaitable[Response]]:
    wanted = f"Bearer {token}".encode()

    async def check(request: Request, following: Next) -> Response:
        path = request.url.path
        # the empty page holds no secret; its reads carry the token that the user types, as a cookie
        open_path = path in ("/", "/healthz", "/readyz") or path.startswith("/static/")
        given = request.headers.get("authorization", "")
        given = given or f"Bearer {unquote(request.cookies.get(TOKEN_COOKIE, ''))}"
        if open_path or hmac.compare_digest(given.encode(), wanted):
            return await following(request)
        return PlainTextResponse(
            "a bearer token is needed\n", 401, headers={"WWW-Authenticate": "Bearer"}
        )

    return check
