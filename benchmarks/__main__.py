"""`make bench`: measures what can be measured here and writes it into docs/benchmarks.md.

Sections that it does not measure, because they take hours or peers, stay as they are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks import (
    dynamo_replay,
    forecast,
    forecast_accuracy,
    forecast_speed,
    m4,
    planning,
    replay,
    sizing,
    splitwise,
)
from benchmarks.peers.servers import installed

TARGET = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
TIER = ("tier", "tier_generate", "tier_start", "tier_storm", "unit_model")
HEAD = """# Benchmarks

Written by `make bench` on {cores} cores; absolute figures are of that machine, ratios carry over.
Traces: the project's shared ones; where they are absent the sections that need them are left out.
"""


def ingest() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ingest"], capture_output=True, text=True, check=False
    )
    lines = [f"| {line} |" for line in done.stdout.splitlines()]
    verdict = "" if done.returncode == 0 else "\nBelow the target in this run.\n"
    return (
        "## Ingest\n\nGunzip, parsing and database included; CPU-s is client plus server."
        " `python -m benchmarks.ingest`\n\n" + "\n".join(lines) + "\n" + verdict
    )


def renewed(page: str, head: str, measured: list[str]) -> str:
    """The page with these sections in place of those of the same title; new ones at its end.

    Examples
    --------
    >>> renewed("# Old\\n\\n## A\\n\\n1\\n\\n## B\\n\\n2\\n", "# New\\n", ["## B\\n\\n3\\n", "## C\\n\\n4\\n"])
    '# New\\n\\n## A\\n\\n1\\n\\n## B\\n\\n3\\n\\n## C\\n\\n4\\n'
    """
    kept = ["## " + each for each in page.split("\n## ")[1:]]
    sections = {each.splitlines()[0]: each.strip("\n") for each in kept}
    for text in measured:
        sections[text.splitlines()[0]] = text.strip("\n")
    return "\n\n".join([head.strip("\n"), *sections.values()]) + "\n"


def main() -> None:
    parts: list[str] = []
    if forecast.TRACES.is_dir():
        parts += [ingest(), forecast.markdown()]
        parts += [forecast_accuracy.markdown(forecast_accuracy.measure_all(os.cpu_count() or 1))]
        parts += [m4.markdown(), forecast_speed.measure(10_000)]
    else:
        print(f"no traces at {forecast.TRACES}: ingest and forecast are not measured")
    if replay.results():
        parts.append(replay.markdown())
    else:
        print("no contest was played: run `python -m benchmarks.replay` first")
    if dynamo_replay.results() and installed("dynamo"):
        parts.append(dynamo_replay.section())
    else:
        print(
            "nothing was played in Dynamo's replay: run `python -m benchmarks.dynamo_replay` first"
        )
    if splitwise.SOURCE.exists():
        parts.append(splitwise.markdown())
    parts += [sizing.markdown(), planning.markdown()]
    for name in ("kernel", "formulas", *TIER):
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}"], capture_output=True, text=True, check=True
        )
        parts.append(done.stdout)
    TARGET.write_text(renewed(TARGET.read_text(), HEAD.format(cores=os.cpu_count()), parts))
    print(TARGET.read_text())


if __name__ == "__main__":
    main()
