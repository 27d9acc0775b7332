"""What the kernel carries from one piece of a trace to the next: a struct of arrays."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, Profile

Records = npt.NDArray[Any]
"""A structured array: numba reads its fields by name, numpy's types do not know them."""

NONE = -1
"""No request, no unit: the end of a linked list."""
NUMBER_BITS = 24
"""A heap key is ``step << NUMBER_BITS | row``: rows of live requests stay below 2**24."""
ROWS_MAX = 1 << NUMBER_BITS
CLASSIC_BATCHES_AHEAD = 2
"""Batches that a classic unit may hold: one runs, one waits (as the embedded tier's router)."""


class Routing(IntEnum):
    """Which ready unit with room a request goes to."""

    LEAST_WORK = 0
    """The one with the least expected work unanswered."""
    ROUND_ROBIN = 1
    """The next one in turn."""
    POWER_OF_TWO = 2
    """The one with less work of two drawn at random."""
    FEWEST_REQUESTS = 3
    """The one with the fewest requests unanswered."""


GONE, READY, DRAINING = 0, 1, 2
DONE, FAILED, REFUSED = 0, 1, 2

REQUEST = np.dtype(
    [
        ("number", "i8"),  # place in the whole trace
        ("arrival_s", "f8"),
        ("prompt", "i8"),
        ("output", "i8"),
        ("factor", "f8"),  # of the pass that this request leads (classic)
        ("work_s", "f8"),  # what the router expects
        ("first_s", "f8"),  # first token
        ("queued_s", "f8"),  # reached its unit
        ("left", "i8"),  # prompt tokens not yet read
        ("next", "i8"),  # the one behind in the same list
    ],
    align=True,
)
UNIT = np.dtype(
    [
        ("life", "i8"),
        ("ready_s", "f8"),
        ("drain_s", "f8"),
        ("head", "i8"),  # unstarted requests, first come first served
        ("tail", "i8"),
        ("waiting", "i8"),
        ("reading", "i8"),  # prompt under way; of a classic unit the first request of the pass
        ("joined", "i8"),  # prompts that this step reads to their end; requests of the pass
        ("batch", "i8"),  # decoding sequences
        ("context", "i8"),  # cached tokens of those
        ("reserved", "i8"),  # KV tokens promised
        ("step", "i8"),  # steps done when this run began
        ("run", "i8"),  # steps of this run; 0 while the unit is between steps
        ("start_s", "f8"),  # of this run
        ("pace_s", "f8"),  # its first step
    ],
    align=True,
)
BOOK = np.dtype(
    [
        ("active", "i8"),  # units that are not gone
        ("ready", "i8"),
        ("changed", "i8"),  # whether those lists are stale
        ("head", "i8"),  # requests that no unit has room for
        ("tail", "i8"),
        ("free", "i8"),  # unused request rows
        ("number", "i8"),  # requests accepted so far
        ("turn", "i8"),  # of round robin
        ("random", "u8"),  # state of the routing dice
        ("finished", "i8"),  # rows of `finished` filled in this call
        ("spans", "i8"),
        ("now_s", "f8"),
    ],
    align=True,
)
FINISHED = np.dtype(
    [
        ("number", "i8"),
        ("unit", "i8"),
        ("status", "i8"),
        ("arrival_s", "f8"),
        ("ttft_s", "f8"),
        ("tpot_s", "f8"),
        ("latency_s", "f8"),
    ],
    align=True,
)
SPAN = np.dtype(
    [("unit", "i8"), ("ready_s", "f8"), ("drain_s", "f8"), ("gone_s", "f8"), ("crashed", "i8")],
    align=True,
)


class Costs(NamedTuple):
    """A profile as the compiled loop reads it."""

    generates: bool
    alpha_s: float
    beta_s: float
    kappa_s: float
    gamma_s: float
    gamma2_s: float
    delta_s: float
    max_batch: int
    chunk_tokens: int
    kv_tokens: int
    delay_s: float
    pass_s: FloatArray  # of each batch 0..max_batch (classic)
    room: int  # requests that the router lets one unit hold
    routing: int
    cached: bool  # prompts come already read: decode units behind a prefill pool


