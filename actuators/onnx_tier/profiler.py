"""Measures what work costs on a unit: the real engine over a small grid, then a fit.

What is timed is a turn of the unit's own loop: requests read, one step of the engine, answers written.

Generative: ``step = alpha*[b > 0] + beta*b + kappa*ctx + delta*reads + gamma*p + gamma2*p**2`` by
non-negative least squares on the medians of relative time: the engine reads each prompt in a pass of
its own. Classic: the median latency of a pass over 1, 2, 4 ... requests. Both are divided by
the unit type's `compute_share`, since a unit rests in proportion to its work; and both are measured
with those rests, since a step that finds its caches cold takes up to 2.5 times as long. Where a unit has
a share of a core, processor time counts here as it does there: a busy machine is not paid for twice.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from actuators.onnx_tier.devices import GpuLimits
from actuators.onnx_tier.engine_classic import ClassicEngine, InferRequest
from actuators.onnx_tier.engine_generate import GenerateEngine, Step
from actuators.onnx_tier.samples import Shapes, sample_inputs
from actuators.onnx_tier.sampling import GREEDY
from actuators.onnx_tier.session import captures, check_model, open_session, signature_of
from actuators.onnx_tier.unit_loop import UnitLoop
from actuators.onnx_tier.unit_work import ClassicWork, GenerativeWork, UnitWork
from actuators.onnx_tier.wire import BlockingLink, FrameDecoder, Tensor, encode, pack_tensors
from actuators.step_fit import least_relative
from forecaster.domain.errors import ModelError
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType

_DECODED = 12
_CONTEXT_CELL = 64
_FIRST_SCENARIOS = 4
_EXTREMES = 4.0
"""Times the budget that the grid's extremes may take: they are measured whatever it is."""

_SCV_MAX = 4.0
_REST_MAX_S = 0.020  # caches are cold by then: a longer rest only costs time


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured profile and how well it fits.

    Attributes
    ----------
    profile : GenerativeProfile or ClassicProfile
        What a unit of this type does on this machine.
    fit_error : float
        Median relative error of the fit over the measured cells; 0 for classic models, whose
        curve is the measurement.
    samples : int
        Steps or passes that were timed.
    """

    profile: GenerativeProfile | ClassicProfile
    fit_error: float
    samples: int


def measure_profile(
    unit_type: UnitType, model_path: Path, budget_s: float = 2.0
) -> GenerativeProfile | ClassicProfile:
    """Measure the profile of a unit type on this machine; see `measure`."""
    return measure(unit_type, model_path, budget_s).profile


def measure(
    unit_type: UnitType, model_path: Path, budget_s: float = 2.0, shapes: Shapes | None = None
) -> Measurement:
    """Run the unit's real engine in this process for about `budget_s` seconds.

    Parameters
    ----------
    unit_type : UnitType
        Its profile gives the limits (batch, chunk, cache); its coefficients are measured anew.
    model_path : Path
        ONNX file.
    budget_s : float
        Time to spend. Slow models overrun it: the extremes of the grid are always measured, with
        prompts as long as some budgets allow.
    shapes : mapping of str to tuple of int, optional
        Shapes that a classic model accepts; what it carries when absent.

    Raises
    ------
    ModelError
        When the file is missing, broken, or not of the unit type's kind.
    """
    check_model(model_path)
    gpu = GpuLimits(graphs=unit_type.cuda_graphs)
    session = open_session(model_path, unit_type.provider, unit_type.threads, gpu=gpu)
    watch = _Watch(unit_type.compute_share, unit_type.threads)
    if isinstance(unit_type.profile, GenerativeProfile):
        graphs = captures(session, unit_type.cuda_graphs)
        engine = GenerateEngine(session, unit_type.profile, prefix_share=0.0, graphs=graphs)
        with _Turns(GenerativeWork(engine, unit_type.profile)) as turns:
            return _measure_generative(engine, turns, unit_type.profile, watch, budget_s)
    limits = replace(unit_type.profile, batch_delay_s=0.0)
    with _Turns(ClassicWork(session, ClassicEngine(session, limits), limits)) as turns:
        return _measure_classic(session, turns, unit_type.profile, watch, budget_s, shapes)


class _Turns:
    """A unit's loop in this process; another process reads what it answers, as the tier does."""

    def __init__(self, work: UnitWork) -> None:
        self.work = work

    def __enter__(self) -> Self:
        ours, tiers = socket.socketpair()
        with tiers:
            self._reader = subprocess.Popen(
                ["cat"], stdin=tiers.fileno(), stdout=subprocess.DEVNULL
            )
        self._socket, self._decoder = ours, FrameDecoder()
        # The loop rests here as `_Watch` says: it would rest for as long as a step asks.
        self._loop = UnitLoop(BlockingLink(ours), self.work)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._reader.wait()

    def offer(self, data: bytes) -> None:
        """Read requests that have come."""
        for frame in self._decoder.feed(data):
            self._loop.take(frame)

    def turn(self) -> None:
        """Step, and write the answers."""
        self._loop.turn()


