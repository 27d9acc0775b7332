"""Units in two pools: some read prompts and make the first token, others generate the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from forecaster.capacity.kernel.run import Finished, Simulation
from forecaster.capacity.kernel.state import DONE, Routing
from forecaster.domain.demand import FloatArray, RequestBatch
from forecaster.domain.errors import SettingError
from forecaster.domain.profile import GenerativeProfile


@dataclass(frozen=True, slots=True)
class PdProfile:
    """A bundle of prefill and decode units that is bought as one; the pools are counted apart.

    Attributes
    ----------
    prefill, decode : GenerativeProfile
        Cost of work in each pool.
    handover_s, handover_per_token_s : float
        Time from the first token until the cache has reached the decode unit: for a request, and
        for each prompt token.
    prefill_units_per_bundle, decode_units_per_bundle : int
        Units of each pool, >= 1.
    """

    prefill: GenerativeProfile
    decode: GenerativeProfile
    handover_s: float = 0.0
    handover_per_token_s: float = 0.0
    prefill_units_per_bundle: int = 1
    decode_units_per_bundle: int = 1

    def pools(self, bundles: int) -> tuple[int, int]:
        """Prefill and decode units of so many bundles."""
        return bundles * self.prefill_units_per_bundle, bundles * self.decode_units_per_bundle


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
    ready_s = first.arrival_s + first.ttft_s + profile.handover_s
    ready_s = ready_s + profile.handover_per_token_s * trace.prompt_tokens
    going = going[np.argsort(ready_s[going], kind="stable")]
    batch = RequestBatch(
        trace.service,
        ready_s[going],
        trace.prompt_tokens[going] + 1,
        trace.output_tokens[going] - 1,
    )
    bare = replace(profile.decode, gamma_s=0.0, gamma2_s=0.0, delta_s=0.0)
    generate = Simulation(bare, pools[1], routing, seed=seed, cached=True)
    rest = generate.run(batch, last=True).in_order
    return _together(first, rest, going, trace)


def _together(
    first: Finished,
    rest: Finished,
    going: np.ndarray[tuple[int], np.dtype[np.int64]],
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
