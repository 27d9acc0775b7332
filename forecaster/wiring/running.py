"""A running installation: tier, daemon, API; started in order, stopped in reverse."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from actuators.onnx_tier.client import OnnxTierActuator
from actuators.onnx_tier.demo_models import build_demo_models
from actuators.onnx_tier.launch import TierHandle, start_tier
from actuators.onnx_tier.spec import ClockSpec, TierService, TierSpec
from forecaster import __version__
from forecaster.api import make_app
from forecaster.api.access import Access, Role
from forecaster.api.farewell import Farewell
from forecaster.api.metrics import Told
from forecaster.clock import ScaledClock, SystemClock
from forecaster.config import Settings, load_unit_type
from forecaster.config.settings import ServiceSettings
from forecaster.config.unit_types import model_path
from forecaster.daemon import schedule
from forecaster.daemon.alarms import Alarms
from forecaster.daemon.board import Board
from forecaster.daemon.bookkeeper import Bookkeeper
from forecaster.daemon.gauges import gauges
from forecaster.daemon.observer import Observer
from forecaster.daemon.pilot import Pilot
from forecaster.daemon.pooled import Pooled
from forecaster.daemon.service import Daemon
from forecaster.daemon.spool import Spool
from forecaster.domain.errors import SettingError
from forecaster.domain.ports import Actuator
from forecaster.domain.profile import UnitType
from forecaster.store import Store
from forecaster.store.leadership import Leadership
from forecaster.wiring.profiles import measured, measured_pair, measured_types
from forecaster.wiring.pushes import Intake
from forecaster.wiring.replay_jobs import ReplayJobs
from forecaster.wiring.rivals import ReplayRivals
from forecaster.wiring.signals import shielded
from forecaster.wiring.sizer import BackgroundSizer

log = logging.getLogger(__name__)
SETTLE_REAL_S = 1.5
"""A slot may still receive records this long after its end: answers take time to be logged."""
TOLD_SETTLE_REAL_S = 60.0
"""The same of requests that others write down when they have ended, or send by the batch."""
TIER_GRACE_S = 5.0
API_GRACE_S, API_LAST_S = 1.0, 3.0
"""What the API is asked is answered for so long after a stop; then with 503; then not at all."""
Say = Callable[[str], None]
AnyClock = SystemClock | ScaledClock


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation lives and by which clock.

    Attributes
    ----------
    home : Path
        State of this installation.
    cache : Path
        What may be shared between installations: measured profiles.
    """

    home: Path
    cache: Path
    clock: AnyClock


@dataclass(slots=True)
class Running:
    """A live installation."""

    url: str
    tier_url: str
    board: Board
    daemon: Daemon
    actuator: OnnxTierActuator
    units: Mapping[str, UnitType]


def unit_types(settings: Settings, cache: Path, say: Say) -> dict[str, UnitType]:
    """Unit type of every service, with the profile that this machine measures.

    Raises
    ------
    SettingError
        When no service is configured.
    ModelError
        For a missing or broken model file.
    """
    if not settings.service:
        raise SettingError(
            "service", [], "no service is configured", "add a [[service]] table to tidegate.toml"
        )
    build_demo_models(settings.models)
    found: dict[str, UnitType] = {}
    for each in settings.service:
        declared = load_unit_type(settings.models, each.unit)
        say(f"measuring one unit of {declared.name}")
        if declared.pair is not None:
            found[each.name] = measured_pair(declared, settings.models, cache)
        elif declared.mixed is not None:
            found[each.name] = measured_types(declared, settings.models, cache)
        else:
            found[each.name] = measured(declared, model_path(settings.models, declared), cache)
    return found


def _served(name: str, unit: UnitType, models: Path) -> TierService:
    """What the tier is told of a service: of pools and types the model of each."""
    if unit.mixed is not None:
        paths = tuple(model_path(models, each).resolve() for each in unit.mixed.types)
        return TierService(name, unit, paths[0], type_paths=paths)
    if unit.pair is None:
        return TierService(name, unit, model_path(models, unit).resolve())
    read, generate = (
        model_path(models, each).resolve() for each in (unit.pair.prefill, unit.pair.decode)
    )
    return TierService(name, unit, read, decode_path=generate)


@contextmanager
def serve_tier(
    settings: Settings, place: Place, units: Mapping[str, UnitType], *, exit_with_parent: bool
) -> Iterator[TierHandle]:
    """Run the embedded serving tier; at the end accepted requests are answered first."""
    clock = place.clock
    spec = TierSpec(
        home=place.home / "tier",
        services=tuple(_served(name, unit, settings.models) for name, unit in units.items()),
        host=settings.tier.host,
        port=settings.tier.port,
        grpc_port=settings.tier.grpc_port,
        model_control=settings.tier.model_control,
        max_units_total=settings.tier.max_units,
        otlp_endpoint=settings.tier.otlp_endpoint,
        otlp_every_s=settings.tier.otlp_every_s,
        clock=ClockSpec(clock.start_s, clock.origin_s, clock.speed)
        if isinstance(clock, ScaledClock)
        else None,
        exit_with_parent=exit_with_parent,
        grace_s=TIER_GRACE_S,
    )
    with ExitStack() as stack:
        with shielded():
            handle = start_tier(spec, place.home / "tier.log")
            stack.callback(handle.stop, TIER_GRACE_S)
        yield handle


