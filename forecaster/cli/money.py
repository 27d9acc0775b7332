"""`tidegate ledger`, `statement`, `report`: what was paid, kept, saved, and what would have been."""

from __future__ import annotations

import math
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from forecaster.api.statement_page import statement_page
from forecaster.cli.app import ConfigOption, Format, FormatOption, ServiceArgument, app
from forecaster.cli.output import emit, iso, make_table
from forecaster.config import load_settings
from forecaster.planning.report import report
from forecaster.planning.statement import percent, plain_rows, to_csv, to_dict
from forecaster.wiring.money import last_days, month_statement
from forecaster.wiring.stores import open_store

DAY_S = 86_400.0
COLUMNS = (
    "day", "ordered h", "warming h", "ready h", "draining h", "unused h", "billed h", "money",
    "requests", "inside SLO", "saved / peak",
)  # fmt: skip
DaysOption = Annotated[float, typer.Option(min=0.01, max=400, help="days that end now")]


class Paper(StrEnum):
    """How a statement is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


@app.command("ledger")
def ledger_command(
    service: ServiceArgument,
    days: DaysOption = 30.0,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """What was paid, day by day: unit-hours by state from the units' own events, priced; SLO; rivals.

    Example: `tidegate ledger chat --days 7`
    """
    settings = load_settings(config)
    with open_store(settings) as store:
        found = to_dict(last_days(store, settings, service, days * DAY_S))
    emit(found, form, _table(found))


@app.command("statement")
def statement_command(
    service: ServiceArgument,
    month: Annotated[str, typer.Option(help="YYYY-MM [default: this month so far]")] = "",
    config: ConfigOption = None,
    form: Annotated[
        Paper, typer.Option("--format", help="html is one file that needs no network")
    ] = Paper.TABLE,
) -> None:
    """A service's monthly statement, in its own time zone.

    Examples:

    `tidegate statement chat --month 2026-11 --format html > november.html`

    `tidegate statement chat --month 2026-11 --format csv`
    """
    settings = load_settings(config)
    with open_store(settings) as store:
        made = month_statement(store, settings, service, month)
    found = to_dict(made)
    if form is Paper.CSV:
        sys.stdout.write(to_csv(made))
    elif form is Paper.HTML:
        sys.stdout.write(statement_page(found) + "\n")
    else:
        emit(found, Format(form.value), _table(found))


@app.command("report")
def report_command(
    service: ServiceArgument,
    days: DaysOption = 7.0,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """What Tidegate would have saved and violated, against what the fleet really did.

    The end of a week in mode `observe`: both sides on the same demand and the same sizing table, rival
    policies beside. Example: `tidegate report chat --days 7`
    """
    settings = load_settings(config)
    with open_store(settings) as store:
        made = last_days(store, settings, service, days * DAY_S)
    mode = next((s.mode.value for s in settings.service if s.name == service), "observe")
    found = report(made, mode)
    emit(found, form, _report_table(found))


def _table(found: dict[str, Any]) -> Any:
    slo = found["slo"]
    title = (
        f"{found['service']}: {found['billed_s'] / 3600:.2f} unit-hours, {found['money']:.2f};"
        f" {slo['requests']} requests, {percent(slo['attainment'], 3)} inside the SLO,"
        f" {percent(slo['error_budget_left_share'], 0)} of the error budget left"
    )
    lived = [day for day in found["days"] if day["billed_s"] or day["slo"]["requests"]]
    if not lived:
        return f"{found['service']}: no unit ran and no request was answered in this time"
    return make_table(title, COLUMNS, list(plain_rows([*lived, found])))


def _report_table(found: dict[str, Any]) -> Any:
    rows = []
    for day in found["days"]:
        would = day["would_have"]
        rows.append((iso(day["from_s"]), *_cells(would), day["measured"]["outside"]))
    rows.append(("all", *_cells(found["would_have"]), found["measured"]["outside"]))
    for name, rival in found["rivals"].items():
        hours = (rival["unit_s"] / 3600, rival["fleet_unit_s"] / 3600)
        spared = 1 - hours[0] / hours[1] if hours[1] else math.nan
        rows.append((
            name, f"{hours[1]:.1f}", f"{hours[0]:.1f}", percent(spared, 0),
            percent(rival["fleet_attainment"], 2), percent(rival["attainment"], 2), "",
        ))  # fmt: skip
    names = (
        "from",
        "fleet h",
        "would be h",
        "saved",
        "fleet kept",
        "would keep",
        "outside, measured",
    )
    return make_table(found["says"], names, rows)


def _cells(would: dict[str, float] | None) -> tuple[str, ...]:
    if would is None:
        return ("-",) * 5
    return (
        f"{would['fleet_unit_s'] / 3600:.1f}", f"{would['unit_s'] / 3600:.1f}",
        percent(would["saved_share"], 0), percent(would["fleet_attainment"], 2),
        percent(would["attainment"], 2),
    )  # fmt: skip
