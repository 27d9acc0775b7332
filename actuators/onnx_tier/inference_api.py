"""The Open Inference Protocol, version 2, over REST: health, metadata and the model repository."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from actuators.onnx_tier.inference import Inference
from actuators.onnx_tier.jobs import RefusedError
from actuators.onnx_tier.replies import JsonReply, read_body


class InferenceApi:
    """Routes under ``/v2``; inference itself is `public_http`'s.

    Parameters
    ----------
    inference : Inference
        The protocol's verbs.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    def routes(self) -> list[BaseRoute]:
        """Return what to mount."""
        routes: list[BaseRoute] = []
        for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                Route(f"{prefix}/ready", self._ready),
                Route(prefix, self._metadata),
            ]
        return [
            *routes,
            Route("/v2", self._server),
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._live),
            Route("/v2/repository/index", self._index, methods=["POST"]),
            Route("/v2/repository/models/{model}/load", self._load, methods=["POST"]),
            Route("/v2/repository/models/{model}/unload", self._unload, methods=["POST"]),
        ]

    async def _server(self, _request: Request) -> Response:
        return JsonReply(self._inference.server())

    async def _live(self, _request: Request) -> Response:
        return Response(status_code=200 if self._inference.accepting else 503)

    async def _index(self, request: Request) -> Response:
        body = await read_body(request)
        return JsonReply(self._inference.index(bool(_object(body or b"{}").get("ready"))))

    async def _load(self, request: Request) -> Response:
        if _object(await read_body(request) or b"{}").get("parameters"):
            message = "a load takes no parameters here: `tidegate deploy` writes the model's folder"
            raise RefusedError(400, message, "invalid_request")
        await self._inference.load(request.path_params["model"])
        return JsonReply({})

    async def _unload(self, request: Request) -> Response:
        self._inference.unload(request.path_params["model"])
        return JsonReply({})

    async def _ready(self, request: Request) -> Response:
        return Response(status_code=200 if self._inference.ready(*_which(request)) else 503)

    async def _metadata(self, request: Request) -> Response:
        return JsonReply(self._inference.metadata(*_which(request)))


def _which(request: Request) -> tuple[str, str]:
    return request.path_params["model"], request.path_params.get("version", "")


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"the body is not JSON: {error}", "invalid_request") from error
    if not isinstance(data, dict):
        raise RefusedError(400, "the body is not a JSON object", "invalid_request")
    return data