def settle_s(settings: Settings, service: ServiceSettings) -> float:
    """How long a slot of a service may still receive records after its end, real seconds."""
    told = service.tail or settings.ingest.tail or service.metrics.asked_of == "spans"
    return TOLD_SETTLE_REAL_S if told else SETTLE_REAL_S


@contextmanager
def pilot_all(
    settings: Settings,
    place: Place,
    store: Store,
    actuator: Actuator,
    units: Mapping[str, UnitType],
    about: Mapping[str, Any],
    sizer: BackgroundSizer,
    on_dead: Callable[[str], None] = lambda why: None,
) -> Iterator[tuple[Daemon, Board]]:
    """Run the daemon over every configured service; `on_dead` is told when one of its jobs is."""
    clock, spool = place.clock, Spool(place.home)
    pools = {name: tuple(unit.by_pool) for name, unit in units.items() if unit.pooled}
    actuator = Pooled(actuator, pools) if pools else actuator
    pilots = [
        Pilot(
            each.service(),
            units[each.name],
            settings,
            store=store,
            actuator=actuator,
            clock=clock,
            spool=spool,
            tables=sizer,
            settle_s=settle_s(settings, each) * clock.speed,
        )
        for each in settings.service
    ]
    daemon = Daemon(
        settings,
        store=store,
        clock=clock,
        spool=spool,
        pilots=pilots,
        observer=Observer(store, actuator),
        bookkeeper=Bookkeeper(store, ReplayRivals(store)),
        alarms=Alarms(store, clock, settings.alerts, pilots),
        leadership=Leadership(store.dsn, f"{socket.gethostname()}:{os.getpid()}"),
        on_dead=on_dead,
    )
    board = Board(daemon, store, clock, clock.now_s(), {"version": __version__, **about})
    daemon.on_requests = board.on_requests
    try:
        daemon.start()
        yield daemon, board
    finally:
        daemon.stop()


@contextmanager
def serve_api(
    settings: Settings,
    board: Board,
    replays: ReplayJobs | None = None,
    intake: Intake | None = None,
) -> Iterator[str]:
    """Serve API and dashboard in a thread of this process; yield the address.

    Raises
    ------
    SettingError
        When the port is taken or the host is no address of this machine.
    """
    host = settings.api.host
    listener = bind("api.port", host, settings.api.port)

    def told() -> Told:
        return Told(gauges(board.daemon, board.clock.now_s()), board.daemon.leads)

    port = listener.getsockname()[1]
    app = Farewell(make_app(board, access_of(settings), replays, intake, told))
    config = uvicorn.Config(
        app,
        ssl_certfile=settings.api.tls_cert,
        ssl_keyfile=settings.api.tls_key,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=round(API_LAST_S),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="api", daemon=True)
    thread.start()
    try:
        scheme = "https" if settings.api.tls_cert else "http"
        yield f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(API_GRACE_S)
        app.end()
        thread.join(API_LAST_S)
        listener.close()


def access_of(settings: Settings) -> Access:
    """Who may ask the API."""
    api = settings.api
    tokens = (
        (api.push_token, Role.PUSHER),
        (api.viewer_token, Role.VIEWER),
        (api.operator_token, Role.OPERATOR),
        (api.token, Role.ADMIN),
    )
    return Access(tokens, api.requests_per_minute)


def refuse_early(settings: Settings) -> None:
    """Refuse what would be refused later, before anything is started.

    Raises
    ------
    SettingError
        For a port that is taken and for a schedule that is none.
    """
    schedule.cron(settings.retrain.cron, SystemClock())
    for key, each in (("api", settings.api), ("tier", settings.tier)):
        bind(f"{key}.port", each.host, each.port).close()


def bind(key: str, host: str, port: int) -> socket.socket:
    """A listening socket, or one clear refusal."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise SettingError(
            key, port, f"cannot listen on {host}: {error.strerror}", "set another port, or 0"
        ) from error
    return listener


@contextmanager
def start(
    settings: Settings,
    place: Place,
    store: Store,
    units: Mapping[str, UnitType],
    about: Mapping[str, Any],
    sizer: BackgroundSizer,
    on_dead: Callable[[str], None] = lambda why: None,
) -> Iterator[Running]:
    """Start tier, daemon and API; stop them in reverse."""
    with ExitStack() as stack:
        tier = stack.enter_context(serve_tier(settings, place, units, exit_with_parent=True))
        actuator = stack.enter_context(tier.actuator())
        facts = {"tier_url": tier.url, "speed": place.clock.speed, **about}
        daemon, board = stack.enter_context(
            pilot_all(settings, place, store, actuator, units, facts, sizer, on_dead)
        )
        replays = stack.enter_context(ReplayJobs(settings, place.home, store, units))
        url = stack.enter_context(serve_api(settings, board, replays, Intake(settings, store)))
        yield Running(url, tier.url, board, daemon, actuator, units)
