"""`tidegate mode`, `approve`, `freeze`, `unfreeze`, `audit`: who may move units, and who said so."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, ServiceArgument, app
from forecaster.cli.output import emit, iso, make_table
from forecaster.cli.units import UrlOption, ask
from forecaster.config import load_settings
from forecaster.domain.errors import DataError
from forecaster.domain.service import Mode

WhyOption = Annotated[str, typer.Option("--why", help="kept in the audit log")]


@app.command("mode")
def mode_command(
    service: ServiceArgument,
    mode: Annotated[Mode, typer.Argument(help="observe, approve or act")],
    why: WhyOption = "",
    url: UrlOption = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Say how far Tidegate is trusted with a service; kept over restarts.

    Example: `tidegate mode chat approve --why "first week"`
    """
    wish = {"mode": mode.value, "why": why}
    found = ask(load_settings(config), url, f"/v1/services/{service}/mode", "PUT", wish)
    emit(found, form, f"{service}: mode is {found['mode']}")


@app.command("approve")
def approve_command(
    service: ServiceArgument,
    decline: Annotated[bool, typer.Option("--decline", help="say no instead")] = False,
    order: Annotated[str, typer.Option(help="which one [default: the one that waits]")] = "",
    why: WhyOption = "",
    url: UrlOption = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Let the order that waits go out, or decline it.

    Example: `tidegate approve chat`
    """
    settings = load_settings(config)
    order_id = order or waiting_order(ask(settings, url, f"/v1/services/{service}"))
    wish = {"order_id": order_id, "approved": not decline, "why": why}
    found = ask(settings, url, f"/v1/services/{service}/answer", "POST", wish)
    said = "declined" if decline else "approved"
    emit(found, form, f"{service}: {said} {found['decision']['explanation']}")


@app.command("freeze")
def freeze_command(
    why: WhyOption = "",
    url: UrlOption = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Stop every order of every service; units that run go on serving.

    Example: `tidegate freeze --why incident`
    """
    ask_freeze(True, why, url, config, form)


@app.command("unfreeze")
def unfreeze_command(
    why: WhyOption = "",
    url: UrlOption = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Let orders go again.

    Example: `tidegate unfreeze`
    """
    ask_freeze(False, why, url, config, form)


@app.command("audit")
def audit_command(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="changes to show")] = 50,
    url: UrlOption = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List what operators changed, newest first.

    Example: `tidegate audit`
    """
    found = ask(load_settings(config), url, f"/v1/audit?limit={limit}")
    rows = [
        (
            iso(row["made_s"]), row["service"] or "all", row["name"], row["value"],
            row["by"] or "-", row["why"] or "-",
        )
        for row in found["changes"]
    ]  # fmt: skip
    names = ("when", "service", "what", "to", "by", "why")
    emit(found, form, make_table("changes by hand", names, rows))


def ask_freeze(on: bool, why: str, url: str | None, config: Any, form: Format) -> None:
    """Freeze or not, and say so."""
    found = ask(load_settings(config), url, "/v1/freeze", "PUT", {"frozen": on, "why": why})
    emit(found, form, "frozen: nothing is ordered" if found["frozen"] else "orders go again")


def waiting_order(service: dict[str, Any]) -> str:
    """The order that waits.

    Raises
    ------
    DataError
        When none does.
    """
    if service["waiting"] is None:
        raise DataError(
            f"no order of {service['name']!r} waits for approval", f"its mode is {service['mode']}"
        )
    return str(service["waiting"]["order_id"])
