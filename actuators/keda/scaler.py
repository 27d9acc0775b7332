"""The external scaler itself: KEDA's gRPC service over a question that is answered or refused.

An error is never a zero: what is not known is answered with UNAVAILABLE, and KEDA leaves the
replicas as they are or takes the fallback that the ScaledObject names.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from actuators.keda.messages import SERVICE, message_class
from actuators.rpc_server import RpcServer, Tls, unary, written
from forecaster.domain.errors import DataError, TidegateError

log = logging.getLogger(__name__)
METADATA_KEY = "service"
"""Key of the trigger's metadata that names the service of ours."""
TARGET = 1.0
"""Units that a replica is: the metric is the number of replicas."""
PUSH_S = 1.0
"""A stream tells of a change within this time."""
THREADS = 64
"""Calls at a time; a stream holds one as long as it lasts."""

Wanted = Callable[[str], int]
"""Units of a service that should run now; raises `DataError` for an unknown service and another
`TidegateError` when unsure."""


class ExternalScaler:
    """KEDA's external scaler, pull and push.

    Parameters
    ----------
    wanted : callable
        See `Wanted`.
    push_s : float
        Seconds between two looks of a stream.
    """

    def __init__(self, wanted: Wanted, push_s: float = PUSH_S) -> None:
        self._wanted, self._push_s = wanted, push_s
        self._stopping = threading.Event()
        self._server: RpcServer | None = None

    def start(self, host: str, port: int, tls: Tls | None = None) -> int:
        """Serve; return the port.

        Raises
        ------
        SettingError
            When the port is taken or a file cannot be read.
        """
        server = RpcServer("keda", THREADS, (self._handler(),))
        bound = server.start(host, port, tls)
        self._server = server
        return bound

    def stop(self) -> None:
        """End streams and calls."""
        self._stopping.set()
        if self._server is not None:
            self._server.stop()

    def _handler(self) -> Any:
        ref = message_class("ScaledObjectRef").FromString
        asked = message_class("GetMetricsRequest").FromString

        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "IsActive": unary(self._is_active, ref),
                "GetMetricSpec": unary(self._metric_spec, ref),
                "GetMetrics": unary(self._metrics, asked),
                "StreamIsActive": grpc.unary_stream_rpc_method_handler(
                    self._stream, request_deserializer=ref, response_serializer=written
                ),
            },
        )

    def _is_active(self, ref: Any, context: Any) -> Any:
        return message_class("IsActiveResponse")(result=self._units(ref, context) > 0)

    def _metric_spec(self, ref: Any, context: Any) -> Any:
        spec = message_class("MetricSpec")(
            metricName=metric_name(_service(ref, context)),
            targetSize=math.ceil(TARGET),
            targetSizeFloat=TARGET,
        )
        return message_class("GetMetricSpecResponse")(metricSpecs=[spec])

    def _metrics(self, asked: Any, context: Any) -> Any:
        ref = asked.scaledObjectRef
        units = self._units(ref, context)
        name = asked.metricName or metric_name(_service(ref, context))
        value = message_class("MetricValue")(
            metricName=name, metricValue=units, metricValueFloat=float(units)
        )
        return message_class("GetMetricsResponse")(metricValues=[value])

    def _stream(self, ref: Any, context: Any) -> Iterator[Any]:
        """Say whether the service is active, now and whenever it changes; nothing while unsure."""
        said: bool | None = None
        service = _service(ref, context)
        while context.is_active() and not self._stopping.is_set():
            try:
                active: bool | None = self._wanted(service) > 0
            except DataError as error:
                context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            except TidegateError:
                active = said
            if active is not None and active is not said:
                said = active
                yield message_class("IsActiveResponse")(result=active)
            self._stopping.wait(self._push_s)

    def _units(self, ref: Any, context: Any) -> int:
        try:
            return self._wanted(_service(ref, context))
        except DataError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except TidegateError as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        raise AssertionError("abort raises")


def metric_name(service: str) -> str:
    """Name of the service's metric.

    Examples
    --------
    >>> metric_name("llm-chat")
    'tidegate-llm-chat-units'
    """
    return f"tidegate-{service}-units"


def _service(ref: Any, context: Any) -> str:
    service: str = ref.scalerMetadata.get(METADATA_KEY, "")
    if not service:
        context.abort(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"the trigger of {ref.namespace}/{ref.name} names no service: add `{METADATA_KEY}` to its metadata",
        )
    return service
