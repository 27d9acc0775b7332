"""The Open Inference Protocol, version 2, over gRPC."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from actuators.onnx_tier.grpc_messages import METHODS, SERVICE, message_class
from actuators.onnx_tier.inference import Inference
from actuators.onnx_tier.inference_tensors import (
    Named,
    bytes_of,
    check_inputs,
    check_outputs,
    datatype_of,
    listed_tensor,
    raw_tensor,
)
from actuators.onnx_tier.jobs import RefusedError
from actuators.onnx_tier.replies import BODY_BYTES_MAX
from actuators.onnx_tier.terms import read_terms
from forecaster.domain.errors import SettingError

_STATUSES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    502: grpc.StatusCode.ABORTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

_OPTIONS = [
    ("grpc.max_receive_message_length", BODY_BYTES_MAX),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
]

Call = Callable[[Any, Any], Awaitable[Any]]


class GrpcApi:
    """The gRPC server of a tier.

    Parameters
    ----------
    inference : Inference
        The protocol's verbs.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._server: Any = None
        self.address = ""

    async def start(self, host: str, port: int) -> None:
        """Listen; `address` tells where.

        Raises
        ------
        SettingError
            When the address is taken.
        """
        self._server = grpc.aio.server(options=_OPTIONS)
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._guard(getattr(self, _snake(name))),
                request_deserializer=message_class(f"{name}Request").FromString,
                response_serializer=message_class(f"{name}Response").SerializeToString,
            )
            for name in METHODS
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise SettingError(
                "tier.grpc_port",
                f"{host}:{port}",
                "it cannot be bound",
                "stop what uses it, choose another port, or 0 for a free one",
            ) from error
        self.address = f"{host}:{bound}"
        await self._server.start()

    async def stop(self) -> None:
        """Close the server; requests under way have been answered by now."""
        if self._server is not None:
            await self._server.stop(1.0)

    @staticmethod
    def _guard(call: Call) -> Call:
        async def answer(request: Any, context: Any) -> Any:
            try:
                return await call(request, context)
            except RefusedError as refusal:
                trailing: tuple[tuple[str, str], ...] = ()
                if refusal.retry_after_s:
                    trailing = (("retry-after", str(refusal.retry_after_s)),)
                code = _STATUSES.get(refusal.status, grpc.StatusCode.INTERNAL)
                await context.abort(code, refusal.message, trailing)

        return answer

    async def _server_live(self, _request: Any, _context: Any) -> Any:
        return message_class("ServerLiveResponse")(live=True)

    async def _server_ready(self, _request: Any, _context: Any) -> Any:
        return message_class("ServerReadyResponse")(ready=self._inference.accepting)

    async def _model_ready(self, request: Any, _context: Any) -> Any:
        ready = self._inference.ready(request.name, request.version)
        return message_class("ModelReadyResponse")(ready=ready)

    async def _server_metadata(self, _request: Any, _context: Any) -> Any:
        return message_class("ServerMetadataResponse")(**self._inference.server())

    async def _model_metadata(self, request: Any, _context: Any) -> Any:
        found = self._inference.metadata(request.name, request.version)
        return message_class("ModelMetadataResponse")(**found)

    async def _repository_index(self, request: Any, _context: Any) -> Any:
        return message_class("RepositoryIndexResponse")(models=self._inference.index(request.ready))

    async def _repository_model_load(self, request: Any, _context: Any) -> Any:
        await self._inference.load(request.model_name)
        return message_class("RepositoryModelLoadResponse")()

    async def _repository_model_unload(self, request: Any, _context: Any) -> Any:
        self._inference.unload(request.model_name)
        return message_class("RepositoryModelUnloadResponse")()

    async def _model_infer(self, request: Any, context: Any) -> Any:
        service = self._inference.classic(request.model_name, request.model_version)
        signature = self._inference.signature(service)
        tensors = read_tensors(request)
        check_inputs(tensors, signature)
        wanted = [each.name for each in request.outputs]
        check_outputs(wanted, signature)
        metadata = dict(context.invocation_metadata() or ())
        asked = {key: _parameter(value) for key, value in request.parameters.items()}
        terms = read_terms(metadata, asked.get("priority"), asked.get("timeout", 0))
        terms = terms.within(context.time_remaining())
        outputs = await self._inference.infer(service, tensors, wanted, terms)
        return _response(request, outputs)


def read_tensors(request: Any) -> Named:
    """Return the inputs of a ``ModelInferRequest``: raw bytes for all of them, or lists.

    Raises
    ------
    RefusedError
        400, naming the input and what is wrong with it.
    """
    raws = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        message = f"{len(request.inputs)} inputs, but {len(raws)} raw_input_contents"
        raise RefusedError(400, message, "invalid_request")
    tensors: Named = []
    for number, each in enumerate(request.inputs):
        shape = list(each.shape)
        if raws:
            value = raw_tensor(each.name, each.datatype, shape, raws[number])
        else:
            listed = getattr(each.contents, _CONTENTS.get(each.datatype, "bytes_contents"))
            value = listed_tensor(each.name, each.datatype, shape, list(listed))
        tensors.append((each.name, value))
    return tensors


def _response(request: Any, outputs: Named) -> Any:
    response = message_class("ModelInferResponse")(
        model_name=request.model_name, model_version=request.model_version or "1", id=request.id
    )
    for name, tensor in outputs:
        kind = datatype_of(tensor.dtype.name)
        response.outputs.add(name=name, datatype=kind, shape=tensor.shape)
        response.raw_output_contents.append(bytes_of(tensor))
    return response


def _snake(name: str) -> str:
    return re.sub("(?=[A-Z])", "_", name).lower()


def _parameter(value: Any) -> object:
    choice = value.WhichOneof("parameter_choice")
    return getattr(value, choice) if choice else None
