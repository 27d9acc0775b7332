"""Rules of the house that no linter knows."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ("domain", "demand", "seasonal", "capacity", "planning")
SOURCES = sorted([*ROOT.glob("forecaster/**/*.py"), *ROOT.glob("actuators/**/*.py")])
CORE_SOURCES = [
    p for p in SOURCES if p.relative_to(ROOT).parts[1] in CORE and p.parts[-3] != "actuators"
]
FORBIDDEN_CALLS = {
    ("time", "time"), ("time", "monotonic"), ("time", "sleep"), ("time", "perf_counter"),
    ("datetime", "now"), ("datetime", "utcnow"), ("date", "today"), ("random", "random"),
    ("random", "seed"),
}  # fmt: skip


def calls(tree: ast.AST) -> set[tuple[str, str]]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            found.add((name, node.func.attr))
    return found


@pytest.mark.parametrize("path", CORE_SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_core_reads_no_clock_and_rolls_no_dice(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not calls(tree) & FORBIDDEN_CALLS
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "open" not in names


def test_no_star_imports_and_no_catch_all_modules() -> None:
    for path in SOURCES:
        assert path.stem not in ("utils", "util", "common", "helpers", "misc"), path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert all(name.name != "*" for name in node.names), path


def test_models_and_data_hold_no_python() -> None:
    assert not [*ROOT.glob("models/**/*.py"), *ROOT.glob("data/**/*.py")]


def test_modules_have_one_idea() -> None:
    for path in SOURCES:
        lines = len(path.read_text().splitlines())
        assert lines <= 360, f"{path.relative_to(ROOT)} has {lines} lines: what is its one idea?"


def test_packages_are_listed_by_hand_and_all_are() -> None:
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    present = {
        ".".join(p.parent.relative_to(ROOT).parts) for p in SOURCES if p.name == "__init__.py"
    }
    assert set(listed) == present


def test_layers_point_downward_only() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_core_is_importable_without_the_shell() -> None:
    code = (
        "import sys, forecaster.planning.decide, forecaster.capacity.sizing, forecaster.seasonal.training;"
        "bad = {'psycopg', 'fastapi', 'onnxruntime', 'apscheduler', 'httpx', 'pandas'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_public_functions_have_docstring_examples_that_hold() -> None:
    import doctest
    import importlib

    tried = 0
    for path in CORE_SOURCES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        result = doctest.testmod(importlib.import_module(name))
        assert result.failed == 0, name
        tried += result.attempted
    assert tried > 20
