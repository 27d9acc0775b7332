"""What model servers call their counters, and how they become totals per slot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from forecaster.demand.counted import Counted, grown, total
from forecaster.domain.demand import FloatArray, IntArray
from forecaster.ingest.prometheus import Matrix, Prometheus

STEP = "$step"
"""Stands for the length of a step in an expression of your own."""


class Question(Protocol):
    """What is asked for one service."""

    def counted(self, source: Prometheus, from_s: int, to_s: int, step_s: int) -> Counted:
        """Totals of the steps that start in ``[from_s, to_s)``."""
        ...


@dataclass(frozen=True, slots=True)
class Preset:
    """A model server's names.

    Attributes
    ----------
    requests : tuple of str
        Counters whose sum counts requests.
    in_flight : tuple of str
        Gauges of requests that have come and are not counted yet, where `requests` counts at the
        end: what came is what ended and what is more in flight. A tier that is too small slows what
        ends, not what comes.
    prompt, output : str
        Histograms of tokens (their ``_sum`` and ``_count``); empty for none.
    label : str
        Names the model.
    """

    requests: tuple[str, ...]
    in_flight: tuple[str, ...] = ()
    prompt: str = ""
    output: str = ""
    label: str = ""


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "vllm": Preset(
            ("vllm:request_success_total",),
            ("vllm:num_requests_running", "vllm:num_requests_waiting"),
            "vllm:request_prompt_tokens",
            "vllm:request_generation_tokens",
            "model_name",
        ),
        "tgi": Preset(
            ("tgi_request_count",),
            (),
            "tgi_request_input_length",
            "tgi_request_generated_tokens",
        ),
        "triton": Preset(
            ("nv_inference_request_success", "nv_inference_request_failure"),
            ("nv_inference_pending_request_count",),
            label="model",
        ),
        "kserve": Preset(("request_predict_seconds_count",), label="model_name"),
    }
)


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of a preset.

    Attributes
    ----------
    match : str
        Label matchers, as in ``model_name="llama", namespace="ml"``.
    """

    preset: Preset
    match: str

    def counted(self, source: Prometheus, from_s: int, to_s: int, step_s: int) -> Counted:
        """Totals of the steps that start in ``[from_s, to_s)``."""

        def grew(*names: str) -> FloatArray:
            found = [
                source.range(f"{name}{{{self.match}}}", from_s, to_s, step_s) for name in names
            ]
            parts = [grown(each.values, targets(each)) for each in found]
            return total(np.concatenate(parts))

        arrivals = grew(*self.preset.requests)
        for name in self.preset.in_flight:
            found = source.range(f"{name}{{{self.match}}}", from_s, to_s, step_s)
            arrivals = arrivals + np.nan_to_num(total(np.diff(found.values, axis=1)))
        known = np.isfinite(arrivals)
        came = np.maximum(arrivals[known], 0.0)
        tokens = [
            came * _means(grew(f"{name}_sum")[known], grew(f"{name}_count")[known])
            if name
            else np.zeros(came.size)
            for name in (self.preset.prompt, self.preset.output)
        ]
        starts = np.arange(from_s, to_s, step_s, dtype=np.int64)
        return Counted(starts[known], came, *tokens)

    def busy(self) -> str:
        """Query of the requests in flight by pod; empty where nothing says so."""
        parts = [f"sum by (pod) ({name}{{{self.match}}})" for name in self.preset.in_flight]
        return " + ".join(parts)


@dataclass(frozen=True, slots=True)
class Expressions:
    """PromQL of your own: totals of the step that ends at each moment; series are summed.

    Attributes
    ----------
    arrivals, prompt_tokens, output_tokens : str
        As in ``sum(increase(gateway_requests_total[$step]))``; empty for none.
    """

    arrivals: str
    prompt_tokens: str = ""
    output_tokens: str = ""

    def counted(self, source: Prometheus, from_s: int, to_s: int, step_s: int) -> Counted:
        """Totals of the steps that start in ``[from_s, to_s)``."""

        def asked(expression: str) -> FloatArray:
            if not expression:
                return np.zeros((to_s - from_s) // step_s)
            query = expression.replace(STEP, f"{step_s}s")
            return total(source.range(query, from_s + step_s, to_s, step_s).values)

        arrivals = asked(self.arrivals)
        known = np.isfinite(arrivals)
        tokens = [
            np.maximum(np.nan_to_num(asked(each)[known]), 0.0)
            for each in (self.prompt_tokens, self.output_tokens)
        ]
        starts = np.arange(from_s, to_s, step_s, dtype=np.int64)
        return Counted(starts[known], np.maximum(arrivals[known], 0.0), *tokens)

    def busy(self) -> str:
        """Nothing is known of single pods."""
        return ""


def targets(found: Matrix) -> IntArray:
    """Number of the scraped process of each series."""
    names = [(each.get("job", ""), each.get("instance", "")) for each in found.labels]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def _means(sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Mean of each step; where none ended in it, that of the whole window."""
    ended = np.nan_to_num(counts) > 0
    whole = float(np.nansum(counts))
    usual = float(np.nansum(sums)) / whole if whole > 0 else 0.0
    means = np.full(sums.size, usual)
    means[ended] = np.nan_to_num(sums[ended]) / counts[ended]
    return means
