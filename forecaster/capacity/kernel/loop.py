"""The event loop: arrivals and fleet events in order of time, units caught up in between."""

from __future__ import annotations

import math

import numpy as np

from forecaster.capacity.kernel.compiled import compiled
from forecaster.capacity.kernel.requests import append, report
from forecaster.capacity.kernel.routing import choose
from forecaster.capacity.kernel.schedule import CRASH, DRAIN, READY_AT
from forecaster.capacity.kernel.state import GONE, NONE, READY, REFUSED, Costs, State
from forecaster.capacity.kernel.units import (
    begin,
    crash,
    drain,
    end,
    make_ready,
    pick,
    relist,
    wake,
)
from forecaster.domain.demand import FloatArray, IntArray


@compiled
def advance(state: State, costs: Costs, until_s: float) -> None:
    """Let every unit do what ends by `until_s`.

    Units do not feel each other while no request waits outside them, so each is caught up alone;
    while some do, a unit that has answered may take one, so all go step by step in order of time.
    """
    book = state.book[0]
    while book.head != NONE:
        u = first_due(state)
        if u == NONE or state.next_s[u] > until_s:
            break
        now_s = state.next_s[u]
        end(state, costs, u)
        dispatch(state, costs, now_s, u)
        begin(state, costs, u, now_s)
        if book.changed:
            relist(state)
    for i in range(book.active):
        u = state.active[i]
        while state.next_s[u] <= until_s:
            now_s = state.next_s[u]
            end(state, costs, u)
            begin(state, costs, u, now_s)
    if book.changed:
        relist(state)


@compiled
def first_due(state: State) -> int:
    """Return the active unit whose run ends first."""
    best = NONE
    for i in range(state.book[0].active):
        u = state.active[i]
        if best == NONE or state.next_s[u] < state.next_s[best]:
            best = u
    return best


@compiled
def dispatch(state: State, costs: Costs, now_s: float, between: int) -> None:
    """Send waiting requests to units with room; unit `between` is between steps, others are woken."""
    book = state.book[0]
    while book.head != NONE:
        u = choose(state, costs)
        if u == NONE:
            return
        row = book.head
        book.head = state.requests[row].next
        append(state, u, row, now_s)
        if u != between:
            wake(state, costs, u, now_s)


@compiled
def submit(
    state: State, costs: Costs, now_s: float, prompt: int, output: int, factor: float
) -> None:
    """Accept one request."""
    book = state.book[0]
    book.free -= 1
    row = state.free[book.free]
    request = state.requests[row]
    request.number = book.number
    book.number += 1
    request.arrival_s = now_s
    request.prompt = prompt
    request.output = max(output, 1)
    request.factor = factor
    request.left = prompt
    request.first_s = math.nan
    request.work_s = work_s(costs, prompt, max(output, 1))
    if costs.generates and prompt + request.output > costs.kv_tokens:
        report(state, row, NONE, REFUSED, now_s)
        return
    u = choose(state, costs) if book.head == NONE else NONE
    if u != NONE:
        append(state, u, row, now_s)
        wake(state, costs, u, now_s)
        return
    request.next = NONE
    if book.head == NONE:
        book.head = row
    else:
        state.requests[book.tail].next = row
    book.tail = row


@compiled
def work_s(costs: Costs, prompt: int, output: int) -> float:
    """Seconds of a well-filled unit that a request is expected to take."""
    if not costs.generates:
        return float(costs.pass_s[1])
    chunks = max(1.0, math.ceil(prompt / costs.chunk_tokens))
    context = prompt + 0.5 * output
    return (
        costs.gamma_s * prompt
        + costs.delta_s * chunks
        + output * (costs.beta_s + costs.kappa_s * context)
    )


@compiled
def apply(state: State, costs: Costs, now_s: float, kind: int, unit: int) -> None:
    """Carry out one fleet event; an order that names no unit takes the least loaded one."""
    u = unit
    if kind == READY_AT:
        u = pick(state, GONE) if unit == NONE else unit
        make_ready(state, u, now_s)
    else:
        u = pick(state, READY) if unit == NONE else unit
        if u != NONE and kind == DRAIN:
            drain(state, u, now_s)
        if u != NONE and kind == CRASH:
            crash(state, costs, u, now_s)
    dispatch(state, costs, now_s, NONE)


@compiled
def play(
    state: State,
    costs: Costs,
    arrivals: tuple[FloatArray, IntArray, IntArray, FloatArray],
    events: tuple[FloatArray, IntArray, IntArray],
    until_s: float,
) -> None:
    """Play requests and fleet events in order of time (events first among equals), then go on."""
    arrival_s, prompt, output, factor = arrivals
    event_s, kind, unit = events
    at = 0
    for i in range(arrival_s.size):
        while at < event_s.size and event_s[at] <= arrival_s[i]:
            advance(state, costs, event_s[at])
            apply(state, costs, event_s[at], kind[at], unit[at])
            at += 1
        advance(state, costs, arrival_s[i])
        submit(state, costs, arrival_s[i], prompt[i], output[i], factor[i])
    while at < event_s.size:
        advance(state, costs, event_s[at])
        apply(state, costs, event_s[at], kind[at], unit[at])
        at += 1
    if until_s > -np.inf:
        advance(state, costs, until_s)
