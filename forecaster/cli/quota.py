"""`tidegate quotas` and `tidegate replay-quota`: GPUs that several services share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.durations import seconds
from forecaster.cli.ingest import columns
from forecaster.cli.log_options import DAY_S, infeasible_said
from forecaster.cli.output import emit, iso, make_table, progress
from forecaster.cli.plot import check_plot_path
from forecaster.cli.units import UrlOption, ask
from forecaster.config import Settings, load_settings
from forecaster.config.load import state_home
from forecaster.domain.demand import RequestBatch
from forecaster.domain.errors import SettingError
from forecaster.ingest import IngestOptions

if TYPE_CHECKING:  # the compiler behind the kernel takes a second to load
    from forecaster.wiring.quota_replay import QuotaOrder, QuotaPlay

COLUMNS = (
    "quota", "service", "priority", "unit-hours", "most units", "attainment", "refused unit-hours",
    "batch late", "cost", "vs clairvoyant",
)  # fmt: skip
NOW_COLUMNS = (
    "quota", "service", "priority", "GPUs a unit", "units", "wants", "holds", "refused today",
    "requests outside for it",
)  # fmt: skip
DEADLINE = "24h"
FILE = "SERVICE=FILE"


@app.command("quotas")
def quotas_command(
    url: UrlOption = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show who holds the GPUs that services share, who is refused some, and what that costs.

    Example: `tidegate quotas`
    """
    found = ask(load_settings(config), url, "/v1/quotas")
    rows = [
        (
            f"{quota['name']}: {quota['taken_gpus']} of {quota['gpus']} GPUs",
            each["service"],
            each["priority"],
            each["gpus_per_unit"],
            each["units"],
            "-" if each["wanted_units"] is None else each["wanted_units"],
            "-" if each["hold_units"] is None else each["hold_units"],
            f"{each['refused_unit_hours']:.1f} unit-hours",
            f"{each['refused_requests']:,.0f}",
        )
        for quota in found["quotas"]
        for each in quota["services"]
    ]
    emit(found, form, make_table("GPUs that services share", NOW_COLUMNS, rows))