@dataclass(frozen=True, slots=True)
class _Watch:
    """Times steps as a unit of this share takes them, before they are stretched; rests as it does."""

    share: float
    threads: int

    def take(self, step: Callable[[], None]) -> float:
        """Make one step; return its seconds."""
        began_s, spent_s = time.perf_counter(), time.process_time()
        step()
        seconds = time.perf_counter() - began_s
        if self.share < 1.0:
            seconds = (time.process_time() - spent_s) / self.threads
            time.sleep(min(_REST_MAX_S, seconds * (1.0 / self.share - 1.0)))
        return seconds


def _measure_generative(
    engine: GenerateEngine,
    turns: _Turns,
    limits: GenerativeProfile,
    watch: _Watch,
    budget_s: float,
) -> Measurement:
    _run(engine, turns, 1, min(8, engine.row_tokens - _DECODED), watch)
    longest = _longest(engine, turns, limits, watch, budget_s)
    steps: list[Step] = []
    deadline_s = time.monotonic() + budget_s
    rounds = 0
    while rounds == 0 or time.monotonic() < deadline_s:
        for number, (rows, prompt) in enumerate(_scenarios(limits, longest)):
            if (rounds or number >= _FIRST_SCENARIOS) and time.monotonic() > deadline_s:
                break
            steps += _run(engine, turns, rows, prompt, watch)
        rounds += 1
    cells, seconds = _medians(steps)
    coefficients = fit_step_time(cells, seconds)
    predicted = _design(cells) @ coefficients
    alpha_s, beta_s, kappa_s, delta_s, gamma_s, gamma2_s = (
        float(each) / watch.share for each in coefficients
    )
    profile = replace(
        limits,
        alpha_s=alpha_s,
        beta_s=beta_s,
        kappa_s=kappa_s,
        gamma_s=gamma_s,
        gamma2_s=gamma2_s,
        delta_s=delta_s,
    )
    error = float(np.median(np.abs(predicted / seconds - 1.0)))
    return Measurement(profile, error, len(steps))


