"""A unit that answers in one pass: the pass takes what waits, up to the largest batch."""

from __future__ import annotations

import math

from forecaster.capacity.kernel.compiled import compiled
from forecaster.capacity.kernel.requests import leave, take_first
from forecaster.capacity.kernel.state import DONE, NONE, Costs, State


@compiled
def begin_pass(state: State, costs: Costs, u: int, now_s: float) -> None:
    """Start the next pass, or hold it until the batch is full or its first request waited enough.

    The pass lasts ``pass_s[batch]`` times the factor of the request that leads it: independent of
    the batch, so a batch of one is the general service of M/G/k.
    """
    unit = state.units[u]
    unit.run = 0
    if unit.head == NONE:
        state.next_s[u] = math.inf
        return
    due_s = state.requests[unit.head].queued_s + costs.delay_s
    if unit.waiting < costs.max_batch and now_s < due_s:
        state.next_s[u] = due_s
        return
    unit.reading = unit.head
    unit.joined = min(unit.waiting, costs.max_batch)
    for _ in range(unit.joined):
        take_first(state, u)
    unit.run = 1
    unit.start_s = now_s
    factor = state.requests[unit.reading].factor
    state.next_s[u] = now_s + costs.pass_s[unit.joined] * factor


@compiled
def end_members(state: State, u: int, status: int, now_s: float) -> None:
    """End every request of the pass."""
    unit = state.units[u]
    row = unit.reading
    for _ in range(unit.joined):
        following = state.requests[row].next
        if status == DONE:
            state.requests[row].first_s = now_s
        leave(state, row, u, status, now_s)
        row = following
    unit.joined = 0
    unit.reading = NONE


@compiled
def end_pass(state: State, u: int) -> None:
    """Answer the pass that ends; a hold that ends has no members."""
    end_members(state, u, DONE, state.next_s[u])
    state.units[u].run = 0