@app.command("replay-quota")
def replay_quota_command(
    logs: Annotated[
        list[str], typer.Argument(help=f"request logs; {FILE} where a log names no service")
    ],
    quota: Annotated[str, typer.Option(help="which one [default: the only one]")] = "",
    gpus: Annotated[
        list[int] | None, typer.Option(help="size to try; several [default: as configured]")
    ] = None,
    days: Annotated[float, typer.Option(help="days that are scored, the end of the logs")] = 7.0,
    rate_scale: Annotated[float, typer.Option(help="play the logs this many times over")] = 1.0,
    batch: Annotated[
        list[str] | None, typer.Option(help=f"requests that may wait: {FILE}; several")
    ] = None,
    deadline: Annotated[
        str, typer.Option(help="by when batch requests must be answered: 8h, 24h")
    ] = DEADLINE,
    clairvoyant: Annotated[
        bool, typer.Option("--clairvoyant/--no-clairvoyant", help="compare with hindsight as well")
    ] = True,
    seed: Annotated[int, typer.Option(help="of the copies' jitter and the judge")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="draw who holds the GPUs in this .png, .svg or .html")
    ] = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Would so many GPUs do for all services of a quota? Played on your own logs.

    Units, SLOs, limits and priorities are those of tidegate.toml. Tidegate plays them live, without
    hindsight, under one quota; needs no database and changes nothing.

    Example: `tidegate replay-quota requests.csv.gz --gpus 48 --gpus 64 --plot quota.svg`
    """
    from forecaster.wiring.quota_replay import QuotaOrder, play_quota, quota_named, sharers
    from forecaster.wiring.replays import Order  # noqa: F401  (loads the kernel under the bar)
    from forecaster.wiring.tables import tables_in

    began_s = time.perf_counter()
    settings = load_settings(config)
    chosen = quota_named(settings, quota)
    sizes = tuple(gpus or (chosen.gpus,))
    order = QuotaOrder(chosen, sizes, days, rate_scale, seed, clairvoyant)
    names = [each.name for each in sharers(settings, chosen)]
    deadline_s = seconds("--deadline", deadline, 300.0)
    if plot is not None:
        check_plot_path(plot)
    requests = _read(settings, [_source(each, names) for each in logs], names)
    waiting = {
        name: (_read(settings, [(name, path)], [name])[name], deadline_s)
        for name, path in (_named(each, names) for each in batch or ())
    }
    with progress(f"replay quota {chosen.name}", total=1.0) as advance_to, infeasible_said(form):

        def told(name: str, share: float) -> None:
            advance_to(share, name, 1.0)

        tables = tables_in(state_home(settings))
        found = play_quota(requests, settings, order, tables, waiting, told)
    if plot is not None:
        from forecaster.cli.quota_plot import plot_quota

        plot_quota(plot, found)
    show(found, order, time.perf_counter() - began_s, plot, form)


def show(
    found: QuotaPlay, order: QuotaOrder, took_s: float, plot: Path | None, form: Format
) -> None:
    """Print what became of every service under every size."""
    from forecaster.replay.summary import finite

    scene = found.members[0].court.scene
    document: dict[str, Any] = {
        "quota": order.quota.name,
        "from": iso(scene.start_s),
        "to": iso(scene.end_s),
        "apart_gpus": found.apart_gpus,
        "plays": [each.to_dict() for each in found.plays],
        "files": {} if plot is None else {"plot": str(plot)},
        "seconds": took_s,
    }
    rows: list[tuple[object, ...]] = []
    for play in found.plays:
        for part in play.parts:
            late = f"{part.batch_late:,} of {part.batch:,}" if part.batch else "-"
            rows.append(
                (
                    f"{play.quota_gpus} GPUs", part.name, part.priority,
                    f"{part.unit_s / 3600:,.1f}", int(part.fleet.ready.max()),
                    f"{100 * part.score.attainment:.2f}%", f"{part.refused_s / 3600:,.1f}", late,
                    f"{part.cost:,.0f}", f"{part.unit_s / part.clairvoyant_s:.3f}",
                )
            )  # fmt: skip
        total = sum(each.cost for each in play.parts)
        rows.append(
            (f"{play.quota_gpus} GPUs", "all", "", "", f"{play.gpus.max()} GPUs", "", "", "",
             f"{total:,.0f}", f"{play.vs_clairvoyant:.3f}")
        )  # fmt: skip
    lines = [
        f"apart, each with its own units for its busiest five minutes: {found.apart_gpus} GPUs",
        "a clairvoyant knows the half-hour means to come, keeps as much of the SLO, shares with nobody",
        *(f"{key}: {path}" for key, path in document["files"].items()),
    ]
    title = f"quota {order.quota.name}, {document['from']} to {document['to']}"
    table = Group(make_table(title, COLUMNS, rows), "", *(Text(line) for line in lines))
    emit(finite(document), form, table)


def _read(
    settings: Settings, sources: list[tuple[str, str]], names: list[str]
) -> dict[str, RequestBatch]:
    from forecaster.ingest import TimeUnit
    from forecaster.replay.log import read_services

    options = IngestOptions(
        columns=columns(settings, TimeUnit.AUTO, []), latest_s=time.time() + DAY_S
    )
    with progress("read the logs", total=None) as advance_to:
        return read_services(sources, names, options, lambda done, of: advance_to(done, "", of))


def _source(text: str, names: list[str]) -> tuple[str, str]:
    """Service and file: a prefix is a service only where one has that name."""
    service, _, path = text.partition("=")
    return (service, path) if path and service in names else ("", text)


def _named(text: str, names: list[str]) -> tuple[str, str]:
    service, path = _source(text, names)
    if not service:
        raise SettingError("--batch", text, f"{FILE}, the service one of {', '.join(names)}")
    return service, path
