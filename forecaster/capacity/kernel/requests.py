"""Requests inside the kernel: rows taken and given back, lists by link, results."""

from __future__ import annotations

import numpy as np

from forecaster.capacity.kernel.compiled import compiled
from forecaster.capacity.kernel.state import DONE, NONE, State


@compiled
def append(state: State, u: int, row: int, now_s: float) -> None:
    """Put a request behind those that wait at unit `u`."""
    unit = state.units[u]
    request = state.requests[row]
    request.next = NONE
    request.queued_s = now_s
    if unit.head == NONE:
        unit.head = row
    else:
        state.requests[unit.tail].next = row
    unit.tail = row
    unit.waiting += 1
    state.jobs[u] += 1
    state.work_s[u] += request.work_s


@compiled
def take_first(state: State, u: int) -> int:
    """Take the request that waits longest at unit `u`; the caller knows that there is one."""
    unit = state.units[u]
    row = unit.head
    unit.head = state.requests[row].next
    unit.waiting -= 1
    return int(row)


@compiled
def report(state: State, row: int, u: int, status: int, now_s: float) -> None:
    """Write the result of a request and give its row back."""
    book = state.book[0]
    request = state.requests[row]
    out = state.finished[book.finished]
    out.number = request.number
    out.unit = u
    out.status = status
    out.arrival_s = request.arrival_s
    out.latency_s = now_s - request.arrival_s
    out.ttft_s = request.first_s - request.arrival_s
    out.tpot_s = np.nan
    if status == DONE and request.output > 1:
        out.tpot_s = (now_s - request.first_s) / (request.output - 1)
    book.finished += 1
    state.free[book.free] = row
    book.free += 1


@compiled
def leave(state: State, row: int, u: int, status: int, now_s: float) -> None:
    """Take a request off its unit and report it."""
    state.jobs[u] -= 1
    # an idle unit owes nothing: rounding does not add up over a long trace
    state.work_s[u] = state.work_s[u] - state.requests[row].work_s if state.jobs[u] > 0 else 0.0
    report(state, row, u, status, now_s)
