"""The life of units inside the kernel: ready, draining, gone; and what a unit does next."""

from __future__ import annotations

import math

from forecaster.capacity.kernel.classic import begin_pass, end_members, end_pass
from forecaster.capacity.kernel.compiled import compiled
from forecaster.capacity.kernel.generative import begin_run, cut_run, end_run, fail_started
from forecaster.capacity.kernel.state import DRAINING, FAILED, GONE, NONE, READY, Costs, State


@compiled
def begin(state: State, costs: Costs, u: int, now_s: float) -> None:
    """Let unit `u`, which is between steps, go on; a draining unit without work is gone."""
    if state.jobs[u] == 0 and state.units[u].life == DRAINING:
        retire(state, u, now_s, False)
    elif costs.generates:
        begin_run(state, costs, u, now_s)
    else:
        begin_pass(state, costs, u, now_s)


@compiled
def end(state: State, costs: Costs, u: int) -> None:
    """End what unit `u` does until ``next_s[u]``; it is then between steps."""
    if costs.generates:
        end_run(state, u)
    else:
        end_pass(state, u)


@compiled
def wake(state: State, costs: Costs, u: int, now_s: float) -> None:
    """Tell unit `u` that a request has come: start when idle, look up after the present step."""
    unit = state.units[u]
    if unit.run == 0:
        begin(state, costs, u, now_s)
    elif costs.generates and unit.run > 1:
        cut_run(state, costs, u, now_s)


@compiled
def retire(state: State, u: int, now_s: float, crashed: bool) -> None:
    """Close the books on unit `u`."""
    unit = state.units[u]
    book = state.book[0]
    span = state.spans[book.spans]
    span.unit = u
    span.ready_s = unit.ready_s
    span.drain_s = unit.drain_s if unit.life == DRAINING else now_s
    span.gone_s = now_s
    span.crashed = 1 if crashed else 0
    book.spans += 1
    unit.life = GONE
    state.next_s[u] = math.inf
    book.changed = 1


@compiled
def relist(state: State) -> None:
    """Rebuild the lists of active and of ready units."""
    book = state.book[0]
    book.active = 0
    book.ready = 0
    for u in range(state.units.size):
        if state.units[u].life != GONE:
            state.active[book.active] = u
            book.active += 1
        if state.units[u].life == READY:
            state.ready[book.ready] = u
            book.ready += 1
    book.changed = 0


@compiled
def pick(state: State, life: int) -> int:
    """Return the unit in `life` with the least work, for orders that name none; else `NONE`."""
    best = NONE
    for u in range(state.units.size):
        if state.units[u].life == life and (best == NONE or state.work_s[u] < state.work_s[best]):
            best = u
    return best


@compiled
def make_ready(state: State, u: int, now_s: float) -> None:
    """Open unit `u`; one that drains goes on serving."""
    unit = state.units[u]
    if unit.life == GONE:
        unit.ready_s = now_s
        unit.run = 0
        unit.step = 0
        unit.batch = 0
        unit.context = 0
        unit.reserved = 0
        unit.waiting = 0
    unit.life = READY
    relist(state)


@compiled
def drain(state: State, u: int, now_s: float) -> None:
    """Close unit `u` to new requests; it answers what it holds."""
    unit = state.units[u]
    if unit.life != READY:
        return
    unit.life = DRAINING
    unit.drain_s = now_s
    if state.jobs[u] == 0:
        retire(state, u, now_s, False)
    relist(state)


@compiled
def crash(state: State, costs: Costs, u: int, now_s: float) -> None:
    """Lose unit `u`: what it started fails, what it had not goes to the front of the queue."""
    unit = state.units[u]
    if unit.life == GONE:
        return
    if costs.generates:
        fail_started(state, u, FAILED, now_s)
    else:
        end_members(state, u, FAILED, now_s)
    if unit.head != NONE:
        book = state.book[0]
        state.requests[unit.tail].next = book.head
        if book.head == NONE:
            book.tail = unit.tail
        book.head = unit.head
    unit.head = NONE
    unit.waiting = 0
    state.jobs[u] = 0
    state.work_s[u] = 0.0
    retire(state, u, now_s, True)
    relist(state)
