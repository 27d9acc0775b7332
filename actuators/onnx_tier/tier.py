"""The tier process: checks what it was told, binds its sockets, serves, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from actuators.onnx_tier.addresses import (
    announce,
    bind_control,
    bind_public,
    bracketed,
    socket_folder,
)
from actuators.onnx_tier.batches import Batches
from actuators.onnx_tier.control_api import ControlApi
from actuators.onnx_tier.devices import visible_devices
from actuators.onnx_tier.front_door import FrontDoor
from actuators.onnx_tier.handovers import cache_folder
from actuators.onnx_tier.http_guard import GuardedProtocol, guarded
from actuators.onnx_tier.inference import Inference
from actuators.onnx_tier.inference_api import InferenceApi
from actuators.onnx_tier.jobs import RefusedError
from actuators.onnx_tier.meters import Meters
from actuators.onnx_tier.openai_api import OpenAiApi
from actuators.onnx_tier.placement import StartPlan, cache_bytes, check_fits
from actuators.onnx_tier.public_http import public_protocol
from actuators.onnx_tier.replies import JsonReply, refusal_reply
from actuators.onnx_tier.session import ModelSignature, check_model, runs_on_cpu
from actuators.onnx_tier.spec import TierService, TierSpec
from actuators.onnx_tier.stages import prefetch, starts_in_stages, weight_files
from actuators.onnx_tier.supervisor import Supervisor
from actuators.onnx_tier.text import ModelText
from actuators.onnx_tier.tokenizer_files import text_of
from forecaster.domain.errors import ModelError, SettingError

if TYPE_CHECKING:
    from actuators.onnx_tier.grpc_api import GrpcApi
    from actuators.onnx_tier.otlp import OtlpPush

log = logging.getLogger("onnx_tier")

_KEEP_ALIVE_S = 75


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the tier."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def run_tier(spec: TierSpec) -> None:
    """Serve until a signal, a shutdown order or the end of the parent.

    Raises
    ------
    SettingError
        When the public address cannot be bound.
    ModelError
        When a service's model file is missing or broken.
    """
    signatures = {each.service: _check(each) for each in (*spec.services, *spec.lanes)}
    for each in spec.services:
        check_caches(each, signatures)
        check_types(each, signatures)
    texts = {
        each.service: text_of(each.model_path.parent, signatures[each.service])
        for each in spec.services
        if each.unit_type.generative
    }
    spec.home.mkdir(parents=True, exist_ok=True)
    public = bind_public(spec.host, spec.port)
    url = f"http://{bracketed(spec.host)}:{public.getsockname()[1]}"
    with socket_folder(spec.home) as folder:
        # First: a tier that runs here already keeps its caches.
        control = bind_control(folder / "control.sock")
        paired = any(each.decode_path is not None for each in spec.services)
        with cache_folder(spec.home) if paired else nullcontext(Path()) as caches:
            await _serve(spec, signatures, texts, (public, control, url), (folder, caches))


async def _serve(
    spec: TierSpec,
    signatures: dict[str, ModelSignature],
    texts: dict[str, ModelText],
    addresses: tuple[socket.socket, socket.socket, str],
    folders: tuple[Path, Path],
) -> None:
    tier, clock = uuid.uuid4().hex, spec.make_clock()
    (public, control, url), (folder, caches) = addresses, folders
    control_path = folder / "control.sock"
    plan = _start_plan(spec, signatures)
    supervisor = Supervisor(spec, tier, clock, folder / "units.sock", plan, caches)
    door = FrontDoor(tier, clock, spec.services, signatures, texts, supervisor.router)
    ending: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()

    def end(grace_s: float | None = None) -> None:
        if not ending.done():
            ending.set_result(grace_s)

    # The router tries them in turn: the busy ones come first.
    inference = Inference(door, supervisor, spec.model_control, spec.load_deadline_s)
    completions = OpenAiApi(door).routes()
    batches = Batches(spec.home / "batches", door, supervisor.router, clock, completions)
    public_routes = [*InferenceApi(inference).routes(), *completions, *batches.routes()]
    public_routes.append(Route("/healthz", _healthz(door)))
    meters = Meters(door, supervisor, batches.runner)
    public_routes.append(Route("/metrics", meters.answer))
    push = _otlp_push(spec, meters, tier)
    _watch_for_the_end(end, spec.exit_with_parent)
    control_routes = ControlApi(door, supervisor, batches.runner, url, end).routes()
    servers = [
        _server(public_routes, public_protocol(inference, spec.head_within_s)),
        _server(control_routes, guarded(spec.head_within_s)),
    ]
    await supervisor.start()
    batches.start()
    for each in spec.lanes:
        prefetch(each.model_path)
    grpc = await _start_grpc(spec, inference)
    if push is not None:
        push.start()
    serving = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, listener in zip(servers, (public, control), strict=True)
    ]
    announce(spec, tier, url, control_path, grpc.address if grpc else "")
    grace_s = await ending
    log.info("stopping: %d requests in flight", door.in_flight)
    await batches.stop()
    await supervisor.stop(spec.grace_s if grace_s is None else grace_s)
    if grpc is not None:
        await grpc.stop()
    if push is not None:
        await push.stop()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*serving)
    (spec.home / "tier.json").unlink(missing_ok=True)
    log.info("stopped")


def _start_plan(spec: TierSpec, signatures: dict[str, ModelSignature]) -> StartPlan:
    """Choose how units start; see that those on a device fit into their share of it."""
    on_cpu = [each for each in spec.lanes if runs_on_cpu(each.unit_type.provider)]
    in_stages = frozenset(each.service for each in on_cpu if starts_in_stages(each.model_path))
    if len(on_cpu) == len(spec.lanes):
        return StartPlan(in_stages)
    caches = {
        each.service: cache_bytes(signatures[each.service], each.unit_type) for each in spec.lanes
    }
    plan = StartPlan(in_stages, visible_devices(), caches)
    for each in spec.lanes:
        files = {each.model_path, *weight_files(each.model_path)}
        weight_bytes = sum(file.stat().st_size for file in files)
        check_fits(plan, each.service, each.unit_type, weight_bytes)
    return plan


def _otlp_push(spec: TierSpec, meters: Meters, tier: str) -> OtlpPush | None:
    if not spec.otlp_endpoint:
        return None
    # Half a second of imports, from an extra that need not be installed.
    from actuators.onnx_tier.otlp import OtlpPush

    return OtlpPush(meters, spec.otlp_endpoint, spec.otlp_every_s, tier)


async def _start_grpc(spec: TierSpec, inference: Inference) -> GrpcApi | None:
    if spec.grpc_port is None:
        return None
    # A tenth of a second of imports that a tier without gRPC does not pay for.
    from actuators.onnx_tier.grpc_api import GrpcApi

    api = GrpcApi(inference)
    await api.start(bracketed(spec.host), spec.grpc_port)
    return api


def check_caches(service: TierService, signatures: dict[str, ModelSignature]) -> None:
    """Refuse two pools whose units do not keep the same cache.

    Raises
    ------
    ModelError
        Naming the service.
    """
    if service.decode_path is None:
        return
    kept = [
        [
            each
            for each in signatures[lane.service].inputs
            if each.name.startswith("past_key_values.")
        ]
        for lane in service.lanes
    ]
    if any(each != kept[0] for each in kept):
        raise ModelError(
            f"service {service.service!r}: its prefill and decode units keep different caches",
            "export both files from one model",
        )


def check_types(service: TierService, signatures: dict[str, ModelSignature]) -> None:
    """Refuse types whose units would not give the same answers to the same requests.

    Raises
    ------
    ModelError
        Naming the service.
    """
    if not service.type_paths:
        return
    told = [signatures[lane.service] for lane in service.lanes]
    found = [(s.inputs, s.outputs, s.context_tokens, s.reads_bytes) for s in told]
    if any(each != found[0] for each in found):
        raise ModelError(
            f"service {service.service!r}: units of its types take or give different things",
            "let every type serve the same model",
        )


def _check(service: TierService) -> ModelSignature:
    try:
        return check_model(service.model_path)
    except ModelError as error:
        raise ModelError(f"service {service.service!r}: {error.problem}", error.remedy) from error


def _server(routes: list[BaseRoute], protocol: type[GuardedProtocol]) -> _Server:
    app = Starlette(routes=routes, exception_handlers=_HANDLERS)
    config = uvicorn.Config(
        app,
        http=protocol,
        loop="none",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=2,
    )
    return _Server(config)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return refusal_reply(request.url.path, error)


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    refusal = RefusedError(error.status_code, f"{where}: {error.detail}", "not_served")
    return refusal_reply(request.url.path, refusal)


_HANDLERS: dict[Any, Any] = {RefusedError: _refused, HTTPException: _not_served}


def _healthz(door: FrontDoor) -> Any:
    async def healthz(_request: Request) -> Response:
        status = "ok" if door.accepting else "stopping"
        return JsonReply({"status": status}, 200 if door.accepting else 503)

    return healthz


def _watch_for_the_end(end: Any, exit_with_parent: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    if not exit_with_parent:
        return

    def parent_wrote() -> None:
        # The launcher writes nothing: readable means that its end is closed.
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            end()

    try:
        loop.add_reader(sys.stdin.fileno(), parent_wrote)
    except OSError as error:
        raise SettingError(
            "exit_with_parent",
            True,
            "standard input must be a pipe whose other end the parent holds",
            "launch with start_tier, or set it to false",
        ) from error
