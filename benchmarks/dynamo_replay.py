"""Tidegate's plugin in Dynamo's own CPU replay against its planner at its best, on traces A, B and C.

python -m benchmarks.dynamo_replay [--only A B] [--leads 60 180] [--policies "d43 constant" tidegate-0.975] [--seeds 1 2]

Installs the peer's environment (1.5 GB) where it is not there, and takes up to 4 GB of memory. Every run is kept as it
comes (a line of JSON in the cache folder), so that a job can be cut and continued; `--again` repeats what was run. Prints the section of docs/benchmarks.md; the exit code says whether every bar was met.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from dataclasses import asdict, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import dynamo_unit as unit
from benchmarks.cases import CACHE
from benchmarks.dynamo_scores import (
    CONSTANT,
    HAND_TUNED,
    HYBRID,
    OURS,
    Row,
    kind_and_cut,
    markdown,
    scored,
    verdicts,
)
from benchmarks.dynamo_steering import MAX_UNITS, SERVICE, Steering, Terms, database
from benchmarks.dynamo_traces import NAMES, STEP_S, Case, case, lengths, write
from benchmarks.peers.servers import python_of
from forecaster.capacity.sizing import Question, rounded
from forecaster.capacity.sizing_table import SizingTable
from forecaster.config.settings import SloSettings
from forecaster.demand import offered_work_s
from forecaster.planning.course import worth
from forecaster.planning.layers import violation_price_s
from forecaster.store import EmbeddedServer
from forecaster.wiring.sizer import of_mix
from forecaster.wiring.tables import Tables

RESULTS = CACHE / "dynamo_replay.jsonl"
LEADS_S = {"A": (60.0, 180.0, 600.0), "B": (60.0, 180.0, 600.0), "C": (180.0,)}
TARGETS = (0.975, 0.95)
POLICIES = (HAND_TUNED, HYBRID, *(f"{OURS}{target:g}" for target in TARGETS))
GPUS = 4
"""Of a unit."""
UNIT_RPS = 1.2
"""Every policy starts with the fleet that carries the first rate at this rate a unit."""
PLANNER = {
    "mode": "agg", "backend": "vllm", "optimization_target": "sla", "max_gpu_budget": -1,
    "ttft_ms": unit.TTFT_S * 1e3, "itl_ms": unit.TPOT_S * 1e3,
    "ais_perf_model": {"roles": {"aggregated": unit.PERFORMANCE}},
    # simulated time stands still while somebody thinks, however busy the machine is
    "scheduling": {"tick_max_duration_seconds": 3600.0},
}  # fmt: skip
FORECASTS_ONLY = {"enable_throughput_scaling": True, "enable_load_scaling": False}
KINDS: dict[str, dict[str, Any]] = {
    CONSTANT: FORECASTS_ONLY | {"load_predictor": "constant"},
    HYBRID: FORECASTS_ONLY | {"enable_load_scaling": True, "load_predictor": "arima"},
}


def planner(policy: str) -> dict[str, Any]:
    """Configuration of the peer's planner under a policy, see `kind_and_cut`; ours leaves the forecast to the plugin."""
    if policy.startswith(OURS):
        return PLANNER | FORECASTS_ONLY
    kind, cut_ms = kind_and_cut(policy)
    return PLANNER | KINDS[kind] | ({} if cut_ms is None else {"itl_ms": cut_ms})


@cache
def measured_unit() -> tuple[unit.Fit, tuple[float, ...], float, list[unit.Steady]]:
    """The fit of the simulated unit, the evidence on its table, what is believed of it, and on what."""
    fit = unit.fitted()
    table = built(rounded(unit.question(unit.unit_type(fit.profile, 60.0), TARGETS[0])), 64)
    belief, rows = unit.held_to(table)
    return fit, belief.evidence, belief.factor, rows


@cache
def kept_tables() -> Tables:
    return Tables(CACHE / "dynamo_tables")


def built(asked: Question, max_units: int) -> SizingTable:
    """The table of a question, on the lengths of past requests."""
    past = of_mix(lengths(unit.LENGTHS, [1, 4]), asked.mix)
    return kept_tables().table(asked, max_units, past, service=SERVICE)


