"""Sessions: what `run`, `run --demo`, `daemon` and `tier` prepare before they serve."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from actuators.k8s.actuator import KubernetesActuator
from actuators.keda.pulled import PulledActuator
from actuators.onnx_tier.client import OnnxTierActuator
from actuators.onnx_tier.launch import TierHandle, stop_tier
from actuators.open_inference.actuator import OpenInferenceActuator
from actuators.ray_serve.actuator import RayServeActuator
from forecaster.capacity.belief import Belief
from forecaster.clock import SystemClock
from forecaster.config import Settings, load_settings, load_unit_type
from forecaster.daemon.carrying import Carrying
from forecaster.daemon.feed import DemandFeed
from forecaster.daemon.service import Daemon
from forecaster.daemon.training import retrain_service
from forecaster.domain.errors import ActuatorUnavailableError, DataError, TidegateError
from forecaster.domain.profile import UnitType
from forecaster.replay.sample import Sample
from forecaster.store import Store
from forecaster.wiring import demo
from forecaster.wiring.asked import answering, pulled_fleet
from forecaster.wiring.kubernetes import pod_fleet
from forecaster.wiring.meters import busy_of, metered, refuse_twice, source_of
from forecaster.wiring.open_inference import followed_fleet
from forecaster.wiring.pushes import Intake
from forecaster.wiring.ray_serve import replica_fleet
from forecaster.wiring.replay_jobs import ReplayJobs
from forecaster.wiring.running import (
    TIER_GRACE_S,
    Place,
    Running,
    Say,
    pilot_all,
    refuse_early,
    serve_api,
    serve_tier,
    unit_types,
)
from forecaster.wiring.sizer import BackgroundSizer, sizing
from forecaster.wiring.stores import ensure_home, open_store, sole_use, stop_leftover
from forecaster.wiring.tails import fed

SIZING_LIMIT_S = 30.0
"""A demo waits so long for its first plan; then the units hold their floor until it is there."""


@dataclass(slots=True)
class Session:
    """Everything that must be there before the tier starts."""

    settings: Settings
    place: Place
    store: Store
    units: Mapping[str, UnitType]
    about: Mapping[str, Any]
    sizer: BackgroundSizer
    samples: tuple[Sample, ...] = ()
    traffic: demo.TrafficReport | None = None
    final: list[str] = field(default_factory=list)

    def begin(self, stack: ExitStack, running: Running) -> None:
        """Start the demo's traffic, if this is a demo."""
        if self.samples:
            assert not isinstance(self.place.clock, SystemClock)
            demo.write_settings(self.settings, self.place.home, running.url)
            self.traffic = stack.enter_context(
                demo.traffic(self.place.home, running.tier_url, self.place.clock, self.samples)
            )
        stack.callback(self._conclude, running)

    def _conclude(self, running: Running) -> None:
        """Stop the traffic, observe a last time, remember the figures."""
        if self.traffic is not None:
            seen = self.traffic.finish()
            lost = f", failed {seen['failed']}" if seen.get("failed") else ""
            self.final.append(
                f"requests: {seen['sent']} sent, {seen['answered']} answered{lost}"
                if seen
                else f"requests: the generator still waited for answers after {demo.TRAFFIC_GRACE_S:g} s"
            )
        running.daemon.tick()
        for name in self.units:
            self.final.append(_epitaph(running.board.service(name)))

    def banner(self, running: Running) -> str:
        """What is printed when everything is live."""
        lines = [f"\n[bold]Tidegate is live:[/] {running.url}", f"models: {running.tier_url}"]
        if self.samples:
            lines += [
                "",
                f"The tide is compressed: a day passes in {86400 / demo.SPEED / 60:.0f} minutes, and the log"
                f" keeps one request in {demo.SPEED:.0f}.",
                "Not compressed: every request is really sent and answered by a real ONNX Runtime unit,"
                " latencies and unit starts are real seconds.",
                f"Look inside while it runs: TIDEGATE_HOME={self.place.home} tidegate plan chat"
                f" --config {self.place.home / demo.SETTINGS_FILE}",
            ]
        lines.append("Ctrl-C answers what was accepted, drains and ends.\n")
        return "\n".join(lines)

    def epitaph(self) -> list[str]:
        """What is printed at the end."""
        return self.final


