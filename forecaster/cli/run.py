"""`tidegate run`, `tidegate daemon` and `tidegate tier`: the long-running commands."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.output import emit, err, fail, out
from forecaster.config import Settings, load_settings
from forecaster.telemetry import quiet_logging

DEAD = 70
"""Exit code after a job that hung or died: whoever supervises starts the process anew."""
LAST_RESORT_S = 20.0
BEHIND_UNITS = 5
"""Niceness of daemon, API and demo traffic: on one machine the cores belong to the units first."""


@app.command("run")
def run_command(
    demo: Annotated[
        bool, typer.Option("--demo", help="a sample service whose next day passes in six minutes")
    ] = False,
    api_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="port of the dashboard [default: 8780]")
    ] = None,
    tier_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="port of the models [default: 8781]")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="stop by itself after this long [default: never]")
    ] = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Run everything on this machine: database, serving tier, daemon, API and dashboard.

    Without --demo: the services of tidegate.toml, at the speed of the clock.
    Ctrl-C answers what was accepted, drains the units and ends.

    Example: `tidegate run --demo`
    """
    from forecaster.wiring.running import start
    from forecaster.wiring.sessions import demo_session, plain_session, reloaded
    from forecaster.wiring.signals import StopRequested, StopSignals

    settings = with_ports(load_settings(config), api_port, tier_port)
    quiet_logging()
    began = time.monotonic()

    def say(text: str) -> None:
        if form is Format.TABLE:
            err.print(f"[dim]{time.monotonic() - began:5.1f} s[/]  {text}")

    with StopSignals() as signals, ExitStack() as stack:
        try:
            make = demo_session if demo else plain_session
            session = stack.enter_context(make(settings, say))
            running = stack.enter_context(
                start(
                    session.settings,
                    session.place,
                    session.store,
                    session.units,
                    session.about,
                    session.sizer,
                    signals.fail,
                )
            )
            os.nice(BEHIND_UNITS)
            session.begin(stack, running)
            signals.started()  # whoever reads the document may stop us
            services = [each.name for each in session.settings.service]
            units = {name: running.board.service(name)["units"] for name in services}
            emit(
                {
                    "url": running.url,
                    "tier_url": running.tier_url,
                    "services": services,
                    "units": units,
                    "seconds": time.monotonic() - began,
                },
                form,
                session.banner(running),
            )
            signals.wait(seconds, lambda: reloaded(running.daemon, config, warn))
            if signals.failure:
                last_resort()
            say("stopping: accepted requests are answered first")
        except StopRequested:
            say("stopped while starting")
            raise typer.Exit(130) from None
    for line in session.epitaph():
        out.print(line)
    if signals.failure:
        fail(signals.failure, DEAD)


@app.command("daemon")
def daemon_command(config: ConfigOption = None, form: FormatOption = Format.TABLE) -> None:
    """Observe, plan, act and retrain on a schedule, for a tier that runs already (`tidegate tier`).

    With `[kubernetes] namespace` it scales pods instead of a tier of ours; with `[keda] port` KEDA asks it how many
    replicas should run, with `[dynamo] port` NVIDIA Dynamo's planner how many workers.
    Stopping it leaves the tier serving. SIGHUP reads the settings again. Of several on one database one
    leads; the others stand by and take over. Example: `tidegate daemon --config tidegate.toml`
    """
    from forecaster.wiring.sessions import attached, reloaded
    from forecaster.wiring.signals import StopRequested, StopSignals

    settings = load_settings(config)
    quiet_logging()
    with StopSignals() as signals, ExitStack() as stack:
        try:
            found = stack.enter_context(attached(settings, signals.fail))
            names = {"keda": "KEDA", "dynamo": "Dynamo"}
            lines = [f"{names[each]}: {address}" for each, address in found.asked.items()]
            signals.started()
            emit(
                {
                    "url": found.url,
                    "services": [each.name for each in settings.service],
                    **found.asked,
                },
                form,
                "\n".join([f"Tidegate: {found.url}", *lines]),
            )
            signals.wait(None, lambda: reloaded(found.daemon, config, warn))
            if signals.failure:
                last_resort()
        except StopRequested:
            raise typer.Exit(130) from None
    if signals.failure:
        fail(signals.failure, DEAD)


@app.command("tier")
def tier_command(
    stop: Annotated[
        bool,
        typer.Option("--stop", help="end the tier that runs, also one left by a killed command"),
    ] = False,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Run the ONNX Runtime serving tier alone; it outlives any daemon.

    Example: `tidegate tier & tidegate daemon`
    """
    if stop:
        from forecaster.wiring.sessions import stop_tier_alone

        pid = stop_tier_alone(load_settings(config))
        emit({"stopped": pid}, form, f"the tier, process {pid}, answered what it held and ended")
        return
    from forecaster.wiring.sessions import tier_alone
    from forecaster.wiring.signals import StopRequested, StopSignals

    settings = load_settings(config)
    quiet_logging()
    with StopSignals() as signals, ExitStack() as stack:
        try:
            handle = stack.enter_context(tier_alone(settings))
            signals.started()
            emit({"tier_url": handle.url}, form, f"models: {handle.url}")
            while handle.alive and not signals.stop.wait(0.5):
                pass
        except StopRequested:
            raise typer.Exit(130) from None


def warn(text: str) -> None:
    """One line on standard error, whoever reads standard output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def last_resort() -> None:
    """End the process even where what hangs does not let it end in order."""
    timer = threading.Timer(LAST_RESORT_S, os._exit, (DEAD,))
    timer.daemon = True
    timer.start()


def with_ports(settings: Settings, api_port: int | None, tier_port: int | None) -> Settings:
    """Settings with the ports of the command line."""
    changed: dict[str, Any] = {}
    if api_port is not None:
        changed["api"] = settings.api.model_copy(update={"port": api_port})
    if tier_port is not None:
        changed["tier"] = settings.tier.model_copy(update={"port": tier_port})
    return settings.model_copy(update=changed)
