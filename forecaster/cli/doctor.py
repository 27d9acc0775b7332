"""`tidegate doctor`: does everything stand that Tidegate stands on?"""

from __future__ import annotations

from dataclasses import asdict

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.output import emit, make_table


@app.command("doctor")
def doctor_command(config: ConfigOption = None, form: FormatOption = Format.TABLE) -> None:
    """Check configuration, database, schema, clock, models, provider, disk, ports and permissions.

    Exit code 0 where nothing failed (a warning is no failure), 1 where something did.

    Example: `tidegate doctor --format json`
    """
    from forecaster.wiring.checks import Health
    from forecaster.wiring.doctor import examine

    found = examine(config)
    failed = any(each.health is Health.FAIL for each in found)
    rows = [(each.name, each.health.value, each.says, each.remedy or "-") for each in found]
    table = make_table("self-check", ("what", "", "says", "remedy"), rows)
    emit({"healthy": not failed, "checks": [asdict(each) for each in found]}, form, table)
    if failed:
        raise typer.Exit(1)
