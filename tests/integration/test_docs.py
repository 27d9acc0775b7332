"""Docs are true: blocks run, diagrams match the code, generated pages are up to date."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import reference, sample
from forecaster.config import load_settings
from forecaster.domain.lifecycle import TRANSITIONS
from tests.integration.cli_runner import Runner

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "howto.md")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.mark.usefixtures("cli")
def test_howto_blocks_run_in_order(tmp_path: Path) -> None:
    commands = [
        line
        for block in blocks(ROOT / "docs" / "howto.md", "bash")
        for line in block.splitlines()
        if line and not line.startswith(("#", "export"))
    ]
    assert len(commands) >= 6
    settings = tmp_path / "quick.toml"
    settings.write_text('[retrain]\nmembers = ["profile", "ridge"]\n')
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TIDEGATE_CONFIG": str(settings)}
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_example_configuration_in_the_docs_loads(cli: Runner, tmp_path: Path) -> None:
    text = blocks(ROOT / "docs" / "howto.md", "toml")[0]
    file = tmp_path / "tidegate.toml"
    file.write_text(text)
    assert load_settings(file).service[0].name == "chat"
    assert cli("config", "--config", file).code == 0


def test_readme_names_commands_that_exist(cli: Runner) -> None:
    named = {m for page in PAGES for m in re.findall(r"\btidegate ([a-z]+)\b", page.read_text())}
    for command in named & {
        "ingest",
        "retrain",
        "forecast",
        "size",
        "plan",
        "run",
        "config",
        "daemon",
        "tier",
    }:
        assert cli(command, "--help").code == 0


def test_links_lead_somewhere() -> None:
    for page in (*PAGES, ROOT / "docs" / "architecture.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_life_cycle_diagram_is_the_table() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    diagram = re.search(r"stateDiagram-v2\n(.*?)```", text, flags=re.DOTALL)
    assert diagram is not None
    drawn = set(re.findall(r"^\s*(\w+) --> (\w+)", diagram[1], flags=re.MULTILINE))
    table = {(a.value, b.value) for a, after in TRANSITIONS.items() for b in after}
    assert drawn == table


def test_rooms_in_the_architecture_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = {
        p.name for p in (ROOT / "forecaster").iterdir() if p.is_dir() and p.name != "__pycache__"
    }
    for room in rooms:
        assert f"forecaster/{room}" in text, f"{room} is missing in docs/architecture.md"


def test_generated_pages_are_up_to_date() -> None:
    assert reference.TARGET.read_text() == reference.settings_page(), "run `make docs`"


def test_bundled_sample_is_what_the_generator_makes() -> None:
    assert sample.TARGET.read_bytes() == sample.content()


def test_decisions_have_their_parts() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert pages
    for number, page in enumerate(pages, 1):
        assert page.name.startswith(f"{number:04d}-")
        text = page.read_text()
        assert "**Context.**" in text
        assert "**Decision.**" in text


def test_nothing_names_a_registry_or_this_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    forbidden = re.compile(
        r"(pypi|pythonhosted|npmjs)" + r"[.]org|--(extra-)?index-" + "url|--find-" + "links"
    )
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".gz", ".png", ".onnx") or not path.is_file():
            continue
        assert not forbidden.search(path.read_text("utf-8", errors="replace")), name
