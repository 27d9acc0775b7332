"""A unit that generates tokens: continuous batching with chunked prefill, runs of steps at once."""

from __future__ import annotations

import math

from forecaster.capacity.kernel.compiled import compiled
from forecaster.capacity.kernel.heap import pop, push
from forecaster.capacity.kernel.requests import leave, take_first
from forecaster.capacity.kernel.state import DONE, NONE, NUMBER_BITS, ROWS_MAX, Costs, State


@compiled
def read_prompts(state: State, costs: Costs, u: int) -> tuple[int, int]:
    """Fill the next step with prompt chunks; return (tokens, passes).

    Strictly in order: a prompt starts when a row is free and its prompt and output fit the cache.
    """
    unit = state.units[u]
    budget = costs.chunk_tokens
    reads = 0
    while budget > 0:
        row = unit.reading
        if row == NONE:
            row = unit.head
            if row == NONE or unit.batch + unit.joined >= costs.max_batch:
                break
            need = state.requests[row].prompt + state.requests[row].output
            if unit.reserved + need > costs.kv_tokens:
                break
            take_first(state, u)
            unit.reserved += need
            unit.reading = row
        request = state.requests[row]
        taken = min(request.left, budget)
        request.left -= taken
        budget -= taken
        reads += 1
        if request.left == 0:
            state.joining[u, unit.joined] = row
            unit.joined += 1
            unit.reading = NONE
    return costs.chunk_tokens - budget, reads


@compiled
def admit_cached(state: State, costs: Costs, u: int) -> None:
    """Start requests whose prompt and first token another unit has made: they decode at once.

    Such a request says one prompt token more and one output token less than the whole had.
    """
    unit = state.units[u]
    while unit.head != NONE and unit.batch < costs.max_batch:
        request = state.requests[unit.head]
        need = request.prompt + request.output
        if unit.reserved + need > costs.kv_tokens:
            return
        row = take_first(state, u)
        unit.reserved += need
        push(state.heaps[u], unit.batch, (unit.step + request.output) << NUMBER_BITS | row)
        unit.batch += 1
        unit.context += request.prompt - 1


@compiled
def run_end_s(costs: Costs, start_s: float, pace_s: float, batch: int, steps: int) -> float:
    """End of `steps` steps of which each is ``kappa * batch`` longer than the one before."""
    return start_s + steps * pace_s + costs.kappa_s * batch * (0.5 * steps * (steps - 1))


@compiled
def begin_run(state: State, costs: Costs, u: int, now_s: float) -> None:
    """Plan the steps from `now_s` to the next change: a prompt chunk or the first to finish."""
    unit = state.units[u]
    unit.joined = 0
    tokens, reads = 0, 0
    if costs.cached:
        admit_cached(state, costs, u)
    elif unit.head != NONE or unit.reading != NONE:
        tokens, reads = read_prompts(state, costs, u)
    if reads == 0 and unit.batch == 0:
        unit.run = 0
        state.next_s[u] = math.inf
        return
    pace_s = costs.beta_s * unit.batch + costs.kappa_s * unit.context
    if unit.batch > 0 or costs.delta_s == 0.0:
        pace_s += costs.alpha_s
    pace_s += costs.delta_s * reads + costs.gamma_s * tokens + costs.gamma2_s * tokens * tokens
    unit.start_s = now_s
    unit.pace_s = pace_s
    unit.run = 1 if reads > 0 else (state.heaps[u, 0] >> NUMBER_BITS) - unit.step
    state.next_s[u] = run_end_s(costs, now_s, pace_s, unit.batch, unit.run)


@compiled
def cut_run(state: State, costs: Costs, u: int, now_s: float) -> None:
    """End the run with the step that is under way at `now_s`: a request has come."""
    unit = state.units[u]
    growth_s = costs.kappa_s * unit.batch
    gone_s = now_s - unit.start_s
    half = unit.pace_s - 0.5 * growth_s
    root = 2.0 * gone_s / (half + math.sqrt(half * half + 2.0 * growth_s * gone_s))
    steps = min(max(int(root), 1), unit.run)
    while (
        steps < unit.run and run_end_s(costs, unit.start_s, unit.pace_s, unit.batch, steps) <= now_s
    ):
        steps += 1
    while steps > 1 and run_end_s(costs, unit.start_s, unit.pace_s, unit.batch, steps - 1) > now_s:
        steps -= 1
    unit.run = steps
    state.next_s[u] = run_end_s(costs, unit.start_s, unit.pace_s, unit.batch, steps)


@compiled
def end_run(state: State, u: int) -> None:
    """Give out the tokens of the run that ends: rows that finish leave, read prompts join."""
    unit = state.units[u]
    now_s = state.next_s[u]
    unit.step += unit.run
    unit.context += unit.batch * unit.run
    unit.run = 0
    heap = state.heaps[u]
    while unit.batch > 0 and heap[0] >> NUMBER_BITS <= unit.step:
        row = heap[0] & (ROWS_MAX - 1)
        pop(heap, unit.batch)
        unit.batch -= 1
        held = state.requests[row].prompt + state.requests[row].output
        unit.context -= held - 1
        unit.reserved -= held
        leave(state, row, u, DONE, now_s)
    for i in range(unit.joined):
        row = state.joining[u, i]
        request = state.requests[row]
        request.first_s = now_s
        if request.output == 1:
            unit.reserved -= request.prompt + 1
            leave(state, row, u, DONE, now_s)
        else:
            push(heap, unit.batch, (unit.step + request.output - 1) << NUMBER_BITS | row)
            unit.batch += 1
            unit.context += request.prompt
    unit.joined = 0


@compiled
def fail_started(state: State, u: int, status: int, now_s: float) -> None:
    """End every request that unit `u` has started."""
    unit = state.units[u]
    for i in range(unit.batch):
        leave(state, state.heaps[u, i] & (ROWS_MAX - 1), u, status, now_s)
    for i in range(unit.joined):
        leave(state, state.joining[u, i], u, status, now_s)
    if unit.reading != NONE:
        leave(state, unit.reading, u, status, now_s)
    unit.batch = 0
    unit.context = 0
    unit.reserved = 0
    unit.joined = 0
    unit.reading = NONE
