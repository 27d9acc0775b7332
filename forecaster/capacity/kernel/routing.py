"""Which unit a request goes to: the router rules, over the ready units that have room."""

from __future__ import annotations

import numpy as np

from forecaster.capacity.kernel.compiled import compiled
from forecaster.capacity.kernel.state import NONE, Costs, Routing, State

ROUND_ROBIN = int(Routing.ROUND_ROBIN)
POWER_OF_TWO = int(Routing.POWER_OF_TWO)
FEWEST_REQUESTS = int(Routing.FEWEST_REQUESTS)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)


@compiled
def choose(state: State, costs: Costs) -> int:
    """Return the unit for the next request, `NONE` when every ready unit is full."""
    if costs.routing == ROUND_ROBIN:
        return in_turn(state, costs)
    if costs.routing == POWER_OF_TWO and state.book[0].ready > 2:
        return better_of_two(state, costs)
    if costs.routing == FEWEST_REQUESTS:
        return fewest_requests(state, costs)
    return least_work(state, costs)


@compiled
def fewest_requests(state: State, costs: Costs) -> int:
    """Return the unit with the fewest requests; the least work, then the first, among equals."""
    best = NONE
    fewest = costs.room
    for i in range(state.book[0].ready):
        u = state.ready[i]
        jobs = state.jobs[u]
        if jobs < fewest or (
            jobs == fewest and best != NONE and state.work_s[u] < state.work_s[best]
        ):
            best, fewest = u, jobs
    return best


@compiled
def least_work(state: State, costs: Costs) -> int:
    """Return the unit with the least work; the fewer requests, then the first one, among equals."""
    best = NONE
    for i in range(state.book[0].ready):
        u = state.ready[i]
        if state.jobs[u] < costs.room and (best == NONE or less(state, u, best)):
            best = u
    return best


@compiled
def less(state: State, u: int, v: int) -> bool:
    """Whether unit `u` has less to do than unit `v`."""
    work_u, work_v = state.work_s[u], state.work_s[v]
    return bool(work_u < work_v or (work_u == work_v and state.jobs[u] < state.jobs[v]))


@compiled
def in_turn(state: State, costs: Costs) -> int:
    """Return the next unit in turn that has room."""
    book = state.book[0]
    for i in range(book.ready):
        at = (book.turn + i) % book.ready
        u = state.ready[at]
        if state.jobs[u] < costs.room:
            book.turn = at + 1
            return int(u)
    return NONE


@compiled
def draw(state: State, below: int) -> np.int64:
    """Roll 0..below-1 (SplitMix64: Steele, Lea, Flood 2014)."""
    book = state.book[0]
    seed = np.uint64(book.random) + GOLDEN
    book.random = seed
    z = (seed ^ (seed >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    z = z ^ (z >> np.uint64(31))
    return np.int64((z >> np.uint64(11)) % np.uint64(below))


@compiled
def better_of_two(state: State, costs: Costs) -> int:
    """Return the less loaded of two different units; when both are full, whoever is least loaded."""
    count = state.book[0].ready
    first = draw(state, count)
    second = draw(state, count - 1)
    if second >= first:
        second += 1
    u, v = state.ready[first], state.ready[second]
    if less(state, v, u):
        u, v = v, u
    if state.jobs[u] < costs.room:
        return int(u)
    if state.jobs[v] < costs.room:
        return int(v)
    return least_work(state, costs)
