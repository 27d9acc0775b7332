"""One accepted request inside the tier, and what happens to it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from actuators.onnx_tier.wire import Header
from forecaster.domain.profile import ClassicProfile, Profile


class RefusedError(Exception):
    """A request that was not accepted, or could not be kept.

    Parameters
    ----------
    status : int
        HTTP status to answer.
    message : str
        One sentence for the client.
    code : str
        Machine-readable kind, as in OpenAI's error bodies.
    retry_after_s : int
        When to come back; 0 = no advice.
    """

    def __init__(self, status: int, message: str, code: str, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Tokens:
    """A generated token; `finish` is empty until the last."""

    token: int
    finish: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The outputs of a classic model: entries as in `wire.pack_tensors`, and the bytes."""

    outputs: list[Header]
    body: bytes


@dataclass(frozen=True, slots=True)
class Restarted:
    """The unit was lost before anything was sent: what came so far is void."""


JobEvent = Tokens | Answer | Restarted | RefusedError


@dataclass(frozen=True, slots=True)
class Handed:
    """The cache of a prompt that was read: its file, and the first token behind it."""

    path: Path
    token: int


@dataclass(slots=True, eq=False)
class Job:
    """An accepted request.

    Attributes
    ----------
    header, body : dict, bytes
        The frame that a unit gets, without its number.
    work_s : float
        Expected seconds of a unit's time; what the router balances.
    arrival_s : float
        On the installation's clock.
    timeout_s : float
        Seconds from the arrival within which the whole answer is wanted.
    batch : bool
        Batch work waits behind interactive work.
    arrived_s, first_s, last_s : float
        Monotonic real seconds: accepted, first and last output; NaN before.
    reused_tokens : int
        Prompt tokens that the unit knew from requests that began alike.
    deliver : callable
        Takes each event; `events` keeps them where it is not set otherwise.
    delivered : bool
        Some of the answer is on its way to the client: the job can no longer begin anew.
    losses : int
        Units that were lost while they held it.
    lane : str
        Whose units serve it: those of its service, or of one of its pools.
    queued_s : float
        Monotonic real seconds: since when it waits for units of its lane.
    cache : Handed or None
        Its prompt's cache on the way to another unit.
    """

    service: str
    header: Header
    body: bytes
    work_s: float
    arrival_s: float
    prompt_tokens: int = 0
    timeout_s: float = math.inf
    batch: bool = False
    job_id: int = 0
    arrived_s: float = field(default_factory=time.monotonic)
    first_s: float = math.nan
    last_s: float = math.nan
    output_tokens: int = 0
    reused_tokens: int = 0
    unit_id: str = ""
    losses: int = 0
    delivered: bool = False
    done: bool = False
    lane: str = ""
    queued_s: float = field(init=False)
    cache: Handed | None = None
    _events: asyncio.Queue[JobEvent] | None = None
    deliver: Callable[[JobEvent], None] = field(init=False)

    def __post_init__(self) -> None:
        self.deliver = self._queue
        self.queued_s = self.arrived_s

    @property
    def tokens(self) -> int:
        """Tokens of a cache that it takes until its end."""
        return self.prompt_tokens + int(self.header.get("max_tokens", 0))

    @property
    def events(self) -> asyncio.Queue[JobEvent]:
        """What happened and was not read yet, unless `deliver` was set to hand it on at once."""
        if self._events is None:
            self._events = asyncio.Queue()
        return self._events

    def _queue(self, event: JobEvent) -> None:
        self.events.put_nowait(event)

    def push(self, event: JobEvent) -> None:
        """Hand an event to whoever answers the client."""
        if isinstance(event, Tokens | Answer):
            self.last_s = time.monotonic()
            if math.isnan(self.first_s):
                self.first_s = self.last_s
        if isinstance(event, Tokens) and event.finish != "stop":
            self.output_tokens += 1
        self.done = isinstance(event, Answer | RefusedError) or (
            isinstance(event, Tokens) and bool(event.finish)
        )
        if self.done:
            self.let_go()
        self.deliver(event)

    def let_go(self) -> None:
        """Give up the cache that was handed over: it was taken, or nobody wants it any more."""
        if self.cache is not None:
            self.cache.path.unlink(missing_ok=True)
            self.cache = None

    def restart(self) -> None:
        """Void what came so far: another unit begins anew."""
        self.let_go()
        while self._events is not None and not self._events.empty():
            self._events.get_nowait()
        self.unit_id = ""
        self.output_tokens = self.reused_tokens = 0
        self.first_s = self.last_s = math.nan
        self.deliver(Restarted())


def expected_work_s(profile: Profile, prompt_tokens: int, output_tokens: int) -> float:
    """Seconds of a well-filled unit that a request will take (design, section 4).

    Examples
    --------
    >>> from forecaster.domain.profile import ClassicProfile
    >>> expected_work_s(ClassicProfile(((1, 0.004), (4, 0.008))), 0, 0)
    0.002
    """
    if isinstance(profile, ClassicProfile):
        size, latency_s = profile.batch_latency_s[-1]
        return latency_s / size
    decode_s = profile.beta_s + profile.kappa_s * (prompt_tokens + output_tokens / 2)
    return profile.gamma_s * prompt_tokens + output_tokens * (
        decode_s + profile.alpha_s / profile.max_batch
    )
