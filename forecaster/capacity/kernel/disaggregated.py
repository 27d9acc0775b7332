"""Units in two pools: some read prompts and make the first token, others generate the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecaster.capacity.kernel.run import Finished, Simulation
from forecaster.capacity.kernel.state import DONE, Routing
from forecaster.domain.demand import FloatArray, IntArray, RequestBatch
from forecaster.domain.errors import SettingError
from forecaster.domain.profile import PdProfile


def simulate_disaggregated(
    profile: PdProfile,
    trace: RequestBatch,
    pools: tuple[int, int],
    routing: Routing = Routing.LEAST_WORK,
    seed: int = 0,
) -> Finished:
    """Return every request in order of arrival, through a prefill and then a decode pool.

    The first token is made by the prefill unit (as vLLM and Dynamo do): TTFT has no hand-over in it,
    the gap to the second token has. Nothing flows back, so the pools are two simulations in a row. A
    prefill unit is rid of the request when it is handed over; the decode unit holds prompt and
    output from its first decoding step on.

    Parameters
    ----------
    pools : (int, int)
        Prefill and decode units, >= 1 each.

    Returns
    -------
    Finished
        `unit` is the decode unit; of requests with one token (or refused by it) the prefill unit.

    Raises
    ------
    SettingError
        When a pool is empty or a hand-over time is negative or not finite.
    """
    for units in pools:
        if units < 1:
            raise SettingError("pools", pools, "1 or more units in each")
    times_s = (profile.handover_s, profile.handover_per_token_s)
    if not all(0 <= each < np.inf for each in times_s):
        raise SettingError("handover", times_s, "finite times of 0 or more seconds")
    read = Simulation(profile.prefill, pools[0], routing, seed=seed)
    first = read.run(replace(trace, output_tokens=np.ones(len(trace), np.int64)), last=True)
    first = first.in_order
    going = np.flatnonzero((first.status == DONE) & (trace.output_tokens > 1))
    ready_s = first.arrival_s + first.ttft_s + handover_s(profile, trace.prompt_tokens)
    going = going[np.argsort(ready_s[going], kind="stable")]
    batch = handed_over(trace, ready_s, going)
    generate = Simulation(profile.decoding, pools[1], routing, seed=seed, cached=True)
    rest = generate.run(batch, last=True).in_order
    return _together(first, rest, going, trace)


def simulate_decode(profile: PdProfile, trace: RequestBatch, units: int) -> Finished:
    """Return every request of a decode pool alone, first tokens arriving at ``trace.arrival_s``.

    There is no first token to wait for (`ttft_s` is NaN); the hand-over is in the gaps between tokens.
    """
    going = np.flatnonzero(trace.output_tokens > 1)
    batch = handed_over(trace, trace.arrival_s, going)
    rest = Simulation(profile.decoding, units, cached=True).run(batch, last=True).in_order
    count = len(trace)
    first = Finished(
        np.arange(count), np.full(count, -1), np.zeros(count, np.int64), trace.arrival_s,
        np.zeros(count), np.full(count, np.nan), np.zeros(count),
    )  # fmt: skip
    done = _together(first, rest, going, trace)
    wait_s = np.where(done.latency_s > 0, handover_s(profile, trace.prompt_tokens), 0.0)
    gaps = np.maximum(trace.output_tokens - 1, 1)
    return replace(
        done,
        ttft_s=np.full(count, np.nan),
        tpot_s=done.tpot_s + wait_s / gaps,
        latency_s=done.latency_s + wait_s,
    )


def handover_s(profile: PdProfile, prompt_tokens: IntArray) -> FloatArray:
    """From the first token until the cache has reached the decode unit, float64[n]."""
    return np.asarray(profile.handover_s + profile.handover_per_token_s * prompt_tokens)


def handed_over(trace: RequestBatch, ready_s: FloatArray, rows: IntArray) -> RequestBatch:
    """What the decode pool gets of these rows of a trace, at `ready_s`."""
    return RequestBatch(
        trace.service,
        ready_s[rows],
        trace.prompt_tokens[rows] + 1,
        trace.output_tokens[rows] - 1,
    )


def _together(
    first: Finished,
    rest: Finished,
    going: IntArray,
    trace: RequestBatch,
) -> Finished:
    """One row for each request: first token from one pool, the end from the other."""
    status, unit = first.status.copy(), first.unit.copy()
    latency_s, tpot_s = first.latency_s.copy(), np.full(len(first), np.nan)
    done = rest.status == DONE
    whole = going[done]
    status[going] = rest.status
    unit[whole] = rest.unit[done]
    end_s: FloatArray = rest.arrival_s + rest.latency_s
    latency_s[going] = end_s - first.arrival_s[going]
    decoded_s = latency_s[whole] - first.ttft_s[whole]
    tpot_s[whole] = decoded_s / (trace.output_tokens[whole] - 1)
    return Finished(first.number, unit, status, first.arrival_s, first.ttft_s, tpot_s, latency_s)
