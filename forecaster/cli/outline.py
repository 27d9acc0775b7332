"""The commands as their modules' text names them: listed without importing what they need."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from forecaster.cli.app import make_app


@dataclass(frozen=True, slots=True)
class Command:
    """A function decorated with ``@app.command("name")``.

    Attributes
    ----------
    name : str
        What users type.
    module : str
        Module of this package.
    doc : str
        Its docstring.
    """

    name: str
    module: str
    doc: str


def commands(modules: tuple[str, ...]) -> dict[str, Command]:
    """The commands of these modules by name, in their order."""
    return {each.name: each for module in modules for each in _read(module)}


def listing(known: dict[str, Command]) -> typer.Typer:
    """An application that can name its commands and run none."""
    listed = make_app()
    for each in known.values():

        def named() -> None:
            """Do nothing."""

        named.__doc__ = each.doc
        listed.command(each.name)(named)
    return listed


def _read(module: str) -> Iterator[Command]:
    tree = ast.parse((Path(__file__).parent / f"{module}.py").read_bytes())
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for decorator in function.decorator_list:
            match decorator:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="app"), attr="command"),
                    args=[ast.Constant(value=str(name))],
                ):
                    yield Command(name, module, ast.get_docstring(function) or "")