def run(found: Case, trace: Path, startup_s: float, policy: str, server: EmbeddedServer) -> Row:
    """Play one policy on a trace that was written."""
    ours = policy.startswith(OURS)
    asked: dict[str, Any] = {
        "trace": trace,
        "startup_s": startup_s,
        "workers": max(math.ceil(found.rate_rps[0] / UNIT_RPS), 1),
        "planner": planner(policy),
    }
    if not ours:
        return scored(found.name, startup_s, policy, unit.simulate(asked), found.seed)
    fit, evidence, _, _ = measured_unit()
    slo = SloSettings(
        ttft_p99_s=unit.TTFT_S, tpot_p99_s=unit.TPOT_S, attainment=float(policy.removeprefix(OURS))
    )
    terms = Terms(
        unit.unit_type(fit.profile, startup_s), slo, lambda _, question, n: built(question, n),
        evidence,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as home, database(server) as store:
        steering = Steering(found, terms, store, Path(home))
        done = unit.simulate(asked | {"ask_s": steering.ask_s}, steering.answer)
    return scored(found.name, startup_s, policy, done, found.seed)


def results() -> list[Row]:
    """All runs, the oldest first."""
    if not RESULTS.exists():
        return []
    return [Row(**json.loads(line)) for line in RESULTS.read_text().splitlines()]


def play(
    names: list[str], leads: list[float], policies: list[str], seeds: list[int], again: bool
) -> None:
    """Run what is missing, one at a time, on one trace after the other."""
    done = {(row.trace, row.seed, row.startup_s, row.policy) for row in results()}
    folder = Path(tempfile.mkdtemp(prefix="tidegate-dynamo-"))
    folder.chmod(0o755)
    with EmbeddedServer(folder / "home") as server:
        for name, seed in product(names, seeds):
            wanted = [
                (lead, policy)
                for lead in LEADS_S[name] if not leads or lead in leads
                for policy in policies if again or (name, seed, lead, policy) not in done
            ]  # fmt: skip
            if not wanted:
                continue
            found, trace = case(name, seed), folder / f"{name}.jsonl"
            arrival_s = found.arrivals_s()
            write(trace, arrival_s, *found.lengths(arrival_s.size))
            for lead, policy in wanted:
                row = run(found, trace, lead, policy, server)
                RESULTS.parent.mkdir(parents=True, exist_ok=True)
                with RESULTS.open("a") as out:
                    out.write(json.dumps(asdict(row)) + "\n")
                print(replace(row, targets=[]), file=sys.stderr, flush=True)
            trace.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(NAMES))
    parser.add_argument("--leads", nargs="*", type=float, default=[])
    parser.add_argument("--policies", nargs="*", default=list(POLICIES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    try:
        for policy in options.policies:
            planner(policy)
    except ValueError as error:
        parser.error(str(error))
    python_of("dynamo")
    play(options.only, options.leads, options.policies, options.seeds, options.again)
    print(section())
    return 0 if all(each.met for each in verdicts(results())) else 1


def section() -> str:
    """The section of docs/benchmarks.md on what was run."""
    fit, _, believed, steady = measured_unit()
    least = {
        target: {name: least_gpu_hours(case(name), target) for name in NAMES} for target in TARGETS
    }
    return markdown(results(), least, (fit, believed, steady))


def least_gpu_hours(found: Case, target: float) -> float:
    """GPU-hours that keep a target by the table, where the rates are known minutes before."""
    asked = unit.question(unit.unit_type(measured_unit()[0].profile, 0.0), target)
    table = built(rounded(asked), MAX_UNITS)
    profile = asked.unit.profile
    work = offered_work_s(asked.mix, profile) / offered_work_s(table.question.mix, profile)
    rate_rps = work * found.rate_rps.reshape(-1, round(60.0 / STEP_S)).mean(axis=1)
    shares = [table.violation_share(n, rate_rps) for n in range(1, MAX_UNITS + 1)]
    outside_rps = np.stack([rate_rps, *(rate_rps * share for share in shares)], axis=1)
    price_s = violation_price_s(outside_rps, outside_rps, rate_rps, 1 - target)
    units = worth(outside_rps, price_s * (1 + 1e-9))
    return float(units.mean() * GPUS * found.seconds / 3600)


if __name__ == "__main__":
    raise SystemExit(main())
