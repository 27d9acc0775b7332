"""What model servers call their counters, and how they become totals per slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import numpy as np

from forecaster.demand.counted import Counted, grown, total
from forecaster.domain.demand import FloatArray
from forecaster.ingest.prometheus import Matrix

STEP = "$step"
"""Stands for the length of a step in an expression of your own."""


class Source(Protocol):
    """Who knows the series: a Prometheus that is asked, or what was pushed to us."""

    def range(self, query: str, first_s: int, last_s: int, step_s: int) -> Matrix:
        """Values at every `step_s` from `first_s` to `last_s`, both included."""
        ...


class Question(Protocol):
    """What is asked for one service."""

    def counted(self, source: Source, from_s: int, to_s: int, step_s: int) -> Counted:
        """Totals of the steps that start in ``[from_s, to_s)``."""
        ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """A histogram of tokens, of which ``_sum`` and ``_count`` are read.

    Attributes
    ----------
    match : str
        Matchers of its own, where one histogram holds several kinds of tokens.
    """

    name: str
    match: str = ""


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
    prompt, output : Tokens or None
        Their lengths; None where it does not say.
    label : str
        Names the model.
    times : mapping of str to str
        Histograms of ``ttft``, ``tpot`` and ``latency``, seconds, one observation a request. Those that
        observe every token or count the prompt as a token are not among them: they say something else.
    """

    requests: tuple[str, ...]
    in_flight: tuple[str, ...] = ()
    prompt: Tokens | None = None
    output: Tokens | None = None
    label: str = ""
    times: Mapping[str, str] = field(default_factory=dict)


