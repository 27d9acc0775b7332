"""The application: routes under `/v1`, metrics, health, the dashboard at `/`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Protocol

import orjson
from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from forecaster import __version__
from forecaster.api.access import Access, Gatekeeper
from forecaster.api.backend import Backend
from forecaster.api.examples import add_examples
from forecaster.api.exchange import Exchange
from forecaster.api.frontiers import Frontiers, frontier_routes
from forecaster.api.metrics import Told, render
from forecaster.api.money import LAST_ID, LAST_S, alert_routes, money_routes
from forecaster.api.orders import order_routes
from forecaster.api.problems import RESPONSES, add_problems
from forecaster.api.pushes import Intake, push_routes
from forecaster.api.replays import Replays, replay_routes
from forecaster.api.shared import Shared
from forecaster.domain.errors import SettingError, TidegateError

EVENT_EVERY_S = 1.0
LONG_EVENT = 200_000
"""Characters a second that each listener is sent at most: about two hundred services."""
ASSETS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""Media types of what the dashboard loads."""
LONG_CACHE = {"Cache-Control": "public, max-age=86400"}


class Jobs(Replays, Frontiers, Protocol):
    """What is played beside the daemon."""


class Answer(Response):
    """JSON by orjson; NaN becomes null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def make_app(
    backend: Backend,
    access: Access | None = None,
    replays: Jobs | None = None,
    intake: Intake | None = None,
    told: Callable[[], Told] = Told,
) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    backend : Backend
        What is read.
    access : Access or None
        Who may ask; None: everybody (loopback).
    replays : Jobs or None
        Who plays replays and frontiers; None = no such routes.
    intake : Intake or None
        Who takes load that is pushed; None = no such routes.
    told : callable
        What `/metrics` says beyond the overview.
    """
    app = FastAPI(
        title="Tidegate",
        version=__version__,
        summary="Serve models on exactly as many GPUs as the tide of traffic needs.",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses=RESPONSES,
    )
    add_problems(app)
    app.add_middleware(Exchange)
    app.add_middleware(Gatekeeper, access=access or Access())  # the last one added asks first
    _read_routes(app, backend)
    money_routes(app, backend)
    alert_routes(app, backend)
    order_routes(app, backend)
    if replays is not None:
        replay_routes(app, replays)
        frontier_routes(app, replays)
    if intake is not None:
        push_routes(app, intake)
    _health_routes(app, backend, told)
    _dashboard(app)
    add_examples(app)
    return app


def _read_routes(app: FastAPI, backend: Backend) -> None:
    async def read(question: Callable[..., Any], *args: Any) -> Response:
        return Answer(await run_in_threadpool(question, *args))

    @app.get("/v1/services", tags=["services"], response_class=Answer)
    async def services() -> Response:
        """Every service in a line each."""
        return await read(backend.overview)

    @app.get("/v1/quotas", tags=["services"], response_class=Answer)
    async def quotas() -> Response:
        """GPUs that services share: who holds how many, who is refused some, what that costs."""
        return await read(backend.desk.quotas)

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

    @app.get("/v1/services/{service}/champions", tags=["services"], response_class=Answer)
    async def champions(service: str) -> Response:
        """Versions of the service's forecaster with their scores, newest first."""
        return await read(backend.champions, service)

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
    async def decisions(
        service: str,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before_id: Annotated[int | None, Query(ge=1, le=LAST_ID, description="next page")] = None,
    ) -> Response:
        """Decisions that changed something, newest first."""
        return await read(backend.decisions, service, limit, before_id)

    @app.get("/v1/services/{service}/tide", tags=["services"], response_class=Answer)
    async def tide(service: str) -> Response:
        """The picture: load and units, behind and ahead, on one time axis."""
        return await read(backend.tide, service)

    latest = Shared(lambda: orjson.dumps(backend.overview()).decode(), 0.9 * EVENT_EVERY_S)

    @app.get(
        "/v1/events",
        tags=["events"],
        response_class=EventSourceResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(request: Request) -> EventSourceResponse:
        """Server-sent events: the overview every second, more seldom where it is long."""

        async def stream() -> AsyncIterator[dict[str, str]]:
            while not await request.is_disconnected():
                data = ""
                try:
                    data = await latest.ask()
                    yield {"event": "overview", "data": data}
                except TidegateError as error:
                    yield {"event": "problem", "data": orjson.dumps(str(error)).decode()}
                await asyncio.sleep(EVENT_EVERY_S * max(1.0, len(data) / LONG_EVENT))

        return EventSourceResponse(stream())


def _health_routes(app: FastAPI, backend: Backend, told: Callable[[], Told]) -> None:
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
        body, kind = await run_in_threadpool(lambda: render(backend.overview(), told()))
        return Response(body, media_type=kind)


def _dashboard(app: FastAPI) -> None:
    static = Path(str(files("forecaster.api") / "static"))
    shipped = {path.name for path in static.iterdir() if path.suffix in ASSETS}

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse((static / "index.html").read_text("utf-8"))

    @app.get("/static/plotly.min.js", include_in_schema=False)
    async def plotly() -> FileResponse:
        path = Path(str(files("plotly") / "package_data" / "plotly.min.js"))
        return FileResponse(path, media_type="text/javascript", headers=LONG_CACHE)

    @app.get("/static/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in shipped:
            return PlainTextResponse("not found\n", 404)
        return FileResponse(static / name, media_type=ASSETS[Path(name).suffix])
