"""Measures what work costs on a unit: the real engine over a small grid, then a fit.

Generative: ``step = alpha*[b > 0] + beta*b + kappa*ctx + delta*reads + gamma*p + gamma2*p**2`` by
non-negative least squares on the medians of relative time: the engine reads each prompt in a pass of
its own. Classic: the median latency of each batch size. Both are divided by
the unit type's `compute_share`, since a unit rests in proportion to its work; and both are measured
with those rests, since a step that finds its caches cold takes up to 2.5 times as long. Where a unit has
a share of a core, processor time counts here as it does there: a busy machine is not paid for twice.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from actuators.onnx_tier.devices import GpuLimits
from actuators.onnx_tier.engine_classic import ClassicEngine, InferRequest
from actuators.onnx_tier.engine_generate import GenerateEngine, GenerateRequest, Step
from actuators.onnx_tier.samples import Shapes, sample_inputs
from actuators.onnx_tier.session import captures, check_model, open_session, signature_of
from actuators.onnx_tier.wire import Tensor
from forecaster.domain.errors import ModelError
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType

T = TypeVar("T")

_DECODED = 12
_CONTEXT_CELL = 64
_FIRST_SCENARIOS = 4
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
        Time to spend. Slow models overrun it: the extremes of the grid are always measured.
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
        return _measure_generative(engine, unit_type.profile, watch, budget_s)
    return _measure_classic(session, unit_type.profile, watch, budget_s, shapes)


@dataclass(frozen=True, slots=True)
class _Watch:
    """Times steps as a unit of this share takes them, before they are stretched; rests as it does."""

    share: float
    threads: int

    def take(self, step: Callable[[], T]) -> tuple[T, float]:
        """Make one step; return what it gave and its seconds."""
        began_s, spent_s = time.perf_counter(), time.process_time()
        result = step()
        seconds = time.perf_counter() - began_s
        if self.share < 1.0:
            seconds = (time.process_time() - spent_s) / self.threads
            time.sleep(min(_REST_MAX_S, seconds * (1.0 / self.share - 1.0)))
        return result, seconds


def _measure_generative(
    engine: GenerateEngine, limits: GenerativeProfile, watch: _Watch, budget_s: float
) -> Measurement:
    _run(engine, 1, min(8, engine.row_tokens - _DECODED), watch)
    steps: list[Step] = []
    deadline_s = time.monotonic() + budget_s
    rounds = 0
    while rounds == 0 or time.monotonic() < deadline_s:
        for number, (rows, prompt) in enumerate(_scenarios(limits, engine.row_tokens)):
            if (rounds or number >= _FIRST_SCENARIOS) and time.monotonic() > deadline_s:
                break
            steps += _run(engine, rows, prompt, watch)
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
    from scipy.optimize import nnls  # takes half a second to load, and profiles are kept

    weighted = _design(cells) / seconds[:, None]
    # Columns of like size keep the solver's active set honest.
    scale = np.maximum(np.abs(weighted).max(axis=0), 1e-300)
    solution, _ = nnls(weighted / scale, np.ones(seconds.size))
    return np.asarray(solution / scale, np.float64)


def _design(cells: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    b, ctx, reads, p = cells.T
    return np.stack([(b > 0).astype(np.float64), b, ctx, reads, p, p * p], axis=1)


def _scenarios(limits: GenerativeProfile, row_tokens: int) -> Iterator[tuple[int, int]]:
    """Yield (sequences, prompt tokens), the extremes of the grid first."""
    longest = max(1, row_tokens // 2 - _DECODED)
    shortest = max(1, min(8, limits.chunk_tokens // 8, longest))
    most = limits.max_batch
    grid = [(1, shortest), (most, shortest), (1, longest), (most, longest)]
    middle = max(1, min(limits.chunk_tokens // 2, longest))
    grid += [(max(1, most // 4), middle), (max(1, most // 2), shortest), (1, middle)]
    grid += [(max(1, most // 4), longest), (1, max(1, min(limits.chunk_tokens, longest)))]
    for rows, prompt in grid:
        fitting = max(1, limits.kv_tokens // (prompt + _DECODED))
        yield min(rows, fitting), min(prompt, limits.kv_tokens - _DECODED)


def _run(engine: GenerateEngine, rows: int, prompt: int, watch: _Watch) -> list[Step]:
    tokens = np.full(prompt, 65, np.int64)
    for number in range(rows):
        engine.submit(GenerateRequest(number, tokens, _DECODED))
    steps: list[Step] = []
    while engine.has_work:
        _, seconds = watch.take(engine.step)
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
    session: Any, limits: ClassicProfile, watch: _Watch, budget_s: float, shapes: Shapes | None
) -> Measurement:
    engine = ClassicEngine(session, replace(limits, batch_delay_s=0.0))
    signature = signature_of(session)
    sizes = [1 << power for power in range(limits.max_batch.bit_length())]
    sizes = sorted({*sizes, limits.max_batch})
    each_s = budget_s / len(sizes)
    curve: list[tuple[int, float]] = []
    samples, scv = 0, limits.service_time_scv
    for size in sizes:
        sample = sample_inputs(signature, size, shapes)
        times = _time_passes(engine, sample, each_s, watch)
        samples += times.size
        if size == 1:
            scv = _scv(times)
        # A larger batch is never faster: what says so is noise.
        latest = max(float(np.median(times)) / watch.share, curve[-1][1] if curve else 0.0)
        curve.append((size, latest))
    profile = replace(limits, batch_latency_s=tuple(curve), service_time_scv=scv)
    return Measurement(profile, 0.0, samples)


def _time_passes(
    engine: ClassicEngine, inputs: list[tuple[str, Tensor]], budget_s: float, watch: _Watch
) -> npt.NDArray[np.float64]:
    times: list[float] = []
    deadline_s = time.monotonic() + budget_s
    while len(times) < 4 or time.monotonic() < deadline_s:
        engine.submit(InferRequest(0, inputs))
        answers, seconds = watch.take(engine.step)
        answer = answers[0]
        if answer.error:
            raise ModelError(
                f"the model refuses a sample request: {answer.error}",
                "check that its unit type has the right kind",
            )
        times.append(seconds)
    # The first pass of a batch size pays for its memory.
    return np.array(times[1:], np.float64)


def _scv(times: npt.NDArray[np.float64]) -> float:
    """Squared coefficient of variation without the slowest twentieth, which is the machine's noise."""
    kept = np.sort(times)[: max(2, int(0.95 * times.size))]
    return float(min(kept.var() / kept.mean() ** 2, _SCV_MAX))
