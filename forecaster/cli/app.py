"""The application object and the options that every command shares."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from forecaster import __version__


class Format(StrEnum):
    """How a command answers."""

    TABLE = "table"
    JSON = "json"


FormatOption = Annotated[
    Format, typer.Option("--format", help="table for people, json for programs")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="settings file [default: $TIDEGATE_CONFIG, else ./tidegate.toml]"
    ),
]
ServiceArgument = Annotated[str, typer.Argument(help="service, as it stands in the request log")]


def _version(show: bool) -> None:
    if show:
        typer.echo(f"tidegate {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Serve models on exactly as many GPUs as the tide of traffic needs.

    Logs in, units out: `ingest` a request log, `retrain`, look at `forecast` and `plan`, then `run`.
    """


def make_app() -> typer.Typer:
    """An application without commands."""
    made = typer.Typer(
        name="tidegate",
        help="Serve models on exactly as many GPUs as the tide of traffic needs.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(root)
    return made


app = make_app()
"""What the modules of this package register their commands with."""
