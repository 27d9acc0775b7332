"""Docs are true: every block runs or is checked, diagrams match the code, generated pages are up to date."""

from __future__ import annotations

import configparser
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from actuators.onnx_tier.otlp import NAMES
from benchmarks import reference, reference_pages, sample
from forecaster.cli import MODULES, app, repeated
from forecaster.config import load_settings
from forecaster.config.settings import ApiSettings
from forecaster.domain.lifecycle import TRANSITIONS
from forecaster.store import Store
from forecaster.wiring.running import serve_api
from tests.integration.cli_runner import Runner
from tests.integration.daemon_world import world
from tests.integration.doc_blocks import PAGES, ROOT, Block, blocks, commands, lines

TREATMENTS = {
    "bash": "runs, in the order of README, quickstart and the other pages",
    "sh": "is parsed: what it calls of ours exists and takes these options",
    "python": "runs against an API",
    "toml": "is loaded as settings",
    "yaml": "is parsed",
    "json": "is parsed",
    "ini": "is read as a systemd unit, its commands are parsed",
    "cron": "is read as a crontab, its commands are parsed",
    "dockerfile": "is read instruction by instruction, its command is parsed",
    "mermaid": "begins as a diagram does; the life cycle is compared with the table",
}
SERVICE = '[[service]]\nname = "chat"\nunit = "tiny-llama"\n'
INSTRUCTIONS = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "VOLUME", "EXPOSE", "HEALTHCHECK",
                "ENTRYPOINT", "CMD"}  # fmt: skip


def named(*languages: str) -> Any:
    return pytest.mark.parametrize("block", blocks(*languages), ids=str)


def test_every_block_has_a_treatment() -> None:
    """A block without a language, or in one that nothing checks, is not written."""
    undeclared = [str(each) for each in blocks() if each.language not in TREATMENTS]
    assert undeclared == []
    fences = sum(page.read_text("utf-8").count("\n```") for page in PAGES)
    assert fences == 2 * len(blocks()), "a fence that is indented or never closed"


@pytest.mark.usefixtures("cli")
def test_bash_blocks_run_in_order(tmp_path: Path) -> None:
    pages = sorted(
        {each.page for each in blocks("bash")}, key=lambda page: "quickstart" not in page
    )
    asked = [line for page in pages for each in blocks("bash", page=page) for line in lines(each)]
    assert len(asked) >= 6
    settings = tmp_path / "quick.toml"
    settings.write_text('[retrain]\nmembers = ["profile", "ridge"]\n')
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TIDEGATE_CONFIG": str(settings)}
    for command in asked:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


@named("sh")
def test_shell_blocks_call_what_exists(block: Block) -> None:
    checked = sum(understood(words) for line in lines(block) for words in commands(line))
    assert checked or "export" in block.text, f"{block}: nothing of ours is in it"


def understood(words: list[str]) -> int:
    """Parse a command of ours as the command line would; others' are others' business."""
    if words[:1] == ["make"]:
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), words
    elif words and Path(words[0]).name == "tidegate":
        for module in MODULES:
            importlib.import_module(f"forecaster.cli.{module}")
        group: Any = typer.main.get_command(app)
        context = group.make_context("tidegate", ["--help"], resilient_parsing=True)
        command = group.get_command(context, words[1])
        assert command is not None, f"there is no command {words[1]!r}"
        command.make_context(words[1], repeated(words[1:])[1:], parent=context)
    else:
        return int(any((ROOT / word).exists() for word in words if word.startswith("deploy/")))
    return 1


def test_python_blocks_run(store: Store, tmp_path: Path) -> None:
    found = world(store, tmp_path)
    found.step()
    with serve_api(
        found.settings.model_copy(update={"api": ApiSettings(port=0)}), found.board
    ) as url:
        # those of the batches ask a tier: test_tier_batches.py runs them
        for block in (each for each in blocks("python") if each.page != "docs/batches.md"):
            assert "http://127.0.0.1:8780" in block.text
            text = block.text.replace("http://127.0.0.1:8780", url)
            exec(compile(text, str(block), "exec"), {})
    assert [row.name for row in store.switches(10)] == ["pin", "pin"]


@named("toml")
def test_settings_in_the_docs_load(block: Block, cli: Runner, tmp_path: Path) -> None:
    whole = block.text if "[[service]]" in block.text else SERVICE + block.text
    file = tmp_path / "tidegate.toml"
    file.write_text(whole)
    assert load_settings(file).service
    assert cli("config", "--config", file).code == 0


@named("yaml")
def test_manifests_are_yaml(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@named("json")
def test_documents_are_json(block: Block) -> None:
    assert json.loads(block.text)


@named("ini")
def test_systemd_units_start_what_exists(block: Block) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.text)
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    for key in ("ExecStart", "ExecStartPre"):
        for words in commands(unit["Service"].get(key, "")):
            assert understood(words)


@named("cron")
def test_cron_lines_start_what_exists(block: Block) -> None:
    for line in lines(block):
        *when, command = line.split(None, 5)
        assert all(re.fullmatch(r"[\d*/,-]+", each) for each in when), line
        plain = re.sub(r"\$\(.*?\)", "2026-01", command)
        assert sum(understood(words) for words in commands(plain)) == 1


@named("dockerfile")
def test_the_container_is_built_from_what_is_here(block: Block) -> None:
    steps = dict(line.split(" ", 1) for line in lines(block))
    assert steps.keys() <= INSTRUCTIONS
    for file in re.findall(r"[\w-]+\.lock", block.text):
        assert (ROOT / file).exists()
    assert understood([*json.loads(steps["ENTRYPOINT"]), *json.loads(steps["CMD"])])


@named("mermaid")
def test_diagrams_begin_as_diagrams(block: Block) -> None:
    first = block.text.split()[0]
    assert first in ("flowchart", "stateDiagram-v2", "sequenceDiagram"), first
    assert block.text.count("[") == block.text.count("]")


def test_commands_named_in_the_text_exist(cli: Runner) -> None:
    called: set[str] = set()
    for page in PAGES:
        called |= set(re.findall(r"`tidegate ([a-z]+)\b", page.read_text("utf-8")))
    for command in sorted(called):
        assert cli(command, "--help").code == 0, command


def anchors(page: Path) -> Iterator[str]:
    for heading in re.findall(r"^#+ (.+)$", page.read_text("utf-8"), flags=re.MULTILINE):
        yield re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
            if "://" in target:
                continue
            file, _, anchor = target.partition("#")
            there = (page.parent / file) if file else page
            assert there.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in set(anchors(there)), f"{page.name}: {target}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
        todo += [(page.parent / each).resolve() for each in targets if "://" not in each]
    lost = [page.name for page in PAGES if page not in reached and "decisions" not in page.parts]
    assert lost == []


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


def test_glossary_is_in_order_and_says_each_word_once() -> None:
    words = re.findall(
        r"^\| \*\*(.+?)\*\*", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE
    )
    assert len(words) > 30
    assert words == sorted(set(words), key=str.lower)


@pytest.mark.parametrize("name", reference.PAGES)
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (reference.FOLDER / name).read_text() == reference.PAGES[name](), "run `make docs`"


def test_every_metric_of_the_tier_has_a_name_in_otlp() -> None:
    assert {name.removesuffix("_total") for name in reference_pages.tier_metrics()} == set(NAMES)


def test_every_generated_page_is_made_by_its_command() -> None:
    assert {page.name for page in reference.FOLDER.glob("*.md")} == set(reference.PAGES)


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
