"""Printing: a table for people, JSON for programs, progress on a terminal only."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn

import orjson
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from forecaster.cli.app import Format

PIPED_WIDTH = 160

out = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
err = Console(stderr=True, highlight=False)


def fail(message: str, code: int) -> NoReturn:
    """Print one line on standard error and exit."""
    line = " ".join(message.split())
    sys.stderr.write(f"error: {line}\n")
    sys.exit(code)


def emit(result: Any, form: Format, table: RenderableType | None = None) -> None:
    """Print `result` as JSON, or `table` for people."""
    if form is Format.JSON:
        sys.stdout.write(orjson.dumps(plain(result), option=orjson.OPT_INDENT_2).decode() + "\n")
        sys.stdout.flush()
    elif table is not None:
        out.print(table)


def plain(value: Any) -> Any:
    """JSON-ready copy: NaN becomes null, tuples become lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def make_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table whose first column is left-aligned and the others right-aligned."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


def iso(time_s: float | None) -> str | None:
    """Epoch seconds as ISO-8601 UTC."""
    if time_s is None or not math.isfinite(time_s):
        return None
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@contextmanager
def progress(description: str, total: float | None) -> Iterator[Any]:
    """Yield ``advance_to(done, note)``; draws a bar with an ETA on a terminal only."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}% {task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance_to(done: float, note: str = "", total: float | None = None) -> None:
            bar.update(task, completed=done, note=note, total=total)

        yield advance_to
