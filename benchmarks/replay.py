"""The contest on six cases at three leads: Tidegate against its rivals and the clairvoyants.

Every result is kept as it comes (a line of JSON in the cache folder), so that a run can be cut and
continued. ``python -m benchmarks.replay`` plays what is missing and prints the tables;
``--seeds 1 2`` plays both seeds of the composed cases, ``--only chat`` some cases.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.cases import CACHE, TRACES, Case, cases
from forecaster.capacity.tables import build_table
from forecaster.config.unit_types import load_unit_type
from forecaster.replay.contest import Court, Terms, set_scene
from forecaster.replay.trace import Trace

LEADS_S = (180.0, 600.0, 1800.0)
BARS = {180.0: (1.04, 1.08), 600.0: (1.06, 1.10), 1800.0: (1.08, 1.14)}
"""Median and worst ratio to the tide clairvoyant that is aimed at."""
POLICIES = (
    "static-peak", "smoothed", "seasonal-naive", "hpa", "mean-planner", "tidegate", "tide-clairvoyant",
)  # fmt: skip
RESULTS = CACHE / "replay.jsonl"
MODELS = Path(__file__).resolve().parents[1] / "models"


def play(case: Case, done: set[tuple[str, float]], policies: tuple[str, ...]) -> None:
    """Play the leads of a case that are missing."""
    leads = [lead for lead in LEADS_S if (case.name, lead) not in done]
    if not leads:
        return
    unit = load_unit_type(MODELS, "llama70b-h100x8")
    trace = Trace(case.log(), case.rate_scale)
    terms = Terms(unit, case.slo, leads[0], calendar=case.calendar)
    begin = time.perf_counter()
    scene = set_scene(trace, terms, lambda q, n, lengths: build_table(q, min(n, 64), lengths))
    scene_s = time.perf_counter() - begin
    kept = None
    for lead in leads:
        court = Court(replace(scene, lead_s=lead), replace(terms, lead_s=lead))
        court._kept = kept
        begin = time.perf_counter()
        result = court.play(policies).to_dict()
        kept = court._kept
        result |= {"case": case.name, "scene_s": scene_s, "seconds": time.perf_counter() - begin}
        with RESULTS.open("a") as out:
            out.write(json.dumps(result) + "\n")
        ratio = result["policies"]["tidegate"]["vs_tide_clairvoyant"]
        print(f"{case.name} {lead:.0f} s: {ratio:.3f}", file=sys.stderr, flush=True)


def results() -> list[dict[str, Any]]:
    """What was played, the newest of each case and lead."""
    if not RESULTS.exists():
        return []
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return list({(row["case"], row["lead_s"]): row for row in rows}.values())


def markdown() -> str:
    """The tables of docs/benchmarks.md."""
    rows = results()
    lines = [
        "## Replay\n",
        "![Unit-hours of three policies over the tide clairvoyant's](replay.svg)\n",
        "Unit-hours (ready, warming, draining) over the tide clairvoyant's at matched attainment 0.99,"
        " last three days scored, seen by the kernel; *live*: aiming at 0.99 without hindsight."
        " `python -m benchmarks.replay`\n",
        "| case | lead s | tidegate | smoothed | seasonal-naive | mean-planner | hpa | static peak |"
        " orders tidegate / tide / hpa | live: attainment | live: ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in sorted(rows, key=lambda row: (row["lead_s"], row["case"])):
        p = row["policies"]
        shown = ("tidegate", "smoothed", "seasonal-naive", "mean-planner", "hpa", "static-peak")
        cells = [
            f"{p[name]['vs_tide_clairvoyant']:.3f}" + ("" if p[name]["reached"] else "!")
            if name in p
            else "-"
            for name in shown
        ]
        orders = " / ".join(
            str(p[n]["actions"]) if n in p else "-" for n in ("tidegate", "tide-clairvoyant", "hpa")
        )
        live = p["tidegate"]["untuned"]
        lines.append(
            f"| {row['case']} | {row['lead_s']:.0f} | "
            + " | ".join(cells)
            + f" | {orders} | {live['attainment']:.4f} | {live['vs_tide_clairvoyant']:.3f} |"
        )
    lines.append("")
    for lead, (median, worst) in BARS.items():
        found = [
            r["policies"]["tidegate"]["vs_tide_clairvoyant"] for r in rows if r["lead_s"] == lead
        ]
        if found:
            lines.append(
                f"- lead {lead:.0f} s, {len(found)} cases: median {statistics.median(found):.3f}"
                f" (aim {median}), worst {max(found):.3f} (aim {worst})"
            )
    return "\n".join(lines) + "\n"


def picture(target: Path) -> None:
    """Draw unit-hours over the tide clairvoyant's, a panel for each lead."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    rows = results()
    names = {"tidegate": "#1f6feb", "smoothed": "#8c959f", "hpa": "#d0d7de"}
    figure, axes = plt.subplots(1, len(LEADS_S), figsize=(11, 3.2), sharey=True)
    for axis, lead in zip(axes, LEADS_S, strict=True):
        played = sorted((r for r in rows if r["lead_s"] == lead), key=lambda row: row["case"])
        for i, (name, colour) in enumerate(names.items()):
            values = [r["policies"][name]["vs_tide_clairvoyant"] - 1 for r in played]
            places = [x + 0.27 * (i - 1) for x in range(len(played))]
            axis.bar(places, values, 0.25, bottom=1.0, color=colour, label=name)
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set_xticks(range(len(played)), [r["case"].split("-")[0] for r in played], rotation=30)
        axis.set_title(f"a unit takes {lead / 60:.0f} min to warm", fontsize=10)
    axes[0].set_ylabel("unit-hours, x tide clairvoyant")
    axes[0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--policies", nargs="*", default=list(POLICIES))
    options = parser.parse_args()
    if not TRACES.is_dir():
        print(f"the real traces are not at {TRACES}", file=sys.stderr)
        return 1
    done = {(row["case"], row["lead_s"]) for row in results()}
    for case in cases(tuple(options.seeds)):
        if not options.only or any(case.name.startswith(name) for name in options.only):
            play(case, done, tuple(options.policies))
    print(markdown())
    picture(Path(__file__).resolve().parents[1] / "docs" / "replay.svg")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
