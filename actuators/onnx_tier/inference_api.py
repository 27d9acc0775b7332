"""The Open Inference Protocol, version 2, over REST: JSON and binary tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from actuators.onnx_tier.front_door import FrontDoor
from actuators.onnx_tier.inference_tensors import DATATYPES, read_inputs, write_outputs
from actuators.onnx_tier.jobs import Answer, RefusedError, Restarted
from actuators.onnx_tier.replies import JsonReply, read_body
from actuators.onnx_tier.session import TensorSpec
from actuators.onnx_tier.supervisor import Supervisor
from actuators.onnx_tier.wire import pack_tensors, unpack_tensors
from forecaster.domain.profile import ClassicProfile

HEADER_LENGTH = "inference-header-content-length"


class InferenceApi:
    """Routes under ``/v2``.

    Parameters
    ----------
    door : FrontDoor
        The tier.
    supervisor : Supervisor
        Tells which models have ready units.
    """

    def __init__(self, door: FrontDoor, supervisor: Supervisor) -> None:
        self._door = door
        self._supervisor = supervisor

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
        ]

    async def _server(self, _request: Request) -> Response:
        extensions = ["binary_tensor_data", "model_repository(index)"]
        return JsonReply({"name": "tidegate", "version": "2", "extensions": extensions})

    async def _live(self, _request: Request) -> Response:
        return Response(status_code=200 if self._door.accepting else 503)

    async def _index(self, _request: Request) -> Response:
        rows = []
        for name in self._door.services:
            ready = self._supervisor.observe(name).ready > 0
            state = "READY" if ready else "UNAVAILABLE"
            rows.append({"name": name, "version": "1", "state": state, "reason": ""})
        return JsonReply(rows)

    async def _ready(self, request: Request) -> Response:
        service = self._door.service(request.path_params["model"])
        ready = self._supervisor.observe(service.service).ready > 0
        return Response(status_code=200 if ready else 503)

    async def _metadata(self, request: Request) -> Response:
        name = self._door.service(request.path_params["model"]).service
        signature = self._door.signatures[name]
        return JsonReply(
            {
                "name": name,
                "versions": ["1"],
                "platform": "onnxruntime_onnx",
                "inputs": [_describe(each) for each in signature.inputs],
                "outputs": [_describe(each) for each in signature.outputs],
            }
        )

    async def _infer(self, request: Request) -> Response:
        service = self._door.service(request.path_params["model"])
        if not isinstance(service.unit_type.profile, ClassicProfile):
            raise RefusedError(
                400, f"{service.service} generates text: use /v1/completions", "model"
            )
        body = await read_body(request)
        length = request.headers.get(HEADER_LENGTH)
        data, tensors = read_inputs(body, length, self._door.signatures[service.service])
        entries, packed = pack_tensors(tensors)
        wanted = [each["name"] for each in data.get("outputs", [])]
        header = {"t": "infer", "inputs": entries, "outputs": wanted}
        visit = self._door.admit(self._door.make_job(service, header, packed), request.receive)
        status = 500
        try:
            event = await visit.job.events.get()
            while isinstance(event, Restarted):
                event = await visit.job.events.get()
            if isinstance(event, RefusedError):
                raise event
            assert isinstance(event, Answer)
            reply = _reply(service.service, data, event)
            status = 200
            return reply
        except RefusedError as refusal:
            status = refusal.status
            raise
        finally:
            visit.leave(status)


def _reply(model: str, data: dict[str, Any], answer: Answer) -> Response:
    head: dict[str, Any] = {"model_name": model, "model_version": "1"}
    if "id" in data:
        head["id"] = data["id"]
    outputs, binary = write_outputs(data, unpack_tensors(answer.outputs, answer.body))
    text = orjson.dumps(head | {"outputs": outputs})
    if not binary:
        return Response(text, media_type="application/json")
    headers = {HEADER_LENGTH: str(len(text))}
    return Response(text + binary, media_type="application/octet-stream", headers=headers)


def _describe(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "datatype": DATATYPES.get(np.dtype(spec.dtype).name, spec.dtype),
        "shape": list(spec.shape),
    }
