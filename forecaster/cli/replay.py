"""`tidegate replay`: the judge, on your own log, before anything is switched on."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.durations import seconds
from forecaster.cli.ingest import columns, parse_origin
from forecaster.cli.output import emit, make_table, progress
from forecaster.cli.plan import load_settings_of
from forecaster.config import Settings, load_settings, load_unit_type
from forecaster.config.load import state_home
from forecaster.domain.errors import SettingError, SloInfeasibleError
from forecaster.ingest import IngestOptions, LogFormat, TimeUnit

if TYPE_CHECKING:  # the compiler behind the kernel takes a second to load
    from forecaster.replay.contest import Contest
    from forecaster.replay.log import ReadLog
    from forecaster.wiring.replays import Order

DAY_S = 86_400.0
MOST_UNITS = 4096


@app.command("replay")
def replay_command(
    unit: Annotated[str, typer.Option(help="unit type: a folder under `models`")],
    log: Annotated[
        str, typer.Argument(help="request log, any that `ingest` takes; - reads standard input")
    ] = "",
    from_store: Annotated[
        str, typer.Option("--from-store", help="replay this service's ingested requests instead")
    ] = "",
    rate_scale: Annotated[
        float | None,
        typer.Option(
            help="play the log this many times over [default: 1; from the store 1 / log_sample]"
        ),
    ] = None,
    ttft_p99: Annotated[float | None, typer.Option(help="time to first token, seconds")] = None,
    tpot_p99: Annotated[float | None, typer.Option(help="time per output token, seconds")] = None,
    latency_p99: Annotated[float | None, typer.Option(help="whole answer, seconds")] = None,
    attainment: Annotated[float, typer.Option(help="share of requests inside the SLO")] = 0.99,
    lead: Annotated[
        str, typer.Option(help="from order to readiness: 90s, 10m [default: the unit type's]")
    ] = "",
    days: Annotated[float, typer.Option(help="days that are scored, the end of the log")] = 3.0,
    policies: Annotated[
        str, typer.Option(help="names with commas between [default: all of them]")
    ] = "",
    untuned: Annotated[
        bool, typer.Option("--untuned/--no-untuned", help="Tidegate without hindsight as well")
    ] = True,
    timezone: Annotated[str, typer.Option(help="IANA zone of the service's users")] = "UTC",
    country: Annotated[str, typer.Option(help="ISO code whose holidays matter")] = "",
    min_units: Annotated[int | None, typer.Option(help="never fewer [default: one step]")] = None,
    max_units: Annotated[int | None, typer.Option(help="never more [default: 4096]")] = None,
    step_units: Annotated[int, typer.Option(help="units are bought in multiples of this")] = 1,
    seed: Annotated[int, typer.Option(help="of the copies' jitter and the judge")] = 0,
    schedule_out: Annotated[
        Path | None, typer.Option(help="CSV of ready units by the minute: timestamp,units")
    ] = None,
    schedule_of: Annotated[
        str, typer.Option(help="whose schedule [default: tidegate; also tidegate-live]")
    ] = "",
    html: Annotated[Path | None, typer.Option(help="report in one file, for any browser")] = None,
    service: Annotated[
        str, typer.Option("--service", "-s", help="which one, where the log names several")
    ] = "",
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="auto looks at the content")
    ] = LogFormat.AUTO,
    origin: Annotated[
        str, typer.Option(help="ISO time of relative time stamp 0 (BurstGPT, Mooncake)")
    ] = "",
    column: Annotated[
        list[str] | None, typer.Option(help="ROLE=NAME, for example timestamp=when; repeat it")
    ] = None,
    time_unit: Annotated[
        TimeUnit, typer.Option(help="unit of numeric time stamps")
    ] = TimeUnit.AUTO,
    log_timezone: Annotated[str, typer.Option(help="IANA zone of time stamps without one")] = "UTC",
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """What would each policy have cost on your own log, keeping the same SLO?

    Scores the last days of the log in a simulated tier and knows only what lay before. Each policy's
    own safety knob is set to the least that keeps the target, so that only unit-hours differ.
    Needs no database and changes nothing.

    Example: `tidegate replay requests.csv.gz --unit llama70b-h100x8 --ttft-p99 2 --tpot-p99 0.08
    --html replay.html`
    """
    from forecaster.replay.files import check_target
    from forecaster.replay.summary import schedule_name
    from forecaster.wiring.questions import service_named
    from forecaster.wiring.replays import play
    from forecaster.wiring.tables import tables_in

    began_s = time.perf_counter()
    settings = load_settings(config)
    if rate_scale is None:
        rate_scale = 1 / service_named(settings, from_store).log_sample
    slo = {"ttft_p99_s": ttft_p99, "tpot_p99_s": tpot_p99, "latency_p99_s": latency_p99}
    asked = {
        "unit": unit,
        "slo": {**slo, "attainment": attainment},
        "timezone": timezone,
        "country": country,
        **unit_limits(min_units, max_units, step_units),
    }
    order = order_of(settings, asked, lead, days, seed)
    order = replace(
        order,
        rate_scale=rate_scale,
        policies=tuple(each.strip() for each in policies.split(","))
        if policies
        else order.policies,
        untuned=untuned,
    ).checked()
    scheduled = schedule_name(order.policies, untuned, schedule_of) if schedule_out else ""
    for key, path in (("--html", html), ("--schedule-out", schedule_out)):
        if path is not None:
            check_target(key, path)
    options = IngestOptions(
        format=log_format,
        columns=columns(settings, time_unit, column or []),
        origin_s=parse_origin(origin),
        timezone=log_timezone,
        latest_s=time.time() + DAY_S,
    )
    found = requests_of(settings, log, from_store, service, options)
    with progress(f"replay {found.requests.service}", total=1.0) as advance_to:

        def told(name: str, share: float) -> None:
            advance_to(share, name, 1.0)

        try:
            contest = play(found.requests, order, tables_in(state_home(settings)), told)
        except SloInfeasibleError as error:
            if form is Format.JSON:
                emit(infeasible(error), form)
                raise typer.Exit(1) from error
            raise
    written = write_files(contest, found, html, (schedule_out, scheduled))
    facts = {
        "rate_scale": rate_scale,
        "days": days,
        "seed": seed,
        "files": written,
        "seconds": time.perf_counter() - began_s,
    }
    show(contest, found, facts, form)


def unit_limits(least: int | None, most: int | None, step: int) -> dict[str, int]:
    """Limits where those that were not given fit the purchase step."""
    fits = max(step, 1)
    return {
        "min_units": fits if least is None else least,
        "max_units": max(MOST_UNITS // fits * fits, fits) if most is None else most,
        "step_units": step,
    }


def order_of(settings: Settings, asked: dict[str, Any], lead: str, days: float, seed: int) -> Order:
    """The order with the defaults of its unit type; every range is that of the settings table."""
    from forecaster.replay.contest import Terms
    from forecaster.wiring.replays import Order

    checked = load_settings_of({"name": "log", **asked}).service()
    unit = load_unit_type(settings.models, asked["unit"])
    terms = Terms(
        unit,
        checked.slo,
        seconds("--lead", lead, 0.0, DAY_S) if lead else unit.lead_time_s,
        days=days,
        limits=checked.limits,
        calendar=checked.calendar,
        seed=seed,
    )
    return Order(terms)


def requests_of(
    settings: Settings, log: str, from_store: str, service: str, options: IngestOptions
) -> ReadLog:
    """Requests of a log, or of a service in the store."""
    from forecaster.replay.log import ReadLog, read_log

    if bool(log) == bool(from_store):
        raise SettingError(
            "LOG", log, "a request log or --from-store SERVICE", "give one of the two"
        )
    if log:
        with progress(f"read {log}", total=None) as advance_to:
            return read_log(log, options, service, lambda done, of: advance_to(done, "", of))
    from forecaster.wiring.stores import open_store

    with open_store(settings) as store:
        return ReadLog(store.request_rows(from_store, 0.0, options.latest_s))


def write_files(
    contest: Contest, log: ReadLog, html: Path | None, schedule: tuple[Path | None, str]
) -> dict[str, str]:
    """Write what was asked for; return where it is."""
    from forecaster.replay.files import write_whole
    from forecaster.replay.report import report
    from forecaster.replay.summary import entry_named, schedule_csv

    written: dict[str, str] = {}
    if html is not None:
        command = shlex.join(["tidegate", *sys.argv[1:]])
        write_whole(html, report(contest, [("log", said_of(log)), ("command", command)]))
        written["html"] = str(html)
    path, name = schedule
    if path is not None:
        write_whole(path, schedule_csv(entry_named(contest, name)))
        written |= {"schedule": str(path), "schedule_of": name}
    return written


def show(contest: Contest, log: ReadLog, facts: dict[str, Any], form: Format) -> None:
    """Print the verdict."""
    from forecaster.replay.report import COLUMNS, NOTE, policy_row
    from forecaster.replay.summary import as_dict, in_words, iso, skipped, standings

    scene = contest.scene
    title = (
        f"{scene.trace.log.service}: {contest.scene_requests:,} requests from {iso(scene.start_s)}"
        f" to {iso(scene.end_s)}, lead {scene.lead_s:g} s"
    )
    rows = [policy_row(contest, *each) for each in standings(contest)]
    lines = [in_words(contest), NOTE, f"log: {said_of(log)}"]
    lines += [f"{name} was not played: {why}" for name, why in skipped(contest).items()]
    lines += [f"{key}: {path}" for key, path in facts["files"].items() if key != "schedule_of"]
    table = Group(make_table(title, COLUMNS, rows), "", *(Text(line) for line in lines))
    emit(as_dict(contest, log, facts), form, table)


def said_of(log: ReadLog) -> str:
    """What was read, in a line."""
    if log.report is None:
        return f"{len(log.requests):,} requests of the store"
    said = f"{log.report.accepted:,} rows read"
    if log.report.rejected:
        reasons = ", ".join(f"{why} {rows:,}" for why, rows in log.report.rejects_by_reason.items())
        said += f", {log.report.rejected:,} rejected ({reasons})"
    if log.others:
        said += f", {sum(log.others.values()):,} of other services left out"
    return said


def infeasible(error: SloInfeasibleError) -> dict[str, Any]:
    """What JSON says when no number of units keeps the SLO."""
    return {
        "feasible": False,
        "binding": error.part,
        "target_s": error.target_s,
        "feasible_from_s": error.best_s,
        "reason": str(error),
    }
