"""The Open Inference Protocol, version 2, over REST: JSON and binary tensors."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from actuators.onnx_tier.front_door import FrontDoor
from actuators.onnx_tier.inference import Inference
from actuators.onnx_tier.inference_tensors import Named, parameters_of, read_inputs, write_outputs
from actuators.onnx_tier.jobs import RefusedError
from actuators.onnx_tier.replies import JsonReply, read_body
from actuators.onnx_tier.terms import read_terms

HEADER_LENGTH = "inference-header-content-length"


class InferenceApi:
    """Routes under ``/v2``.

    Parameters
    ----------
    door : FrontDoor
        The tier.
    inference : Inference
        The protocol's verbs.
    """

    def __init__(self, door: FrontDoor, inference: Inference) -> None:
        self._door = door
        self._inference = inference

    def routes(self) -> list[BaseRoute]:
        """Return what to mount."""
        routes: list[BaseRoute] = []
        for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                Route(f"{prefix}/infer", self._infer, methods=["POST"]),
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

    async def _infer(self, request: Request) -> Response:
        service = self._inference.classic(*_which(request))
        body = await read_body(request)
        length = request.headers.get(HEADER_LENGTH)
        data, tensors = read_inputs(body, length, self._door.signatures[service.service])
        asked = parameters_of(data)
        terms = read_terms(request.headers, asked.get("priority"), asked.get("timeout", 0))
        wanted = [each["name"] for each in data["outputs"]]
        answer = await self._inference.infer(service, tensors, wanted, terms, request.receive)
        return _reply(service.service, data, answer)


def _reply(model: str, data: dict[str, Any], answer: Named) -> Response:
    name, _, version = model.partition("@")
    head: dict[str, Any] = {"model_name": name, "model_version": version or "1"}
    if "id" in data:
        head["id"] = data["id"]
    outputs, binary = write_outputs(data, answer)
    text = orjson.dumps(head | {"outputs": outputs})
    if not binary:
        return Response(text, media_type="application/json")
    headers = {HEADER_LENGTH: str(len(text))}
    return Response(text + binary, media_type="application/octet-stream", headers=headers)


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
