"""Prefill and decode units: sized together, and on the real tier beside as many units that do both.

The table's word is held to fresh traffic on the kernel, and its units to those of one pool under the same
SLO. Then one tier serves two services on as many units of the same type, one colocated and one in two
pools: the same requests at the same moments, turn by turn, so that a slow moment of the machine meets
both, and the ratio between them is held to the kernel's.

python -m benchmarks.disaggregated [requests of each check, 0 for none] [requests of each turn] [compute share]
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np

from actuators.onnx_tier.client import OnnxTierActuator
from actuators.onnx_tier.demo_models import build_demo_models
from actuators.onnx_tier.handover_profile import measure_handover
from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.profiler import measure
from actuators.onnx_tier.spec import TierService, TierSpec
from benchmarks.tier_load import play, post
from benchmarks.unit_model import WARM, at_pace, lengths, quantiles
from forecaster.capacity import generative
from forecaster.capacity.generative import Load
from forecaster.capacity.kernel import simulate, simulate_disaggregated
from forecaster.capacity.kernel.arrivals import chat
from forecaster.capacity.pair_table import build_pair_table
from forecaster.capacity.sizing import Question
from forecaster.capacity.tables import build_table
from forecaster.capacity.trial import outside
from forecaster.config import load_unit_type
from forecaster.domain.demand import RequestBatch, TokenMix
from forecaster.domain.pools import PAIR, Pool, pool_service
from forecaster.domain.profile import GenerativeProfile, Pair, UnitType
from forecaster.domain.service import Slo
from forecaster.domain.units import RequestRecord

MODELS = Path(__file__).resolve().parents[1] / "models"
TARGET = 0.99
FLEETS = (2, 3, 5, 8, 12, 16)
CASES = (
    ("1000 + 200, TTFT 1 s, TPOT 60 ms", Slo(1.0, 0.06), (1000.0, 200.0, 1.0)),
    ("3000 + 60, TTFT 2 s, TPOT 60 ms", Slo(2.0, 0.06), (3000.0, 60.0, 0.5)),
    ("1000 + 200, TTFT 2 s, TPOT 150 ms", Slo(2.0, 0.15), (1000.0, 200.0, 1.0)),
)
LOADS = (0.25, 0.4)
TURNS = 3
PROMPT, OUTPUT, LONGEST = 160, 24, 500
LESS = 0.98
"""Of what is carried: near the most that a pool completes, a little less load is a great deal better."""
TOGETHER, APART = "together", "apart"


@dataclass(frozen=True)
class Sized:
    """One question: what the table says of fleets, and what fresh traffic makes of it."""

    name: str
    rows: tuple[tuple[int, int, int, float, float, float, str], ...]
    needs: tuple[tuple[float, int, int], ...]


def sized(name: str, slo: Slo, mix: tuple[float, float, float], count: int) -> Sized:
    """Build both tables of a question and play fresh traffic at what the pairs are said to carry."""
    both = load_unit_type(MODELS, "llama70b-pd")
    assert both.pair is not None
    question = Question(both, replace(slo, attainment=TARGET), TokenMix.of(*mix))
    table = build_pair_table(question, FLEETS[-1])
    alone = build_table(replace(question, unit=both.pair.prefill), 4 * FLEETS[-1])
    rows = []
    for units in FLEETS:
        rate, pools = table.capacity_rps(units), table.split.of(units)
        rng = np.random.default_rng(4_000 + units)
        trace = chat(rng, rate, count, mix)
        trace = replace(trace, arrival_s=trace.arrival_s * (count / rate / trace.arrival_s[-1]))
        counts = (pools[Pool.PREFILL], pools[Pool.DECODE])
        shares = []
        for load in (1.0, LESS):
            slower = replace(trace, arrival_s=trace.arrival_s / load)
            broken, _ = outside(simulate_disaggregated(both.pair.profile, slower, counts), slo)
            shares.append(float(broken.mean()))
        rows.append((units, *counts, rate, *shares, table.binding(units).value))
    needs = tuple(
        (rate, units, int(alone.need(rate, clipped=True)))
        for units, rate in ((row[0], 0.97 * row[3]) for row in rows[1:])
    )
    return Sized(name, tuple(rows), needs)


@dataclass(frozen=True)
class Played:
    """One load on the real tier: p50 and p99 of TTFT and TPOT of both services, ms, and by the kernel."""

    rho: float
    rate_rps: float
    requests: int
    together: np.ndarray
    apart: np.ndarray
    kernel: np.ndarray
    kernel_at_pace: np.ndarray
    paces: tuple[float, ...]


def trace_of(rate_rps: float, count: int, seed: int) -> RequestBatch:
    """Poisson arrivals of lognormal lengths."""
    rng = np.random.default_rng(seed)
    at_s = np.cumsum(rng.exponential(1 / rate_rps, count))
    prompt, output = lengths(rng, PROMPT, count, LONGEST), lengths(rng, OUTPUT, count, 96)
    return RequestBatch("chat", at_s, prompt.astype(np.int64), output.astype(np.int64))


def send(url: str, service: str, trace: RequestBatch, seed: int) -> None:
    """Play a trace, each prompt unlike all others."""
    letters = np.random.default_rng([seed, 1]).integers(97, 123, (len(trace), LONGEST), np.uint8)
    requests = [
        post(
            "/v1/completions",
            {
                "model": service,
                "prompt": letters[i, : trace.prompt_tokens[i]].tobytes().decode(),
                "max_tokens": int(trace.output_tokens[i]),
            },
        )
        for i in range(len(trace))
    ]
    play(url, requests, trace.arrival_s)


def counted(url: str) -> dict[str, np.ndarray]:
    """Seconds of steps so far of each lane, as they were and as profiled."""
    time.sleep(1.0)  # the heartbeat that tells the last of them
    text = httpx.get(f"{url}/metrics").text
    lanes = (TOGETHER, *(pool_service(APART, pool) for pool in PAIR))
    return {
        lane: np.array(
            [
                float(re.search(rf'^tidegate_unit_{kind}_seconds_total.*"{lane}"}} (\S+)$', text, re.M)[1])  # type: ignore[index]
                for kind in ("busy", "profiled")
            ]
        )
        for lane in lanes
    }  # fmt: skip


def paced(unit: UnitType, pair: Pair, paces: dict[str, float]) -> tuple[UnitType, Pair]:
    """Both kinds of units as fast as they were."""
    read, generate = (paces[pool_service(APART, pool)] for pool in PAIR)
    return at_pace(unit, paces[TOGETHER]), replace(
        pair, prefill=at_pace(pair.prefill, read), decode=at_pace(pair.decode, generate)
    )


def by_kernel(unit: UnitType, pair: Pair, trace: RequestBatch) -> np.ndarray:
    """Quantiles in two pools over those of as many units that do both, by the kernel."""
    apart = simulate_disaggregated(pair.profile, trace, (1, 1))
    together = simulate(unit.profile, trace, 2)
    return np.asarray(
        quantiles(apart.ttft_s[WARM:], apart.tpot_s[WARM:])
        / quantiles(together.ttft_s[WARM:], together.tpot_s[WARM:])
    )


def on_the_tier(count: int, share: float) -> tuple[Pair, list[Played], dict[str, float]]:
    """Two services on two units each, in turns."""
    build_demo_models(MODELS)
    declared = replace(load_unit_type(MODELS, "tiny-llama"), compute_share=share)
    model = MODELS / "tiny-llama" / declared.model_file
    unit = replace(declared, profile=measure(declared, model, 6.0).profile)
    assert isinstance(unit.profile, GenerativeProfile)
    pair = Pair(unit, unit, *measure_handover(unit, model))
    duo = UnitType("pair", pair.profile.together, pair=pair)
    mix = TokenMix.of(PROMPT, OUTPUT, 0.5)
    full_rps = 2 / generative.mean_state(unit.profile, Load(1.0, 1, mix)).rho
    played = []
    with tempfile.TemporaryDirectory() as folder:
        services = (
            TierService(TOGETHER, unit, model, queue_limit=10_000),
            TierService(APART, duo, model, queue_limit=10_000, decode_path=model),
        )
        spec = TierSpec(Path(folder), services)
        with start_tier(spec, Path(folder) / "log") as tier, tier.actuator() as actuator:
            order(actuator)
            for rho in LOADS:
                seq = actuator.stats()["requests_last"]
                before, traces = counted(tier.url), []
                for turn in range(TURNS):
                    trace = trace_of(rho * full_rps, count, seed=turn)
                    traces.append(trace)
                    names = (TOGETHER, APART) if turn % 2 else (APART, TOGETHER)
                    for name in names:
                        send(tier.url, name, trace, seed=turn)
                records = collected(actuator, seq, 2 * TURNS * count)
                spent = {lane: found - before[lane] for lane, found in counted(tier.url).items()}
                paces = {lane: float(found[0] / found[1]) for lane, found in spent.items()}
                kinds = ((unit, pair), paced(unit, pair, paces))
                kernel = [
                    np.mean([by_kernel(*kind, each) for each in traces], axis=0) for kind in kinds
                ]
                measured = {
                    name: 1e3
                    * quantiles(
                        (r.ttft_s for r in records if r.service == name),
                        (r.tpot_s for r in records if r.service == name),
                    )
                    for name in (TOGETHER, APART)
                }
                played.append(
                    Played(
                        rho,
                        rho * full_rps,
                        TURNS * count,
                        measured[TOGETHER],
                        measured[APART],
                        *kernel,
                        tuple(paces.values()),
                    )
                )
            told = actuator.stats()["handovers"]
    handed = {
        "count": told["count"][APART],
        "kb": told["cache_bytes"][APART] / told["count"][APART] / 1e3,
        "wait_ms": 1e3 * told["wait_s"][APART] / told["taken"][APART],
    }
    return pair, played, handed


def order(actuator: OnnxTierActuator) -> None:
    """Two units for one service, one of each pool for the other."""
    wanted = {TOGETHER: 2, **{pool_service(APART, pool): 1 for pool in PAIR}}
    for name, units in wanted.items():
        actuator.prewarm(name, units, reason="benchmark", order_key=name)
    while any(actuator.observe(name).ready < units for name, units in wanted.items()):
        time.sleep(0.05)


def collected(actuator: OnnxTierActuator, seq: int, count: int) -> list[RequestRecord]:
    """The next `count` records."""
    records: list[RequestRecord] = []
    while len(records) < count:
        records += actuator.requests_after(seq)
        seq = records[-1].seq if records else seq
        time.sleep(0.05)
    assert all(each.status == 200 for each in records)
    return records


def report(checks: int, count: int, share: float) -> str:
    """What docs/disaggregated.md quotes."""
    lines = [f"`python -m benchmarks.disaggregated {checks} {count} {share:g}`", ""]
    for found in (sized(*case, checks) for case in CASES if checks):
        lines += [
            f"**{found.name}**, target {TARGET:.0%}:", "",
            f"| units | prefill + decode | carry, requests/s | outside on fresh traffic | at {LESS:.0%} of it | binds |",
            "| ---: | ---: | ---: | ---: | ---: | --- |",
        ]  # fmt: skip
        for units, read, generate, rate, at, below, binding in found.rows:
            shares = f"{at:.2%} | {below:.2%}"
            lines.append(f"| {units} | {read} + {generate} | {rate:.2f} | {shares} | {binding} |")
        said = ", ".join(f"{rate:.3g}/s: {two} | {one}" for rate, two, one in found.needs)
        lines += ["", f"Units in two pools | in one, for the same load: {said}.", ""]
    pair, played, handed = on_the_tier(count, share)
    lines += [
        f"tiny-llama at compute share {share:g}, 2 units that do both against 1 + 1;"
        f" {PROMPT} + {OUTPUT} tokens, {TURNS} turns of {count:,} requests for each service and load."
        f" Hand-overs: {handed['count']:,} of {handed['kb']:.0f} kB on average,"
        f" {handed['wait_ms']:.1f} ms from the first token to the second (a step of the decode unit included);"
        f" measured alone {1e3 * pair.handover_s:.2f} ms + {1e6 * pair.handover_per_token_s:.1f} µs a token.",
        "",
        "| ρ | requests/s | | TTFT p50 | TTFT p99 | TPOT p50 | TPOT p99 |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in played:
        head = f"| {row.rho:g} | {row.rate_rps:.1f} |"
        for name, values, form in (
            ("one pool, ms", row.together, ".1f"),
            ("two pools, ms", row.apart, ".1f"),
            ("two over one", row.apart / row.together, ".2f"),
            ("the kernel's two over one", row.kernel, ".2f"),
            ("the same at the units' pace", row.kernel_at_pace, ".2f"),
        ):
            lines.append(f"{head} {name} | " + " | ".join(format(v, form) for v in values) + " |")
            head = "| | |"
        said = ", ".join(f"{pace:.2f}" for pace in row.paces)
        lines.append(f"| | | pace of one pool, of prefill, of decode: {said} | | | | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    given = sys.argv[1:]
    print(
        report(
            int(given[0]) if given else 1_000_000,
            int(given[1]) if len(given) > 1 else 300,
            float(given[2]) if len(given) > 2 else 0.2,
        )
    )
