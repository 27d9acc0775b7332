"""`tidegate models` and `tidegate rollback`: versions of a service's forecaster."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, ServiceArgument, app
from forecaster.cli.output import emit, iso, make_table
from forecaster.cli.whoami import user
from forecaster.config import load_settings
from forecaster.daemon.versions import version_to_dict
from forecaster.domain.word import Word
from forecaster.store import ModelRow
from forecaster.store.switches import MODEL
from forecaster.wiring.stores import open_store


@app.command("models")
def models_command(
    service: ServiceArgument,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the versions of a service's model, the newest first, with their scores.

    Example: `tidegate models chat`
    """
    with open_store(load_settings(config)) as store:
        rows = store.models(service)
        if not rows:
            store.slots(service, 0.0, 0.0)  # an unknown service is said to be one
    emit({"service": service, "models": [as_dict(row) for row in rows]}, form, _table(rows))


@app.command("rollback")
def rollback_command(
    service: ServiceArgument,
    to: Annotated[
        int | None, typer.Option(help="version [default: the one before the live one]")
    ] = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Let an older version of a service's model serve, from the daemon's next plan on.

    Example: `tidegate rollback chat --to 17`
    """
    with open_store(load_settings(config)) as store:
        before, now = store.learning.roll_back(service, to)
        said = f"version {now} instead of {before}"
        store.switch(time.time(), service, MODEL, said, Word(by=user()))
    said = f"{service}: version {now} serves, version {before} is kept"
    emit({"service": service, "from": before, "to": now}, form, said)


def as_dict(row: ModelRow) -> dict[str, Any]:
    """What JSON says."""
    found = version_to_dict(row)
    return {"version": found.pop("version"), "created": iso(found.pop("created_s")), **found}


def _table(found: list[ModelRow]) -> Any:
    rows = [
        (
            each["version"], each["created"], each["champion"], "live" if each["live"] else "",
            *("-" if each[key] is None else f"{each[key]:.3f}" for key in ("wape", "naive_wape", "cost")),
            each["verdict"],
        )
        for each in map(as_dict, found)
    ]  # fmt: skip
    columns = ("version", "created (UTC)", "champion", "", "WAPE", "naive WAPE", "cost", "verdict")
    return make_table("versions of the model", columns, rows)
