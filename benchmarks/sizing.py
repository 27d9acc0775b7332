"""Sizing tables: attainment on fresh traffic, distance from the exact answer, time; and `size` answers.

python -m benchmarks.sizing [requests of each check]
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from forecaster.capacity.answer import answered
from forecaster.capacity.kernel import Simulation
from forecaster.capacity.kernel.arrivals import chat
from forecaster.capacity.sizing import Question
from forecaster.capacity.sizing_table import SizingTable
from forecaster.capacity.tables import build_table
from forecaster.capacity.trial import outside
from forecaster.config import load_unit_type
from forecaster.domain.demand import TokenMix
from forecaster.domain.service import Slo
from forecaster.wiring.tables import Tables

MODELS = Path(__file__).resolve().parents[1] / "models"
LLAMA = load_unit_type(MODELS, "llama70b-h100x8")
REQUESTS = 1_000_000
SEED = 4_000
UNITS = (1, 4, 11, 16, 32, 64)
TARGETS = (0.99, 0.9)
BAR_POINTS = 0.3
Mix = tuple[float, float, float]


@dataclass(frozen=True)
class Case:
    """A question with the mix that fresh traffic is drawn from."""

    name: str
    slo: Slo
    mix: Mix
    dispersion: float = 1.0

    @property
    def question(self) -> Question:
        return Question(LLAMA, self.slo, TokenMix.of(*self.mix), self.dispersion)


CASES = [
    Case("1000 + 200, TTFT 2 s, TPOT 80 ms", Slo(2.0, 0.08), (1000, 200, 1.0)),
    Case("1000 + 200, TTFT 3 s, TPOT 150 ms", Slo(3.0, 0.15), (1000, 200, 1.0)),
    Case("3000 + 60, TTFT 2 s, TPOT 120 ms", Slo(2.0, 0.12), (3000, 60, 0.5)),
    Case("300 + 150, TTFT 2 s, TPOT 80 ms, dispersion 2", Slo(2.0, 0.08), (300, 150, 1.0), 2.0),
    Case("1000 + 200, whole answer 60 s", Slo(latency_p99_s=60.0), (1000, 200, 1.0)),
]


def attained(case: Case, units: int, rate: float, seed: int, count: int) -> float:
    """Share inside the SLO on traffic that no table has seen, the first minute left out."""
    random = np.random.default_rng(seed)
    trace = chat(random, rate, count, case.mix, case.dispersion)
    # the load that is judged is the one that was asked for, not what this draw came to
    trace = replace(trace, arrival_s=trace.arrival_s * (count / rate / trace.arrival_s[-1]))
    done = Simulation(LLAMA.profile, units).run(trace, last=True)
    broken, _ = outside(done, case.slo)
    return 1.0 - float(broken[done.arrival_s > 60.0].mean())


def aimed(table: SizingTable, target: float) -> SizingTable:
    asked = replace(table.question, slo=replace(table.question.slo, attainment=target))
    return replace(table, question=asked)


def fresh(case: Case, table: SizingTable, target: float, count: int) -> list[float]:
    """Attainment minus target at the table's capacity, points, for each of `UNITS`."""
    asked = aimed(table, target)
    return [
        100 * (attained(case, units, asked.capacity_rps(units), SEED + units, count) - target)
        for units in UNITS
    ]


def exact_units(case: Case, rate: float, near: int, target: float, count: int) -> int:
    """Fewest units that keep the target on fresh traffic, searched around `near`."""
    units = near
    while units > 1 and attained(case, units - 1, rate, SEED - 1, count) >= target:
        units -= 1
    while attained(case, units, rate, SEED - 1, count) < target:
        units += 1
    return units


def off_by(case: Case, table: SizingTable, count: int) -> list[int]:
    """Units of the table minus exact ones, at loads halfway between what two fleets carry."""
    caps = table.capacities(64)
    rates = [float((caps[k - 2] + caps[k - 1]) / 2) for k in (2, 5, 11, 20, 33, 48, 64)]
    return [
        int(table.need(rate))
        - exact_units(case, rate, int(table.need(rate)), table.question.slo.attainment, count)
        for rate in rates
    ]


def timed() -> tuple[float, float, float, float]:
    """Seconds: a table of 64 units (wall and CPU), an answer without and with a kept table."""
    case = CASES[0]
    build_table(case.question, 1)
    wall, cpu = time.perf_counter(), time.process_time()
    build_table(case.question, 64)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    with tempfile.TemporaryDirectory() as folder:
        kept = Tables(Path(folder))
        began = time.perf_counter()
        answered(kept.for_rate(case.question, 40.0), 40.0)
        cold = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(100):
            answered(kept.for_rate(case.question, 40.0), 40.0)
        warm = (time.perf_counter() - began) / 100
    return wall, cpu, cold, warm


def markdown(count: int = REQUESTS) -> str:
    wall, cpu, cold, warm = timed()
    lines = [
        "## Sizing tables",
        "",
        "llama70b-h100x8. Attainment minus target, in points, when a fleet gets what its table says"
        f" it carries: {count:,} requests of other seeds at exactly that load. Bar: ±{BAR_POINTS}."
        " `near full`: the fleet carries more than 97 % of what it can complete at all there, where"
        " half a per cent of load doubles the violations. Last column: units by the table minus the"
        " fewest that keep 0.99 on fresh traffic, at seven loads up to 64 units (bar: 1)."
        " `python -m benchmarks.sizing`",
        "",
        "| case | target | " + " | ".join(f"{u}" for u in UNITS) + " | near full | units off |",
        "| --- | --- |" + " --- |" * (len(UNITS) + 2),
    ]
    for case in CASES:
        table = build_table(case.question, 64)
        off = off_by(case, table, count // 4)
        for target in TARGETS:
            asked = aimed(table, target)
            full = [u for u in UNITS if asked.capacity_rps(u) > 0.97 * u * table.saturation_rps]
            cells = " | ".join(f"{points:+.2f}" for points in fresh(case, table, target, count))
            near = ", ".join(map(str, full)) or "-"
            last = " ".join(f"{d:+d}" for d in off) if target == TARGETS[0] else ""
            lines.append(f"| {case.name} | {target} | {cells} | {near} | {last} |")
    lines += [
        "",
        f"A table of 64 units is built in {wall:.2f} s ({cpu:.2f} s of CPU); a `size` answer takes"
        f" {cold:.2f} s without a kept table (bar: 3 s) and {1000 * warm:.2f} ms with one (bar: 5 ms).",
        "",
        "| requests/s | units | utilisation | TTFT p50 / p99 | TPOT p50 / p99 | binds | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    table = build_table(CASES[0].question, 64)
    for rate in (5.0, 20.0, 80.0):
        found = answered(table, rate)
        ttft = f"{found.ttft_s[0]:.3f} / {found.ttft_s[1]:.3f} s"
        tpot = f"{1000 * found.tpot_s[0]:.1f} / {1000 * found.tpot_s[1]:.1f} ms"
        fewer = found.reason.split("; ", 1)[1]
        lines.append(
            f"| {rate:g} | {found.units} | {found.utilisation:.0%} | {ttft} | {tpot}"
            f" | {found.binding.value} | {fewer} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(int(float(sys.argv[1])) if len(sys.argv) > 1 else REQUESTS))
