"""A week of three services on one quota: who held the GPUs, who was refused, what batch work cost.

Real rates and lengths (``../shared/traces``), each log moved by whole weeks to one end, Tidegate live and
without hindsight. ``python -m benchmarks.quota`` plays the sizes of ``--units``, and the eight units once
more with batch work; it prints the tables and draws ``docs/quota.svg``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.cases import CACHE, CHAT, Case, cases
from forecaster.cli.quota_plot import plot_quota
from forecaster.config import Settings
from forecaster.config.settings import QuotaSettings, ServiceSettings, SloSettings
from forecaster.domain.demand import RequestBatch
from forecaster.replay.together import Together
from forecaster.wiring.quota_replay import QuotaOrder, QuotaPlay, play_quota
from forecaster.wiring.tables import Tables

ROOT = Path(__file__).resolve().parents[1]
SERVICES = {"wc98-1": (12.0, 2), "azure-1": (10.0, 1), "appserver-1": (10.0, 0)}
"""Copies of the log, and priority."""
UNIT, UNIT_GPUS = "llama70b-h100x8", 8
WEEK_S = 7 * 86_400.0
BATCH_SHARE, DEADLINE_S = 0.05, 86_400.0
"""Batch requests over the first service's own, handed in at any hour, and until when they may wait."""
RESULTS = CACHE / "quota.json"


def settings(folder: Path) -> Settings:
    """Three services, one quota; the unit holds eight GPUs."""
    models = folder / "models" / UNIT
    models.mkdir(parents=True)
    text = (ROOT / "models" / UNIT / "unit.toml").read_text()
    (models / "unit.toml").write_text(text.replace("[profile]", f"gpus = {UNIT_GPUS}\n\n[profile]"))
    slo = SloSettings(
        ttft_p99_s=CHAT.ttft_p99_s, tpot_p99_s=CHAT.tpot_p99_s, attainment=CHAT.attainment
    )
    return Settings(
        models=folder / "models",
        quota=(QuotaSettings(name="h100", gpus=8 * UNIT_GPUS),),
        service=tuple(
            ServiceSettings(name=name, unit=UNIT, slo=slo, quota="h100", priority=priority)
            for name, (_, priority) in SERVICES.items()
        ),
    )


def logs() -> dict[str, RequestBatch]:
    """Each log copied to its scale and moved by whole weeks, so that all end in the same week."""
    known: dict[str, Case] = {each.name: each for each in cases((1,))}
    found = {}
    for name, (scale, _) in SERVICES.items():
        log = copied(known[name].log(), int(scale), name)
        found[name] = log
    last = max(float(log.arrival_s[-1]) for log in found.values())
    return {name: moved(log, last) for name, log in found.items()}


def copied(log: RequestBatch, copies: int, name: str) -> RequestBatch:
    """The log so many times over, each request moved by up to two minutes."""
    rng = np.random.default_rng([copies, len(name)])
    at_s = np.tile(log.arrival_s, copies) + rng.uniform(-120, 120, copies * len(log))
    order = np.argsort(at_s, kind="stable")
    tiled = (np.tile(each, copies)[order] for each in (log.prompt_tokens, log.output_tokens))
    return RequestBatch(name, at_s[order], *tiled)


def moved(log: RequestBatch, last_s: float) -> RequestBatch:
    """The log moved by whole weeks to end within a week before `last_s`, or at it."""
    weeks = np.floor((last_s - log.arrival_s[-1]) / WEEK_S)
    return replace(log, arrival_s=log.arrival_s + weeks * WEEK_S)


def cut_to_common_days(found: dict[str, RequestBatch]) -> dict[str, RequestBatch]:
    """All logs up to the earliest end."""
    until_s = min(float(log.arrival_s[-1]) for log in found.values())
    cut = {}
    for name, log in found.items():
        rows = slice(0, int(np.searchsorted(log.arrival_s, until_s)))
        cut[name] = RequestBatch(
            name, log.arrival_s[rows], log.prompt_tokens[rows], log.output_tokens[rows]
        )
    return cut


def waiting(log: RequestBatch) -> RequestBatch:
    """Batch requests of the scored week, at any hour, with the service's own lengths."""
    rng = np.random.default_rng(7)
    end_s = float(log.arrival_s[-1])
    week = log.arrival_s >= end_s - WEEK_S
    count = int(BATCH_SHARE * week.sum())
    at_s = np.sort(end_s - WEEK_S + rng.uniform(0, WEEK_S - DEADLINE_S, count))
    rows = rng.integers(0, len(log), count)
    return RequestBatch(log.service, at_s, log.prompt_tokens[rows], log.output_tokens[rows])


def row(play: Together, label: str) -> str:
    parts = {each.name: each for each in play.parts}
    cells = " | ".join(
        f"{100 * parts[name].score.attainment:.2f} % ({parts[name].refused_s / 3600:.0f})"
        for name in SERVICES
    )
    held = sum(each.unit_s for each in play.parts) / 3600
    late = sum(each.batch_late for each in play.parts)
    batch = sum(each.batch for each in play.parts)
    done = f"{batch - late:,} of {batch:,}" if batch else ""
    return (
        f"| {label} | {play.gpus.max()} | {cells} | {held:,.0f} |"
        f" {play.vs_clairvoyant:.3f} | {done} |"
    )


def table(found: QuotaPlay, batch: QuotaPlay) -> list[str]:
    names = " | ".join(f"{name}, priority {each[1]}" for name, each in SERVICES.items())
    lines = [
        f"| quota, GPUs | most held | {names} | unit-hours | over clairvoyants | batch in time |",
        "| --- " * (7 + len(SERVICES) - 1) + "|",
    ]
    lines += [row(play, str(play.quota_gpus)) for play in found.plays]
    lines += [row(play, f"{play.quota_gpus} and batch") for play in batch.plays]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, nargs="*", default=[6, 7, 8, 10, 13])
    asked = parser.parse_args()
    begin = time.perf_counter()

    def told(name: str, share: float) -> None:
        print(f"\r{share:5.0%} {name:40}", end="", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        chosen, tables = settings(Path(folder)), Tables(CACHE / "tables")
        requests = cut_to_common_days(logs())
        order = QuotaOrder(chosen.quota[0].quota(), tuple(8 * n for n in asked.units))
        found = play_quota(requests, chosen, order, tables, progress=told)
        first = next(iter(SERVICES))
        batch = {first: (waiting(requests[first]), DEADLINE_S)}
        eight = replace(order, gpus=(64,))
        filled = play_quota(requests, chosen, eight, tables, batch, told)
        plot_quota(ROOT / "docs" / "quota.svg", filled)
    print(f"\napart: {found.apart_gpus} GPUs; {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    print("\n".join(table(found, filled)))
    plays = [each.to_dict() for each in (*found.plays, *filled.plays)]
    RESULTS.write_text(json.dumps({"apart_gpus": found.apart_gpus, "plays": plays}, indent=1))


if __name__ == "__main__":
    main()