@contextmanager
def demo_session(settings: Settings, say: Say) -> Iterator[Session]:
    """A fresh database with two weeks of a sample that ends now, and trained champions."""
    now_s = time.time()
    base = ensure_home(settings)
    wanted = demo.demo_settings(settings, now_s)
    refuse_early(wanted)
    with sole_use(base), ExitStack() as stack:
        say("starting the database")
        stop_leftover(base / "demo")
        home = demo.fresh_home(base)
        store = stack.enter_context(open_store(wanted, home))
        units = demo.with_lead(unit_types(wanted, base / "profiles", say))
        samples = demo.make_samples(wanted, units)
        now_s = time.time()
        rows = demo.load_history(store, samples, home, now_s)
        say(f"ingested {rows:,} requests: two weeks that end now")
        sizer = stack.enter_context(sizing(base, store))
        ask_for_tables(sizer, store, wanted, units)
        train_missing(store, wanted, units, now_s, say, always=True)
        say("sizing the units")
        sizer.settle(SIZING_LIMIT_S)
        place = Place(home, base / "profiles", demo.compressed_clock(time.time()))
        about = {
            "demo": True,
            "compressed": f"a day passes in {86400 / demo.SPEED / 60:.0f} minutes",
        }
        say("starting the serving tier")
        yield Session(wanted, place, store, units, about, sizer, samples)


@contextmanager
def plain_session(settings: Settings, say: Say) -> Iterator[Session]:
    """The configured services at the speed of the clock."""
    refuse_early(settings)
    refuse_twice(settings)
    home = ensure_home(settings)
    say("opening the store")
    with open_store(settings) as store, sizing(home, store) as sizer:
        units = unit_types(settings, home / "profiles", say)
        ask_for_tables(sizer, store, settings, units)
        train_missing(store, settings, units, time.time(), say)
        place = Place(home, home / "profiles", SystemClock())
        say("starting the serving tier")
        yield Session(settings, place, store, units, {"demo": False}, sizer)


@contextmanager
def tier_alone(settings: Settings) -> Iterator[TierHandle]:
    """The serving tier by itself."""
    home = ensure_home(settings)
    units = unit_types(settings, home / "profiles", lambda text: None)
    place = Place(home, home / "profiles", SystemClock())
    with serve_tier(settings, place, units, exit_with_parent=False) as handle:
        yield handle


def stop_tier_alone(settings: Settings) -> int:
    """End the tier of this state folder, whoever started it; return its process number.

    Raises
    ------
    ActuatorUnavailableError
        When none runs.
    """
    return stop_tier(ensure_home(settings) / "tier", TIER_GRACE_S)


@dataclass(frozen=True, slots=True)
class Attached:
    """A daemon beside units that run already.

    Attributes
    ----------
    url : str
        Of API and dashboard.
    asked : dict of str to str
        Where KEDA or Dynamo's planner is answered, by name; empty where nobody asks.
    """

    url: str
    daemon: Daemon
    asked: dict[str, str]


@contextmanager
def attached(
    settings: Settings, on_dead: Callable[[str], None] = lambda why: None
) -> Iterator[Attached]:
    """Daemon and API for a tier that runs already, or for units that run elsewhere.

    Raises
    ------
    ActuatorUnavailableError
        When no tier of this state folder runs.
    ActuatorError
        When there is no way into the cluster.
    """
    home = ensure_home(settings)
    with ExitStack() as stack:
        tier = None
        ours = tier_is_ours(settings)
        if ours:
            refuse_twice(settings)
            tier = stack.enter_context(OnnxTierActuator(control_socket(home)))
        tier_url = tier.stats()["url"] if tier else ""
        store = stack.enter_context(open_store(settings))
        units = (
            unit_types(settings, home / "profiles", lambda text: None)
            if tier
            else {
                each.name: load_unit_type(settings.models, each.unit) for each in settings.service
            }
        )
        place = Place(home, home / "profiles", SystemClock())
        fleet = tier or _elsewhere(settings, home, units, place, stack)
        sizer = stack.enter_context(sizing(home, store))
        ask_for_tables(sizer, store, settings, units)
        train_missing(store, settings, units, time.time(), lambda text: None)
        facts = {"tier_url": tier_url, "speed": 1.0, "demo": False}
        daemon, board = stack.enter_context(
            pilot_all(settings, place, store, fleet, units, facts, sizer, on_dead)
        )
        asked = stack.enter_context(answering(settings, daemon, fleet))
        stack.enter_context(fed(settings, store, daemon))
        replays = stack.enter_context(ReplayJobs(settings, home, store, units))
        intake = Intake(settings, store)
        url = stack.enter_context(serve_api(settings, board, replays, intake))
        yield Attached(url, daemon, asked)


