"""The unit that Dynamo's replay simulates, measured from outside: a unit profile, and what is believed of its table.

The unit is Llama-3.1-70B on 4 A100 under vLLM's tables. `profile` sends single prompts and batches of equal
requests to one idle unit and fits the step time to what comes back, as `tidegate deploy` does with a real one.
`believed` holds the sizing table made from it to constant Poisson loads, as the daemon does with its requests.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dynamo_traces import lengths, write
from benchmarks.peers.servers import python_of
from forecaster.capacity.belief import Belief, learn
from forecaster.capacity.sizing import Question
from forecaster.capacity.sizing_table import SizingTable
from forecaster.demand import offered_work_s
from forecaster.domain.demand import FloatArray, TokenMix
from forecaster.domain.profile import GenerativeProfile, UnitType
from forecaster.domain.service import Slo

SIMULATOR = Path(__file__).parent / "peers" / "dynamo_simulator.py"
TTFT_S, TPOT_S = 2.0, 0.05
MAX_BATCH, CHUNK_TOKENS, KV_TOKENS, KV_BLOCK = 256, 8192, 262_144, 16
PERFORMANCE = {
    "model": "meta-llama/Meta-Llama-3.1-70B", "system": "a100_sxm", "backend": "vllm",
    "worker_type": "aggregated", "tp": 4,
}  # fmt: skip
ENGINE = {
    "engine": {
        "backend": "vllm", "worker_type": "aggregated", "num_gpu_blocks": KV_TOKENS // KV_BLOCK,
        "block_size": KV_BLOCK, "max_num_seqs": MAX_BATCH, "max_num_batched_tokens": CHUNK_TOKENS,
        "enable_prefix_caching": False,
        "timing_model": {"type": "external", "provider": "ais", "config": PERFORMANCE},
    }
}  # fmt: skip
PROMPTS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
BATCHES = (1, 4, 16, 32, 64, 96, 128, 192, 256)
BATCH_PROMPTS, BATCH_OUTPUT = (32, 256, 800), 200
APART_S = 300.0
STEADY_UNITS, STEADY_S = 10, 1800.0
STEADY_RPS = (0.8, 1.0, 1.2, 1.35, 1.5, 1.75, 2.0)
"""Loads of a unit at which the table is held to the simulator."""
TARGET, TOO_MUCH = 0.975, 0.9
"""A fleet that keeps the target is not seen under loads that leave more than a tenth outside: they teach nothing here."""
LENGTHS = 50_000
"""Requests of the past whose lengths are known."""
Answer = Callable[[dict[str, Any]], dict[str, Any]]


def simulate(asked: dict[str, Any], answer: Answer | None = None) -> dict[str, Any]:
    """Run the peer's replay once; see `benchmarks.peers.dynamo_simulator`.

    Parameters
    ----------
    answer : callable or None
        What the plugin says to what it is told.
    """
    given = {
        "startup_s": 0.0, "ttft_ms": TTFT_S * 1e3, "itl_ms": TPOT_S * 1e3, "engine": ENGINE,
        "planner": None, "ask_s": None, "requests": False,
    } | asked  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        spec = Path(folder) / "asked.json"
        spec.write_text(json.dumps(given, default=str))
        command = [str(python_of("dynamo")), str(SIMULATOR), str(spec)]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    said = json.loads(line)
                    if "result" in said:
                        found: dict[str, Any] = said["result"]
                        return found
                    assert answer is not None
                    process.stdin.write(json.dumps(answer(said)) + "\n")
                    process.stdin.flush()
            finally:
                process.kill()
        log.seek(0)
        raise RuntimeError(f"the replay ended without a result: {log.read()[-4000:]}")


def played(arrival_s: FloatArray, prompt: Any, output: Any, **asked: Any) -> dict[str, Any]:
    """Run the replay on these requests."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.jsonl"
        write(trace, arrival_s, np.asarray(prompt, np.int64), np.asarray(output, np.int64))
        return simulate({"trace": trace, **asked})


@dataclass(frozen=True)
class Fit:
    """A profile, and mean relative errors of what it tells of decoding steps and of reading."""

    profile: GenerativeProfile
    decode_error: float
    read_error: float


