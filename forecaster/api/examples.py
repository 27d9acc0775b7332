"""What the OpenAPI document says beyond the routes' own words: who may ask, and examples.

Examples are real exchanges, lists cut to their first entries. They lie in ``examples.json``, keyed by method and path. A test asks each again and holds its shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import orjson
from fastapi import FastAPI

from forecaster.api.access import OPEN

JSON = "application/json"
OTHER_PAPER = {"/v1/services/{service}/statement": ("text/csv", "text/html")}
"""What a route may answer beside JSON."""


def examples() -> Mapping[str, dict[str, Any]]:
    """``"GET /v1/services"`` → its `response`, and its `request` where it has a body."""
    found: dict[str, dict[str, Any]] = orjson.loads(
        (files("forecaster.api") / "examples.json").read_bytes()
    )
    return found


def add_examples(app: FastAPI) -> None:
    """Write the examples into the document, and that answers are JSON."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            for key, example in examples().items():
                method, path = key.split(" ")
                operation = document["paths"].get(path, {}).get(method.lower())
                if operation is not None:
                    _write(operation, example, OTHER_PAPER.get(path, ()))
            _secure(document)
        return plain()

    app.openapi = described  # type: ignore[method-assign]


def _secure(document: dict[str, Any]) -> None:
    """Every route takes a bearer token, where the API has one; health does not ask for it."""
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["token"] = {"type": "http", "scheme": "bearer"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["security"] = [] if OPEN.match(path) else [{"token": []}]


def _write(operation: dict[str, Any], example: dict[str, Any], other: tuple[str, ...]) -> None:
    (status,) = (each for each in operation["responses"] if each.startswith("2"))
    content = operation["responses"][status].setdefault("content", {})
    content[JSON] = {"schema": {"type": "object"}, "example": example["response"]}
    for kind in other:
        content[kind] = {"schema": {"type": "string"}}
    if "request" in example:
        operation["requestBody"]["content"][JSON]["example"] = example["request"]
