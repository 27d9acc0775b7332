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

from forecaster.cli.app import Format, app
from forecaster.cli.log_options import Asked, infeasible_said, on_a_log, said_of
from forecaster.cli.output import emit, make_table, progress
from forecaster.config import load_settings
from forecaster.config.load import state_home
from forecaster.domain.errors import SettingError

if TYPE_CHECKING:  # the compiler behind the kernel takes a second to load
    from forecaster.replay.contest import Contest
    from forecaster.replay.log import ReadLog


@app.command("replay")
@on_a_log
def replay_command(
    asked: Asked,
    policies: Annotated[
        str, typer.Option(help="names with commas between [default: all of them]")
    ] = "",
    untuned: Annotated[
        bool, typer.Option("--untuned/--no-untuned", help="Tidegate without hindsight as well")
    ] = True,
    elasticity: Annotated[
        float,
        typer.Option(
            help="of Tidegate's plans: 0 = the past week's peak, 1 = tide; rivals have none"
        ),
    ] = 1.0,
    schedule_out: Annotated[
        Path | None, typer.Option(help="CSV of ready units by the minute: timestamp,units")
    ] = None,
    schedule_of: Annotated[
        str, typer.Option(help="whose schedule [default: tidegate; also tidegate-live]")
    ] = "",
    html: Annotated[Path | None, typer.Option(help="report in one file, for any browser")] = None,
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
    from forecaster.wiring.replays import play
    from forecaster.wiring.tables import tables_in

    began_s = time.perf_counter()
    settings = load_settings(asked.config)
    order = asked.order(settings)
    named = tuple(each.strip() for each in policies.split(",")) if policies else order.policies
    if not 0 <= elasticity <= 1:
        raise SettingError("--elasticity", elasticity, "0 to 1", "1 follows the tide")
    terms = replace(order.terms, elasticity=elasticity)
    order = replace(order, terms=terms, policies=named, untuned=untuned).checked()
    scheduled = schedule_name(order.policies, untuned, schedule_of) if schedule_out else ""
    for key, path in (("--html", html), ("--schedule-out", schedule_out)):
        if path is not None:
            check_target(key, path)
    found = asked.requests(settings, asked.ingest_options(settings))
    with (
        progress(f"replay {found.requests.service}", total=1.0) as advance_to,
        infeasible_said(asked.form),
    ):

        def told(name: str, share: float) -> None:
            advance_to(share, name, 1.0)

        contest = play(found.requests, order, tables_in(state_home(settings)), told)
    written = write_files(contest, found, html, (schedule_out, scheduled))
    facts = {
        "rate_scale": order.rate_scale,
        "days": asked.days,
        "elasticity": elasticity,
        "seed": asked.seed,
        "files": written,
        "seconds": time.perf_counter() - began_s,
    }
    show(contest, found, facts, asked.form)


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
