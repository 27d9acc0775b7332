"""`tidegate accuracy`: how the daemon's own forecasts did."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, ServiceArgument, app
from forecaster.cli.durations import seconds
from forecaster.cli.output import emit, make_table
from forecaster.config import load_settings
from forecaster.daemon.verified import DAY_S, accuracy_to_dict, verified
from forecaster.seasonal.verify import Accuracy
from forecaster.wiring.questions import profile_of, service_named
from forecaster.wiring.stores import open_store

SHOWN = (0.05, 0.5, 0.9, 0.95, 0.99)


@app.command("accuracy")
def accuracy_command(
    service: ServiceArgument,
    over: Annotated[str, typer.Option(help="time before the newest forecast")] = "14d",
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Verify the forecasts that the daemon made: error by lead, coverage by level, drift.

    Example: `tidegate accuracy chat --over 7d`
    """
    days = seconds("--over", over, 3600, 400 * DAY_S) / DAY_S
    settings = load_settings(config)
    named = service_named(settings, service)
    with open_store(settings) as store:
        found = verified(store, named, profile_of(settings, named), days)
    emit(accuracy_to_dict(service, found), form, _table(service, found))


def _table(service: str, found: Accuracy) -> Any:
    if not found.leads:
        return f"{service}: no forecast is verified yet, {found.pending} wait for what comes; the daemon keeps them"
    levels = [
        level for level, _ in (found.leads[0].coverage if found.leads else ()) if level in SHOWN
    ]
    rows = [
        (
            f"{each.lead_s / 60:.0f} min", each.verified, f"{each.wape:.3f}", f"{each.bias:+.3f}",
            *(f"{dict(each.coverage).get(level, float('nan')):.3f}" for level in levels),
        )
        for each in found.leads
    ]  # fmt: skip
    drift = f"; DRIFT: {found.drift}" if found.drift else "; no drift"
    title = f"{service}: forecasts beside what came, {found.pending} to come{drift}"
    columns = ("lead", "verified", "WAPE", "bias", *(f"<= q{level:g}" for level in levels))
    return make_table(title, columns, rows)
