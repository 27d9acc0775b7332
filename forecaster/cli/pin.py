"""`tidegate pin` and `tidegate unpin`: a number of units set by hand, for a while."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, ServiceArgument, app
from forecaster.cli.durations import seconds
from forecaster.cli.output import emit, iso
from forecaster.cli.units import UrlOption, ask
from forecaster.config import load_settings

MONTH_S = 30 * 86_400.0


@app.command("pin")
def pin_command(
    service: ServiceArgument,
    units: Annotated[int, typer.Argument(help="units to hold, inside the service's limits")],
    duration: Annotated[str, typer.Option("--for", help="until it ends by itself")] = "1h",
    why: Annotated[str, typer.Option(help="said in every explanation")] = "",
    url: UrlOption = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Hold a number of units, whatever the plan says, until the pin ends.

    Example: `tidegate pin chat 6 --for 2h --why "release night"`
    """
    wish = {"units": units, "seconds": seconds("--for", duration, 60, MONTH_S), "why": why}
    found = ask(load_settings(config), url, f"/v1/services/{service}/pin", "PUT", wish)
    emit(found, form, f"{service}: {said(found['pin'])}")


@app.command("unpin")
def unpin_command(
    service: ServiceArgument,
    url: UrlOption = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Take a pin away: the plan decides again.

    Example: `tidegate unpin chat`
    """
    found = ask(load_settings(config), url, f"/v1/services/{service}/pin", "DELETE")
    emit(found, form, f"{service}: {said(found['pin'])}")


def said(pin: dict[str, Any] | None) -> str:
    """The pin in force, for people."""
    if pin is None:
        return "not pinned, the plan decides"
    why = f" ({pin['why']})" if pin["why"] else ""
    return f"pinned at {pin['units']} until {iso(pin['until_s'])}{why}"