def tier_is_ours(settings: Settings) -> bool:
    """Whether our own tier runs the units; else KEDA, Dynamo, Kubernetes, Open Inference servers or Ray do."""
    others = (
        settings.kubernetes.namespace,
        settings.open_inference.hosts,
        settings.ray_serve.url,
    )
    asked = (settings.keda.port, settings.dynamo.port)
    return asked == (None, None) and not any(others)


def _elsewhere(
    settings: Settings,
    home: Path,
    units: Mapping[str, UnitType],
    place: Place,
    stack: ExitStack,
) -> PulledActuator | KubernetesActuator | OpenInferenceActuator | RayServeActuator:
    """Units that somebody else runs: models on servers, workers, or pods that KEDA scales, or we do."""
    if settings.ray_serve.url:
        return stack.enter_context(closing(replica_fleet(settings, home, place.clock)))
    if settings.open_inference.hosts:
        return stack.enter_context(followed_fleet(settings, home, place.clock))
    if not settings.kubernetes.namespace:
        return pulled_fleet(settings, home, units, place.clock)
    if not metered(settings, "query"):
        return pod_fleet(settings, place.clock)
    source = stack.enter_context(closing(source_of(settings.prometheus)))
    return pod_fleet(settings, place.clock, busy_of(settings, source))


def reloaded(daemon: Daemon, file: Path | None, say: Say) -> None:
    """Read the settings again; where they cannot be taken over, the ones in force stay."""
    try:
        fresh = load_settings(file)
        api, tier = daemon.settings.api, daemon.settings.tier
        ports = {"api": fresh.api.model_copy(update={"port": api.port})}
        ports["tier"] = fresh.tier.model_copy(update={"port": tier.port})  # type: ignore[assignment]
        daemon.reload(fresh.model_copy(update=ports))
    except TidegateError as error:
        say(f"the settings in force stay: {error}")
    else:
        say("settings read again")


def control_socket(home: Path) -> Path:
    """Control socket of the tier of this state folder.

    Raises
    ------
    ActuatorUnavailableError
        When none has run here.
    """
    try:
        found = orjson.loads((home / "tier" / "tier.json").read_bytes())
        return Path(found["control_socket"])
    except (OSError, ValueError, KeyError) as error:
        raise ActuatorUnavailableError(
            f"no serving tier runs in {home}", "start it with `tidegate tier` or `tidegate run`"
        ) from error


def ask_for_tables(
    sizer: BackgroundSizer, store: Store, settings: Settings, units: Mapping[str, UnitType]
) -> None:
    """Let sizing tables be built while the champions are trained."""
    for each in settings.service:
        service, unit = each.service(), units[each.name]
        feed = DemandFeed(service, unit.profile, settings.retrain, store)
        with suppress(TidegateError):  # no history yet, or an SLO that the planner will refuse
            feed.look()
            Carrying(service, unit, sizer, Belief()).follow(feed.mix, feed.dispersion)


def train_missing(
    store: Store,
    settings: Settings,
    units: Mapping[str, UnitType],
    now_s: float,
    say: Say,
    always: bool = False,
) -> None:
    """Train every configured service that has history and no champion."""
    for each in settings.service:
        if not always and _has_champion(store, each.name):
            continue
        try:
            profile = units[each.name].profile
            report = retrain_service(
                store, each.service(), settings.retrain, now_s, profile=profile
            )
            say(f"trained {each.name}: {report.verdict.reason}")
        except DataError as error:
            say(f"{each.name} is not trained: {error}; the floor of its units is kept")


def _has_champion(store: Store, name: str) -> bool:
    try:
        return store.live_model(name) is not None
    except TidegateError:
        return False


def _epitaph(service: dict[str, Any]) -> str:
    served, paid = service["served"], service["ledger"]
    kept = f"{served['attainment']:.2%}" if served["requests"] else "-"
    return (
        f"{service['name']}: {served['requests']} requests, {kept} inside the SLO,"
        f" {paid['paid_s'] / 3600:.1f} unit-hours against {paid['static_peak_s'] / 3600:.1f} at the peak"
        f" ({paid['saved_share']:.0%} saved)"
    )