class State(NamedTuple):
    """Everything that changes. Arrays of units first, then of requests, then what comes out."""

    next_s: FloatArray  # [units] end of the current run of steps; inf when idle
    work_s: FloatArray  # [units] expected work unanswered
    jobs: IntArray  # [units] requests held
    units: Records  # UNIT[units]
    active: IntArray  # [units] who is not gone, the ready ones too
    ready: IntArray  # [units]
    heaps: IntArray  # [units, max_batch] last step of each decoding sequence, least first
    joining: IntArray  # [units, max_batch] prompts that end in this step
    requests: Records  # REQUEST[rows]
    free: IntArray  # [rows] unused rows, the top at book.free - 1
    book: Records  # BOOK[1]
    finished: Records  # FINISHED[...]
    spans: Records  # SPAN[...]


def costs_of(profile: Profile, routing: Routing, room: int | None, cached: bool = False) -> Costs:
    """Return the numbers of `profile`; `room` is the most requests a unit is given at once."""
    if isinstance(profile, GenerativeProfile):
        return Costs(
            True, profile.alpha_s, profile.beta_s, profile.kappa_s, profile.gamma_s,
            profile.gamma2_s, profile.delta_s, profile.max_batch, profile.chunk_tokens,
            profile.kv_tokens, 0.0, np.zeros(1), room or profile.max_batch, int(routing),
            cached,
        )  # fmt: skip
    room = room or CLASSIC_BATCHES_AHEAD * profile.max_batch
    return Costs(
        False, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, profile.max_batch, 1, 1, profile.batch_delay_s,
        _pass_table(profile), room, int(routing), False,
    )  # fmt: skip


def _pass_table(profile: ClassicProfile) -> FloatArray:
    sizes = [float(size) for size, _ in profile.batch_latency_s]
    seconds = [each for _, each in profile.batch_latency_s]
    return np.asarray(np.interp(np.arange(profile.max_batch + 1), sizes, seconds), np.float64)


def empty_state(costs: Costs, seed: int) -> State:
    """Return the state of a fleet without units or requests."""
    book = np.zeros(1, BOOK)
    book["head"] = book["tail"] = NONE
    book["random"] = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
    book["now_s"] = -np.inf
    return State(
        np.zeros(0), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, UNIT),
        np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, costs.max_batch), np.int64),
        np.zeros((0, costs.max_batch), np.int64), np.zeros(0, REQUEST), np.zeros(0, np.int64),
        book, np.zeros(0, FINISHED), np.zeros(0, SPAN),
    )  # fmt: skip


def with_units(state: State, units: int) -> State:
    """Return the state with room for `units` units; those that are new are gone."""
    more = units - state.units.size
    if more <= 0:
        return state
    fresh = np.zeros(more, UNIT)
    fresh["head"] = fresh["tail"] = fresh["reading"] = NONE
    width = state.heaps.shape[1]
    table = np.zeros((more, width), np.int64)
    return state._replace(
        next_s=np.concatenate([state.next_s, np.full(more, np.inf)]),
        work_s=np.concatenate([state.work_s, np.zeros(more)]),
        jobs=np.concatenate([state.jobs, np.zeros(more, np.int64)]),
        units=np.concatenate([state.units, fresh]),
        active=np.concatenate([state.active, np.zeros(more, np.int64)]),
        ready=np.concatenate([state.ready, np.zeros(more, np.int64)]),
        heaps=np.concatenate([state.heaps, table]),
        joining=np.concatenate([state.joining, table]),
    )


def live_requests(state: State) -> int:
    """Requests accepted and not yet finished."""
    return int(state.requests.size - state.book["free"][0])


def with_rows(state: State, rows: int) -> State:
    """Return the state with at least `rows` unused request rows and room for their results."""
    unused = int(state.book["free"][0])
    live = live_requests(state)
    finished = state.finished
    if finished.size < live + rows:
        finished = np.zeros(live + rows, FINISHED)
    more = rows - unused
    if more <= 0:
        return state._replace(finished=finished)
    size = state.requests.size
    free = np.zeros(size + more, np.int64)
    # new rows lie below those used before: the loop reuses what is warm in the cache
    free[:more] = np.arange(size + more - 1, size - 1, -1)
    free[more : more + unused] = state.free[:unused]
    state.book["free"] = unused + more
    requests = np.concatenate([state.requests, np.zeros(more, REQUEST)])
    return state._replace(finished=finished, requests=requests, free=free)
