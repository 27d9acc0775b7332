"""`tidegate config`: the annotated example file, or a check of yours."""

from __future__ import annotations

from typing import Annotated

import typer

from forecaster.cli.app import ConfigOption, app
from forecaster.config import load_settings, load_unit_type
from forecaster.config.example import example_toml


@app.command("config")
def config_command(
    example: Annotated[
        bool, typer.Option("--example", help="print an annotated tidegate.toml")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Check the settings file and the unit types it names, or print an example.

    Example: `tidegate config --example > tidegate.toml`
    """
    if example:
        typer.echo(example_toml(), nl=False)
        return
    settings = load_settings(config)
    for service in settings.service:
        load_unit_type(settings.models, service.unit)
    typer.echo(f"ok: {len(settings.service)} services, models in {settings.models}")
