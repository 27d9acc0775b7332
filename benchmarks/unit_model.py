"""A real unit against what sizing says of it: measured TTFT and TPOT under Poisson load over predicted.

The unit's profile is measured first, as `tidegate deploy` does it. Then requests of lognormal lengths come
at random, each with a prompt of its own, and what the tier logged is held to the kernel (the same
arrivals and lengths, played on the measured profile: sizing tables are built on it) and to the formulas.
Cores that share a machine with others are not always equally fast: the unit tells how long its steps were
beside what the profile says of them, its *pace*. Loads are set by the pace just before, and predictions are
made at the pace as it went as well.

python -m benchmarks.unit_model [requests at each load] [compute share]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from actuators.onnx_tier.demo_models import build_demo_models
from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.profiler import Measurement, measure
from actuators.onnx_tier.spec import TierService, TierSpec
from actuators.onnx_tier.unit_loop import HEARTBEAT_S
from benchmarks.tier_load import play, post
from benchmarks.unit_pace import LOOK_S, Pace, PaceWatch, played_at_pace
from forecaster.capacity import generative
from forecaster.capacity.generative import Load
from forecaster.capacity.kernel import simulate
from forecaster.capacity.sizing import Question, size
from forecaster.config import load_unit_type
from forecaster.domain.demand import RequestBatch, TokenMix
from forecaster.domain.profile import GenerativeProfile, UnitType
from forecaster.domain.service import Slo
from forecaster.domain.units import RequestRecord

MODELS = Path(__file__).resolve().parents[1] / "models"
LOADS = (0.5, 0.8)
PROMPT, OUTPUT, SCV = 48, 24, 0.5
LEVELS = (0.5, 0.99)
PROFILE_S = 6.0
TRIAL = 100
"""Requests before each load that tell the pace it is set by."""
WARM = 50
"""Requests at the start of each load that are played but not scored."""


@dataclass(frozen=True)
class Row:
    """One load: what was measured, and its p50 and p99 of TTFT and TPOT over those predicted."""

    rho: float
    rate_rps: float
    requests: int
    pace: float
    measured_ms: tuple[float, ...]
    kernel: tuple[float, ...]
    kernel_at_pace: tuple[float, ...]
    formula_at_pace: tuple[float, ...]


def lengths(rng: np.random.Generator, mean: float, count: int, most: int) -> np.ndarray:
    sigma2 = np.log1p(SCV)
    drawn = rng.lognormal(np.log(mean) - sigma2 / 2, np.sqrt(sigma2), count)
    return np.clip(np.rint(drawn), 2, most).astype(int)


def send(url: str, rate_rps: float, count: int, seed: int) -> None:
    """Play `count` requests at Poisson times."""
    rng = np.random.default_rng(seed)
    at_s = np.cumsum(rng.exponential(1 / rate_rps, count))
    prompt, output = lengths(rng, PROMPT, count, 160), lengths(rng, OUTPUT, count, 96)
    # Prompts that begin alike would be read once: the profile counts reading.
    letters = rng.integers(97, 123, (count, 160), dtype=np.uint8)
    requests = [
        post(
            "/v1/completions",
            {
                "model": "chat",
                "prompt": letters[i, : prompt[i]].tobytes().decode(),
                "max_tokens": int(output[i]),
            },
        )
        for i in range(count)
    ]
    play(url, requests, at_s)


def quantiles(ttft_s: Iterable[float], tpot_s: Iterable[float]) -> np.ndarray:
    """p50 and p99 of TTFT, then of TPOT, s."""
    pairs = [np.nanquantile(np.fromiter(each, float), LEVELS) for each in (ttft_s, tpot_s)]
    return np.concatenate(pairs)


def at_pace(unit: UnitType, pace: float) -> UnitType:
    """The same unit, each step `pace` times as long."""
    profile = unit.profile
    assert isinstance(profile, GenerativeProfile)
    costs = ("alpha_s", "beta_s", "kappa_s", "gamma_s", "gamma2_s", "delta_s")
    longer = {name: getattr(profile, name) * pace for name in costs}
    return replace(unit, profile=replace(profile, **longer))


def by_kernel(unit: UnitType, trace: RequestBatch) -> np.ndarray:
    """Quantiles of the trace on one unit, by the kernel."""
    played = simulate(unit.profile, trace, 1)
    return quantiles(played.ttft_s[WARM:], played.tpot_s[WARM:])


def by_formula(unit: UnitType, trace: RequestBatch) -> np.ndarray:
    """The same from rate and moments alone; NaN where they want more than one unit."""
    prompt, output = trace.prompt_tokens, trace.output_tokens
    mix = TokenMix(prompt.mean(), output.mean(), (prompt**2).mean(), (output**2).mean(),
                   (prompt * output).mean())  # fmt: skip
    sized = size(Question(unit, Slo(60.0, 60.0), mix), len(trace) / np.ptp(trace.arrival_s))
    if sized.units != 1:
        return np.full(4, np.nan)
    return np.array([*sized.ttft_s[:2], *sized.tpot_s[:2]])


def compare(unit: UnitType, rho: float, records: list[RequestRecord], pace: Pace) -> Row:
    """Hold the records of one load to kernel and formula."""
    profile = unit.profile
    assert isinstance(profile, GenerativeProfile)
    records = sorted(records, key=lambda each: each.arrival_s)
    trace = RequestBatch(
        "chat",
        np.array([each.arrival_s for each in records]),
        np.array([each.prompt_tokens for each in records]),
        np.array([each.output_tokens for each in records]),
    )
    mean = pace.mean(trace.arrival_s[WARM], trace.arrival_s[-1])
    scored = records[WARM:]
    measured = quantiles((r.ttft_s for r in scored), (r.tpot_s for r in scored))
    followed = [each[WARM:] for each in played_at_pace(profile, trace, pace)]
    ratios = [
        tuple(measured / each)
        for each in (
            by_kernel(unit, trace),
            quantiles(*followed),
            by_formula(at_pace(unit, mean), trace),
        )
    ]
    rate_rps = len(records) / np.ptp(trace.arrival_s)
    return Row(rho, rate_rps, len(scored), mean, tuple(1e3 * measured), *ratios)


def run(count: int, share: float) -> tuple[Measurement, list[Row]]:
    """Measure the profile, then play every load on one real unit of it."""
    build_demo_models(MODELS)
    declared = replace(load_unit_type(MODELS, "tiny-llama"), compute_share=share)
    model = MODELS / "tiny-llama" / declared.model_file
    found = measure(declared, model, PROFILE_S)
    unit = replace(declared, profile=found.profile)
    work_s = generative.mean_state(unit.profile, Load(1.0, 1, TokenMix.of(PROMPT, OUTPUT, SCV))).rho
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        spec = TierSpec(Path(folder), (TierService("chat", unit, model, queue_limit=10_000),))
        with (
            start_tier(spec, Path(folder) / "log") as tier,
            tier.actuator() as actuator,
            PaceWatch(tier.url) as watch,
        ):
            actuator.prewarm("chat", 1, reason="benchmark", order_key="one")
            while actuator.observe("chat").ready < 1:
                time.sleep(0.05)
            seq = 0
            for rho in LOADS:
                began_s = time.time()
                send(tier.url, rho / work_s, TRIAL, seed=1)
                time.sleep(LOOK_S + HEARTBEAT_S)
                rate_rps = rho / work_s / watch.pace(began_s).mean(began_s, time.time())
                seq = actuator.requests_after(seq)[-1].seq
                send(tier.url, rate_rps, count, seed=round(100 * rho))
                time.sleep(LOOK_S + HEARTBEAT_S)
                records: list[RequestRecord] = []
                while len(records) < count:
                    records += actuator.requests_after(seq)
                    seq = records[-1].seq
                rows.append(compare(unit, rho, records, watch.pace(began_s)))
    return found, rows


def report(count: int, share: float) -> str:
    """The section of docs/benchmarks.md."""
    found, rows = run(count, share)
    lines = [
        "## A real unit against the formulas",
        "",
        f"tiny-llama at compute share {share:g}, Poisson arrivals, {count:,} requests at each load;"
        f" fit error of the profile {found.fit_error:.0%}. Measured over predicted: the kernel plays the same"
        " arrivals and lengths on the measured profile, the formula knows the rate and the moments. *Pace* is how long"
        " the unit's steps were beside what the profile says of them: two cores that share a machine with others"
        f" are not always equally fast. `python -m benchmarks.unit_model {count} {share:g}`",
        "",
        "| ρ | requests/s | pace | | TTFT p50 | TTFT p99 | TPOT p50 | TPOT p99 |",
        "| ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        head = f"| {row.rho:g} | {row.rate_rps:.1f} | {row.pace:.2f} |"
        for name, values, form in (
            ("measured, ms", row.measured_ms, ".1f"),
            ("over the kernel's", row.kernel, ".2f"),
            ("over the kernel's, at this pace", row.kernel_at_pace, ".2f"),
            ("over the formula's, at this pace", row.formula_at_pace, ".2f"),
        ):
            lines.append(f"{head} {name} | " + " | ".join(format(v, form) for v in values) + " |")
            head = "| | | |"
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    print(report(requests, float(sys.argv[2]) if len(sys.argv) > 2 else 1.0))