def fitted() -> Fit:
    """Measure one idle unit and fit its step time."""
    batches = [(b, p) for p in BATCH_PROMPTS for b in BATCHES if b * (p + BATCH_OUTPUT) < KV_TOKENS]
    alone = len(PROMPTS)
    sizes = [*(1 for _ in PROMPTS), *(b for b, _ in batches)]
    group = np.repeat(np.arange(len(sizes)), sizes)
    prompt = np.repeat([*PROMPTS, *(p for _, p in batches)], sizes)
    output = np.where(group < alone, 2, BATCH_OUTPUT)
    rows = played(APART_S * group.astype(float), prompt, output, workers=1, requests=True)
    ttft_s, itl_s = np.array(rows["requests"])[:, :2].T / 1e3
    p = np.array(PROMPTS, float)
    read, read_error = least_squares(ttft_s[:alone], np.ones_like(p), p, p * p)
    # the last to be read decodes with all others from its first token on
    step_s = np.array([itl_s[group == alone + i].min() for i in range(len(batches))])
    b, ctx = np.array([[b, b * (p + BATCH_OUTPUT / 2)] for b, p in batches], float).T
    decode, decode_error = least_squares(step_s, np.ones_like(b), b, ctx)
    profile = GenerativeProfile(
        *decode, gamma_s=read[1], gamma2_s=read[2], delta_s=read[0],
        max_batch=MAX_BATCH, chunk_tokens=CHUNK_TOKENS, kv_tokens=KV_TOKENS,
    )  # fmt: skip
    return Fit(profile, decode_error, read_error)


def least_squares(y: FloatArray, *columns: FloatArray) -> tuple[list[float], float]:
    """Coefficients by relative least squares, and the mean relative error.

    Examples
    --------
    >>> found, error = least_squares(np.array([3.0, 5.0]), np.ones(2), np.array([1.0, 2.0]))
    >>> np.round(found, 6).tolist(), round(error, 6)
    ([1.0, 2.0], 0.0)
    """
    x = np.stack(columns, axis=1) / y[:, None]
    found, *_ = np.linalg.lstsq(x, np.ones_like(y), rcond=None)
    return [float(each) for each in found], float(np.abs(x @ found - 1).mean())


@dataclass(frozen=True)
class Steady:
    """What a constant load did: attainment in the simulator, and as the table has it."""

    rate_rps: float
    simulated: float
    foreseen: float


def held_to(table: SizingTable, seed: int = 5) -> tuple[Belief, list[Steady]]:
    """Hold a table to the simulator at constant Poisson loads; what is believed of it then."""
    belief, rows, profile = Belief(), [], table.question.unit.profile
    work_s = offered_work_s(question(table.question.unit, TARGET).mix, profile)
    for rate in STEADY_RPS:
        fleet_rps = rate * STEADY_UNITS
        count = int(fleet_rps * STEADY_S)
        dice = np.random.default_rng([seed, round(rate * 100)])
        arrival_s = np.cumsum(dice.exponential(1 / fleet_rps, count))
        drawn = lengths(count, [seed, round(rate * 100), 1])
        done = played(arrival_s, *drawn, workers=STEADY_UNITS)
        outside = done["num_requests"] - done["goodput_completed_requests"]
        asked_rps = fleet_rps * work_s / offered_work_s(table.question.mix, profile)
        foreseen = 1 - float(table.violation_share(STEADY_UNITS, np.array([asked_rps]))[0])
        if foreseen > TOO_MUCH:
            belief = learn(belief, table, STEADY_UNITS, asked_rps, count, outside, STEADY_S)
        rows.append(Steady(rate, 1 - outside / count, foreseen))
    return belief, rows


def unit_type(profile: GenerativeProfile, startup_s: float) -> UnitType:
    """The unit, starting within `startup_s`."""
    return UnitType("llama70b-a100x4", profile, lead_time_s=startup_s)


def question(unit: UnitType, attainment: float) -> Question:
    """What the table is asked: the SLO of the replay and the mix of the past."""
    prompt, output = (each.astype(float) for each in lengths(LENGTHS, [1, 4]))
    mix = TokenMix(
        prompt.mean(), output.mean(), (prompt**2).mean(), (output**2).mean(), (prompt * output).mean()
    )  # fmt: skip
    return Question(unit, Slo(TTFT_S, TPOT_S, attainment=attainment), mix)