def _gen_ai(requests: str, times: Mapping[str, str]) -> Preset:
    """Names of OpenTelemetry's conventions for generative AI, as Prometheus writes them."""
    usage = "gen_ai_client_token_usage"
    return Preset(
        (requests,),
        (),
        Tokens(usage, 'gen_ai_token_type="input"'),
        Tokens(usage, 'gen_ai_token_type="output"'),
        "gen_ai_request_model",
        times,
    )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "vllm": Preset(
            ("vllm:request_success_total",),
            ("vllm:num_requests_running", "vllm:num_requests_waiting"),
            Tokens("vllm:request_prompt_tokens"),
            Tokens("vllm:request_generation_tokens"),
            "model_name",
            {
                "ttft": "vllm:time_to_first_token_seconds",
                "tpot": "vllm:request_time_per_output_token_seconds",
                "latency": "vllm:e2e_request_latency_seconds",
            },
        ),
        "tgi": Preset(
            ("tgi_request_count",),
            (),
            Tokens("tgi_request_input_length"),
            Tokens("tgi_request_generated_tokens"),
            times={"latency": "tgi_request_duration"},
        ),
        "triton": Preset(
            ("nv_inference_request_success", "nv_inference_request_failure"),
            ("nv_inference_pending_request_count",),
            label="model",
        ),
        "dynamo": Preset(
            ("dynamo_frontend_requests_started_total",),
            (),
            Tokens("dynamo_frontend_input_sequence_tokens"),
            Tokens("dynamo_frontend_output_sequence_tokens"),
            "model",
            {
                "ttft": "dynamo_frontend_time_to_first_token_seconds",
                "latency": "dynamo_frontend_request_duration_seconds",
            },
        ),
        "kserve": Preset(
            ("request_predict_seconds_count",),
            label="model_name",
            times={"latency": "request_predict_seconds"},
        ),
        "gen_ai": _gen_ai(
            "gen_ai_server_request_duration_seconds_count",
            {
                "ttft": "gen_ai_server_time_to_first_token_seconds",
                "tpot": "gen_ai_server_time_per_output_token_seconds",
                "latency": "gen_ai_server_request_duration_seconds",
            },
        ),
        "gen_ai_client": _gen_ai(
            "gen_ai_client_operation_duration_seconds_count",
            {"latency": "gen_ai_client_operation_duration_seconds"},
        ),
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

    def counted(self, source: Source, from_s: int, to_s: int, step_s: int) -> Counted:
        """Totals of the steps that start in ``[from_s, to_s)``."""

        def grew(*queries: str) -> FloatArray:
            return _grew(source, queries, from_s, to_s, step_s)

        arrivals = self.ended(source, from_s, to_s, step_s)
        for name in self.preset.in_flight:
            found = source.range(self._series(name), from_s, to_s, step_s)
            arrivals = arrivals + np.nan_to_num(total(np.diff(found.values, axis=1)))
        known = np.isfinite(arrivals)
        came = np.maximum(arrivals[known], 0.0)
        tokens = [
            came * _means(*(grew(query)[known] for query in self._tokens(each)))
            if each
            else np.zeros(came.size)
            for each in (self.preset.prompt, self.preset.output)
        ]
        starts = np.arange(from_s, to_s, step_s, dtype=np.int64)
        return Counted(starts[known], came, *tokens)

    def ended(self, source: Source, from_s: int, to_s: int, step_s: int) -> FloatArray:
        """Requests of each step by the counters of requests, NaN where nothing is known."""
        return _grew(source, [*map(self._series, self.preset.requests)], from_s, to_s, step_s)

    def selectors(self) -> tuple[str, ...]:
        """Every series that is read."""
        tokens = [each for each in (self.preset.prompt, self.preset.output) if each]
        return (
            *map(self._series, (*self.preset.requests, *self.preset.in_flight)),
            *(query for each in tokens for query in self._tokens(each)),
        )

    def _series(self, name: str, match: str = "") -> str:
        return series(name, self.match, match)

    def _tokens(self, tokens: Tokens) -> tuple[str, str]:
        """Their sum and their count."""
        whole, count = f"{tokens.name}_sum", f"{tokens.name}_count"
        return self._series(whole, tokens.match), self._series(count, tokens.match)

    def busy(self) -> str:
        """Query of the requests in flight by pod; empty where nothing says so."""
        parts = [f"sum by (pod) ({self._series(name)})" for name in self.preset.in_flight]
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

    def counted(self, source: Source, from_s: int, to_s: int, step_s: int) -> Counted:
        """Totals of the steps that start in ``[from_s, to_s)``."""

        def asked(expression: str) -> FloatArray:
            return Expressions(expression).ended(source, from_s, to_s, step_s)

        arrivals = asked(self.arrivals)
        known = np.isfinite(arrivals)
        tokens = [
            np.maximum(np.nan_to_num(asked(each)[known]), 0.0)
            for each in (self.prompt_tokens, self.output_tokens)
        ]
        starts = np.arange(from_s, to_s, step_s, dtype=np.int64)
        return Counted(starts[known], np.maximum(arrivals[known], 0.0), *tokens)

    def ended(self, source: Source, from_s: int, to_s: int, step_s: int) -> FloatArray:
        """Requests of each step, NaN where nothing is known; 0 without an expression."""
        if not self.arrivals:
            return np.zeros((to_s - from_s) // step_s)
        query = self.arrivals.replace(STEP, f"{step_s}s")
        return total(source.range(query, from_s + step_s, to_s, step_s).values)

    def busy(self) -> str:
        """Nothing is known of single pods."""
        return ""


def series(name: str, *matchers: str) -> str:
    """A selector.

    Examples
    --------
    >>> series("up", 'job="vllm"', "")
    'up{job="vllm"}'
    """
    return f"{name}{{{', '.join(filter(None, matchers))}}}"


def _grew(
    source: Source, queries: Sequence[str], from_s: int, to_s: int, step_s: int
) -> FloatArray:
    """What counters grew by in each step, summed over their series."""
    found = [source.range(query, from_s, to_s, step_s) for query in queries]
    return total(np.concatenate([grown(each.values, each.target, each.born) for each in found]))


def _means(sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Mean of each step; where none ended in it, that of the whole window."""
    ended = np.nan_to_num(counts) > 0
    whole = float(np.nansum(counts))
    usual = float(np.nansum(sums)) / whole if whole > 0 else 0.0
    means = np.full(sums.size, usual)
    means[ended] = np.nan_to_num(sums[ended]) / counts[ended]
    return means
