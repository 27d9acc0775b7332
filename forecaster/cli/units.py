"""`tidegate units` and `tidegate explain`: the fleet, and why it is what it is."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, ServiceArgument, app
from forecaster.cli.output import emit, iso, make_table
from forecaster.cli.whoami import user
from forecaster.config import Settings, load_settings
from forecaster.domain.errors import ActuatorUnavailableError, DataError

UrlOption = Annotated[
    str | None, typer.Option("--url", help="address of the daemon [default: as configured]")
]


@app.command("units")
def units_command(
    service: ServiceArgument,
    url: UrlOption = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the model units of a service, as the running daemon sees them.

    Example: `tidegate units chat`
    """
    found = ask(load_settings(config), url, f"/v1/services/{service}/units")
    pools = any(unit.get("pool") for unit in found["units"])
    rows = [
        (
            unit["unit_id"],
            *([unit["pool"]] if pools else []),
            unit["state"],
            iso(unit["since_s"]),
            f"{unit['lead_time_s']:.1f}" if unit["lead_time_s"] is not None else "-",
            unit["in_flight"],
            unit["provider"] or "-",
        )
        for unit in found["units"]
    ]
    names = (
        "unit",
        *(["pool"] if pools else []),
        "state",
        "since",
        "lead s",
        "in flight",
        "provider",
    )
    emit(found, form, make_table(f"{service}: {len(rows)} units", names, rows))


@app.command("explain")
def explain_command(
    service: ServiceArgument,
    at: Annotated[float | None, typer.Option(help="epoch seconds [default: now]")] = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Say why a service holds the number of units it holds.

    Example: `tidegate explain chat`
    """
    query = f"?at_s={at}" if at is not None else ""
    found = ask(load_settings(config), url, f"/v1/services/{service}/explain{query}")
    said = "\n".join(line for line in (found["why"], found.get("because")) if line)
    emit(found, form, said or "nothing was decided at that moment")


def ask(
    settings: Settings, url: str | None, path: str, method: str = "GET", body: Any = None
) -> Any:
    """Ask the running daemon.

    Raises
    ------
    ActuatorUnavailableError
        When it does not answer.
    DataError
        When it refuses.
    """
    scheme = "https" if settings.api.tls_cert else "http"
    base = url or f"{scheme}://{settings.api.host}:{settings.api.port}"
    headers = {"X-Tidegate-User": user()}
    if settings.api.token:
        headers["Authorization"] = f"Bearer {settings.api.token}"
    try:
        answer = httpx.request(method, base + path, headers=headers, json=body, timeout=10.0)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ActuatorUnavailableError(
            f"no daemon answers at {base}", "start `tidegate run`, or name it with --url"
        ) from error
    if answer.is_error:
        try:
            problem = answer.json()
            raise DataError(problem["detail"], problem["remedy"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{base}{path} answered {answer.status_code}") from error
    return answer.json()
