"""`tidegate alerts`: what somebody should know, and whether the webhooks would hear of it."""

from __future__ import annotations

from typing import Annotated

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.output import emit, err, iso, make_table
from forecaster.cli.units import UrlOption, ask
from forecaster.config import load_settings
from forecaster.domain.errors import SettingError


@app.command("alerts")
def alerts_command(
    test: Annotated[
        bool, typer.Option("--test", help="post a test to every webhook, and say who took it")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="also what is over")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="alerts to show")] = 50,
    url: UrlOption = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the alerts that last, or try the webhooks of `[alerts]`.

    Examples:

    `tidegate alerts --test`

    `tidegate alerts --all --format json`
    """
    settings = load_settings(config)
    if test:
        from forecaster.daemon.notifier import secrets_of, try_all

        urls = secrets_of(settings.alerts)
        if not urls:
            raise SettingError(
                "alerts.webhook", [], "no webhook is configured", "set it in tidegate.toml"
            )
        said: list[str] = []
        kept = try_all(urls, settings.alerts.format, settings.alerts.timeout_s, said.append)
        emit({"taken": kept, "webhooks": said}, form, "\n".join(said))
        if not kept:
            err.print("not every webhook took it")
            raise typer.Exit(1)
        return
    shown = "false" if everything else "true"
    found = ask(settings, url, f"/v1/alerts?limit={limit}&open={shown}")
    rows = [
        (
            iso(row["opened_s"]), row["service"], row["kind"], "urgent" if row["urgent"] else "",
            iso(row["resolved_s"]) or "lasts", row["text"],
        )
        for row in found["alerts"]
    ]  # fmt: skip
    names = ("since", "service", "kind", "", "until", "what")
    emit(found, form, make_table(f"{len(rows)} alerts", names, rows))
