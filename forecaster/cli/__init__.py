"""The command line: argv in, wiring called, one table or one JSON document out."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import typer

from forecaster.cli.app import app
from forecaster.cli.outline import commands, listing
from forecaster.cli.output import fail
from forecaster.domain.errors import SettingError, TidegateError

__all__ = ["app", "main"]

MODULES = (
    "run",
    "ingest",
    "meter",
    "retrain",
    "forecast",
    "anomalies",
    "accuracy",
    "models",
    "backtest",
    "size",
    "plan",
    "replay",
    "frontier",
    "quota",
    "units",
    "deploy",
    "profile",
    "pin",
    "trust",
    "money",
    "alerts",
    "doctor",
    "config",
)
COMPLETION = "_TIDEGATE_COMPLETE"
"""Set by a shell that asks what may follow."""
LISTS = ("--quantile", "--elasticities", "--targets", "--gpus")
"""Options that take several numbers: after one name, or with the name repeated."""


def main() -> None:
    """Run `tidegate`: exit code 0 ok, 1 failed, 2 usage, 130 interrupted."""
    # one thread for linear algebra: the cores belong to the units
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    chosen = application(sys.argv[1:])
    try:
        code = chosen(repeated(sys.argv[1:]), standalone_mode=False)
    except SettingError as error:
        fail(str(error), 2)
    except TidegateError as error:
        fail(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted; everything that was committed is kept", 130)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        usage = getattr(error, "format_message", None)
        if usage is None:
            raise
        said = usage().rstrip(".")
        if not said:  # the help was the answer to no words at all
            sys.exit(2)
        fail(f"{said}; see `tidegate --help`", 2)
    sys.exit(code if isinstance(code, int) else 0)


def application(words: Sequence[str]) -> typer.Typer:
    """What answers these words: the command that they name, else the list of all.

    Modules register their commands on import; the others' start-up is spared.
    """
    known = commands(MODULES)
    if words and words[0] in known:
        importlib.import_module(f"forecaster.cli.{known[words[0]].module}")
        return app
    if COMPLETION in os.environ:
        for module in MODULES:
            importlib.import_module(f"forecaster.cli.{module}")
        return app
    return listing(known)


def repeated(words: Sequence[str]) -> list[str]:
    """The words with the name of a list option before each of its numbers, as the parser wants it.

    Examples
    --------
    >>> repeated(["forecast", "chat", "--quantile", "0.5", "0.9", "--horizon", "6"])
    ['forecast', 'chat', '--quantile', '0.5', '--quantile', '0.9', '--horizon', '6']
    """
    out: list[str] = []
    name, given = "", False
    for word in words:
        if out[-2:] == ["--origins", "every"]:  # two words that are one value
            out[-1] = f"every {word}"
            continue
        if word in LISTS:
            name, given = word, False
        elif name and _number(word):
            if given:
                out.append(name)
            given = True
        else:
            name = ""
        out.append(word)
    return out


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
