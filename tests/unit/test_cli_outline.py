"""The list of commands is read from their text: it must be what importing them registers."""

from __future__ import annotations

import importlib
import subprocess
import sys

import typer.main

from forecaster.cli import MODULES, app, application
from forecaster.cli.outline import commands, listing


def test_the_list_is_what_the_modules_register() -> None:
    for module in MODULES:
        importlib.import_module(f"forecaster.cli.{module}")
    real = typer.main.get_group(app).commands
    listed = typer.main.get_group(listing(commands(MODULES))).commands
    assert set(listed) == set(real)
    for name, command in listed.items():
        assert command.get_short_help_str(200) == real[name].get_short_help_str(200)


def test_a_command_answers_itself_and_other_words_get_the_list() -> None:
    assert application(["plan", "chat"]) is app
    assert application(["--help"]) is not app


def test_help_needs_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from forecaster.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'pandas', 'scipy', 'numpy', 'numba', 'psycopg', 'pyarrow', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "replay" in done.stdout
