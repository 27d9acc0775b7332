"""`tidegate frontier`: what does a setting cost, on your own log?"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from forecaster import __version__
from forecaster.cli.app import Format, app
from forecaster.cli.frontier_plot import plot_frontier
from forecaster.cli.log_options import Asked, infeasible_said, on_a_log, said_of
from forecaster.cli.output import emit, iso, make_table, progress
from forecaster.cli.plot import check_plot_path
from forecaster.config import load_settings
from forecaster.config.load import state_home

if TYPE_CHECKING:  # the compiler behind the kernel takes a second to load
    from forecaster.replay.frontier import Frontier
    from forecaster.replay.log import ReadLog

COLUMNS = (
    "target", "elasticity", "unit-hours", "saved", "saved of busiest", "attainment",
    "violation minutes", "actions", "cost",
)  # fmt: skip


@app.command("frontier")
@on_a_log
def frontier_command(
    asked: Asked,
    elasticities: Annotated[
        list[float] | None,
        typer.Option(help="0 = peak, 1 = tide; several [default: 0 0.25 0.5 0.75 1]"),
    ] = None,
    targets: Annotated[
        list[float] | None,
        typer.Option(help="attainments to aim at [default: 0.9 0.95 0.99 0.995 0.999]"),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="draw attainment against saving in this .png, .svg or .html")
    ] = None,
) -> None:
    """What does a setting cost? Elasticity and target against unit-hours and attainment.

    Plays Tidegate on the last days of your own log as it would have run, without hindsight, once for
    each setting. Savings are against elasticity 0, the past week's peak held, at --attainment.

    Example: `tidegate frontier requests.csv.gz --unit llama70b-h100x8 --ttft-p99 2 --tpot-p99 0.08
    --targets 0.95 0.99 --plot frontier.svg`
    """
    from forecaster.replay.frontier import ELASTICITIES, TARGETS, check_settings
    from forecaster.wiring.replays import play_frontier
    from forecaster.wiring.tables import tables_in

    began_s = time.perf_counter()
    settings = load_settings(asked.config)
    order = asked.order(settings).checked()
    chosen = check_settings(elasticities or ELASTICITIES, targets or TARGETS)
    if plot is not None:
        check_plot_path(plot)
    log = asked.requests(settings, asked.ingest_options(settings))
    with (
        progress(f"frontier {log.requests.service}", total=1.0) as advance_to,
        infeasible_said(asked.form),
    ):

        def told(name: str, share: float) -> None:
            advance_to(share, name, 1.0)

        found = play_frontier(log.requests, order, tables_in(state_home(settings)), chosen, told)
    if plot is not None:
        plot_frontier(plot, found)
    facts = {
        "rate_scale": order.rate_scale,
        "days": asked.days,
        "seed": asked.seed,
        "files": {} if plot is None else {"plot": str(plot)},
        "seconds": time.perf_counter() - began_s,
    }
    show(found, log, facts, asked.form)


def show(found: Frontier, log: ReadLog, facts: dict[str, Any], form: Format) -> None:
    """Print every point."""
    from forecaster.replay.summary import finite, log_dict

    scene, said = found.scene, found.to_dict()
    service, begin, end = scene.trace.log.service, iso(scene.start_s), iso(scene.end_s)
    document = {
        "service": service,
        "from": begin,
        "to": end,
        **said,
        "unit": scene.unit.name,
        "price_per_hour": scene.unit.price_per_hour,
        "slo": asdict(scene.table.question.slo),
        "limits": asdict(scene.limits),
        **facts,
        "version": __version__,
        **log_dict(log),
    }
    title = (
        f"{service}: {found.requests:,} requests from {begin} to {end}, lead {scene.lead_s:g} s,"
        f" on {scene.unit.name}"
    )
    rows = [_row(point) for point in said["points"]]
    base = said["static_peak"]
    lines = [
        f"saved: against the past week's peak held, sized for {base['target']:g}:"
        f" {base['unit_hours']:,.1f} unit-hours; the busiest five minutes, known in hindsight,"
        f" held: {base['busiest_unit_hours']:,.1f}",
        "each row is the plan as it would have run, without hindsight and without steering",
        f"log: {said_of(log)}",
        *(f"{key}: {path}" for key, path in facts["files"].items()),
    ]
    table = Group(make_table(title, COLUMNS, rows), "", *(Text(line) for line in lines))
    emit(finite(document), form, table)


def _row(point: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{point['target']:g}",
        f"{point['elasticity']:g}",
        f"{point['unit_hours']:,.1f}",
        f"{point['saved_share']:.1%}",
        f"{point['saved_share_of_busiest']:.1%}",
        f"{100 * point['attainment']:.3f}%",
        f"{point['violation_minutes']:,}",
        f"{point['actions']:,}",
        f"{point['cost']:,.2f}",
    )
