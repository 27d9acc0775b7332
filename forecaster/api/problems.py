"""Problems (RFC 9457): every refusal says what, why and what to do."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from forecaster.domain.errors import (
    BusyError,
    DataError,
    SettingError,
    StoreUnavailableError,
    TidegateError,
)

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "remedy"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "remedy": {"type": "string"},
    },
}
SAYS = {
    401: "No token, or an unknown one",
    403: "The token's role may not do this",
    404: "There is no such thing",
    409: "Not as things stand",
    422: "Something out of range",
    429: "Too often, or busy: see Retry-After",
    503: "The database is away, or nothing is ready yet",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": says, "content": {MEDIA_TYPE: {"schema": SCHEMA}}}
    for status, says in SAYS.items()
}
"""What every route may answer beside its own."""


def add_problems(app: FastAPI) -> None:
    """Answer every error as a problem."""
    app.add_exception_handler(TidegateError, _refused)
    app.add_exception_handler(RequestValidationError, _bad_query)
    app.add_exception_handler(HTTPException, _unknown)
    app.add_exception_handler(Exception, _defect)


def problem(status: int, title: str, detail: str, remedy: str, retry_s: float = 5.0) -> Response:
    """The answer itself."""
    body = {
        "type": "about:blank", "title": title, "status": status, "detail": detail,
        "remedy": remedy,
    }  # fmt: skip
    headers = {"Retry-After": f"{retry_s:.0f}"} if status in (429, 503) else None
    return Response(orjson.dumps(body), status, headers, media_type=MEDIA_TYPE)


async def _refused(_request: Request, error: Exception) -> Response:
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
    return problem(status, title, error.problem, error.remedy, retry_s)


async def _bad_query(_request: Request, error: Exception) -> Response:
    """A parameter that the route does not take, in the same words as every other refusal."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    key, allowed = str(first["loc"][-1]), str(first["msg"])
    refusal = SettingError(key, first.get("input"), allowed[:1].lower() + allowed[1:])
    return problem(422, "Setting", refusal.problem, "see /openapi.json")


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = f"{request.method} {request.url.path}: {str(error.detail).lower()}"
    answer = problem(error.status_code, "Route", detail, "see /openapi.json")
    answer.headers.update(error.headers or {})
    return answer


async def _defect(_request: Request, error: Exception) -> Response:
    log.error("a defect: %r", error)
    return problem(500, "Defect", "a defect of Tidegate's own", "see its log")