def fit_step_time(
    cells: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Fit the six coefficients of the step time.

    Parameters
    ----------
    cells : float64[m, 4]
        Decoding sequences, cached tokens, prompt passes and prefill tokens of each cell.
    seconds : float64[m]
        Its median time, above 0.

    Returns
    -------
    float64[6]
        alpha, beta, kappa, delta, gamma, gamma2, none negative: the least relative squared error.
    """
    return least_relative(_design(cells), seconds)


def _design(cells: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    b, ctx, reads, p = cells.T
    return np.stack([(b > 0).astype(np.float64), b, ctx, reads, p, p * p], axis=1)


def _longest(
    engine: GenerateEngine,
    turns: _Turns,
    limits: GenerativeProfile,
    watch: _Watch,
    budget_s: float,
) -> int:
    """Return the longest prompt of the grid: half a row, or what a full unit reads in time."""
    most = max(1, engine.row_tokens // 2 - _DECODED)
    probe = min(most, limits.chunk_tokens)
    step = max(_run(engine, turns, 1, probe, watch), key=lambda each: each.p)
    read_s = step.seconds / max(1, step.p)
    affordable = int(_EXTREMES * budget_s / (read_s * (limits.max_batch + 1)))
    return min(most, max(probe, affordable))


def _scenarios(limits: GenerativeProfile, longest: int) -> Iterator[tuple[int, int]]:
    """Yield (sequences, prompt tokens), the extremes of the grid first."""
    shortest = max(1, min(8, limits.chunk_tokens // 8, longest))
    most = limits.max_batch
    grid = [(1, shortest), (most, shortest), (1, longest), (most, longest)]
    middle = max(1, min(limits.chunk_tokens // 2, longest))
    grid += [(max(1, most // 4), middle), (max(1, most // 2), shortest), (1, middle)]
    grid += [(max(1, most // 4), longest), (1, max(1, min(limits.chunk_tokens, longest)))]
    for rows, prompt in grid:
        fitting = max(1, limits.kv_tokens // (prompt + _DECODED))
        yield min(rows, fitting), min(prompt, limits.kv_tokens - _DECODED)


def _run(
    engine: GenerateEngine, turns: _Turns, rows: int, prompt: int, watch: _Watch
) -> list[Step]:
    header = {
        "t": "generate",
        "max_tokens": _DECODED,
        "sampling": list(astuple(GREEDY)),
        "stop": [],
    }
    body = np.full(prompt, 65, np.int64).tobytes()
    turns.offer(b"".join(encode(header | {"id": 1 + row}, body) for row in range(rows)))
    steps: list[Step] = []
    while turns.work.has_work:
        seconds = watch.take(turns.turn)
        steps.append(replace(engine.steps[-1], seconds=seconds))
    return steps


def _medians(steps: list[Step]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Group like steps; return the mean (b, ctx, reads, p) and the median seconds of each group."""
    groups: dict[tuple[int, int, int, int], list[Step]] = defaultdict(list)
    for step in steps:
        groups[step.b, step.reads, step.p, step.ctx // _CONTEXT_CELL].append(step)
    cells = [
        np.mean([(each.b, each.ctx, each.reads, each.p) for each in group], 0)
        for group in groups.values()
    ]
    seconds = [np.median([each.seconds for each in group]) for group in groups.values()]
    return np.array(cells, np.float64), np.array(seconds, np.float64)


def _measure_classic(
    session: Any,
    turns: _Turns,
    limits: ClassicProfile,
    watch: _Watch,
    budget_s: float,
    shapes: Shapes | None,
) -> Measurement:
    sizes = [1 << power for power in range(limits.max_batch.bit_length())]
    sizes = sorted({*sizes, limits.max_batch})
    each_s = budget_s / len(sizes)
    curve: list[tuple[int, float]] = []
    samples, scv = 0, limits.service_time_scv
    sample = sample_inputs(signature_of(session), 1, shapes)
    _check_answers(session, limits, sample)
    for size in sizes:
        times = _time_passes(turns, sample, size, each_s, watch)
        samples += times.size
        if size == 1:
            scv = _scv(times)
        # A larger batch is never faster: what says so is noise.
        latest = max(float(np.median(times)) / watch.share, curve[-1][1] if curve else 0.0)
        curve.append((size, latest))
    profile = replace(limits, batch_latency_s=tuple(curve), service_time_scv=scv)
    return Measurement(profile, 0.0, samples)


def _check_answers(session: Any, limits: ClassicProfile, sample: list[tuple[str, Tensor]]) -> None:
    engine = ClassicEngine(session, limits)
    engine.submit(InferRequest(0, sample))
    if error := engine.step()[0].error:
        raise ModelError(
            f"the model refuses a sample request: {error}",
            "check that its unit type has the right kind",
        )


def _time_passes(
    turns: _Turns, sample: list[tuple[str, Tensor]], size: int, budget_s: float, watch: _Watch
) -> npt.NDArray[np.float64]:
    entries, body = pack_tensors(sample)
    header = {"t": "infer", "inputs": entries, "outputs": []}
    requests = b"".join(encode(header | {"id": 1 + n}, body) for n in range(size))

    def answer() -> None:
        turns.offer(requests)
        while turns.work.has_work:
            turns.turn()

    times: list[float] = []
    deadline_s = time.monotonic() + budget_s
    while len(times) < 4 or time.monotonic() < deadline_s:
        times.append(watch.take(answer))
    # The first pass of a batch size pays for its memory.
    return np.array(times[1:], np.float64)


def _scv(times: npt.NDArray[np.float64]) -> float:
    """Squared coefficient of variation without the slowest twentieth, which is the machine's noise."""
    kept = np.sort(times)[: max(2, int(0.95 * times.size))]
    return float(min(kept.var() / kept.mean() ** 2, _SCV_MAX))
