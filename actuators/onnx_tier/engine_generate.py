"""Token generation with continuous batching: every step decodes all rows and reads some prompt.

Rows 0..n-1 decode; the prompt being read sits in row n, at most `chunk_tokens` of it a step, so that
a long prompt never stalls the others for longer than one chunk. A finished row is filled by the last
one. The tokens of a request do not depend on its neighbours.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from actuators.onnx_tier.kv_handover import HeldCache, hand_over
from actuators.onnx_tier.kv_rows import KvRows, Tokens
from actuators.onnx_tier.prefixes import PrefixStore
from actuators.onnx_tier.sampling import GREEDY, Sampler, Sampling, pick, sampler_of
from actuators.onnx_tier.session import signature_of
from forecaster.domain.profile import GenerativeProfile

STEP_LOG = 4096
"""Steps that the running log keeps."""

PREFIX_SHARE = 0.25
"""Tokens kept for prompts that begin alike, beside the cache: this share of `kv_tokens`."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One prompt to continue.

    Attributes
    ----------
    prompt : int64[p]
        Token ids, at least one.
    max_tokens : int
        Tokens to generate.
    sampling : Sampling
        How tokens are drawn.
    stop_tokens : tuple of int
        Generation ends before any of these.
    hand_to : str
        File to which the cache is written behind the first token, for another unit; empty: none.
    """

    request_id: int
    prompt: Tokens
    max_tokens: int
    sampling: Sampling = GREEDY
    stop_tokens: tuple[int, ...] = ()
    hand_to: str = ""


@dataclass(frozen=True, slots=True)
class TokenOut:
    """One generated token.

    Attributes
    ----------
    finish : str
        Empty, ``length`` or ``stop`` (then `token` is no output).
    reused : int
        With the first token: how much of the prompt was known from others, tokens.
    handed_bytes : int
        With the only token of a request that is handed over: length of its cache.
    problem : str
        Why a cache could not be handed over; there is no token then.
    """

    request_id: int
    token: int
    finish: str = ""
    reused: int = 0
    handed_bytes: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did: `b` rows decoded over `ctx` cached tokens, `p` prompt tokens in `reads` passes."""

    b: int
    ctx: int
    reads: int
    p: int
    seconds: float


@dataclass(slots=True)
class _Sequence:
    request: GenerateRequest
    sampler: Sampler | None
    reused: int = 0
    cached: int = 0
    made: int = 0
    last: int = 0
    reserved: int = field(init=False)

    def __post_init__(self) -> None:
        own = 0 if self.request.hand_to else self.request.max_tokens
        self.reserved = int(self.request.prompt.size) + own


class GenerateEngine:
    """The engine of one generative unit; one thread owns it.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The model.
    profile : GenerativeProfile
        Limits: `max_batch` rows, `chunk_tokens` a step, `kv_tokens` over all rows.
    prefix_share : float
        Share of `kv_tokens` kept beside them for prompts that begin alike; 0 reads each anew.
    device, graphs : str, bool
        As in `KvRows`.
    """

    def __init__(
        self,
        session: Any,
        profile: GenerativeProfile,
        prefix_share: float = PREFIX_SHARE,
        *,
        device: str = "",
        graphs: bool = False,
    ) -> None:
        signature = signature_of(session)
        self._profile = profile
        row_tokens = min(signature.context_tokens, profile.kv_tokens)
        self._kv = KvRows(session, signature, profile.max_batch, row_tokens, device, graphs)
        self._prefixes = PrefixStore(self._kv, int(profile.kv_tokens * prefix_share))
        self._waiting: deque[GenerateRequest] = deque()
        self._handed: deque[tuple[_Sequence, HeldCache]] = deque()
        self._rows: list[_Sequence] = []
        self._reading: _Sequence | None = None
        self._reserved_tokens = 0
        self.steps: deque[Step] = deque(maxlen=STEP_LOG)

    @property
    def row_tokens(self) -> int:
        """Longest prompt and output together, tokens."""
        return self._kv.row_tokens

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self._kv.vocabulary

    @property
    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        return bool(self._rows or self._reading or self._waiting or self._handed)

    def use(self, session: Any) -> None:
        """Go on with another session of the same model."""
        self._kv.use(session)

    def submit(self, request: GenerateRequest) -> None:
        """Queue a request.

        Raises
        ------
        ValueError
            When it can never run: empty, too long for a row, or with a token outside the vocabulary.
        """
        self._check(request)
        self._waiting.append(request)

    def resume(self, request: GenerateRequest, token: int, path: str) -> None:
        """Go on behind the first token of a prompt that another unit has read.

        Raises
        ------
        ValueError
            As `submit` does, and when the cache is not there.
        """
        self._check(request)
        sequence = _Sequence(request, sampler_of(request.sampling), made=1, last=token)
        sequence.cached = int(request.prompt.size)
        if sequence.sampler is not None:
            sequence.sampler.skip(self._kv.vocabulary)
        self._handed.append((sequence, HeldCache(path, self._kv, sequence.cached)))

    def _check(self, request: GenerateRequest) -> None:
        total = int(request.prompt.size) + (0 if request.hand_to else request.max_tokens)
        if request.prompt.size == 0 or request.max_tokens < 1:
            raise ValueError("a request needs a prompt and at least one token to make")
        if total > self._kv.row_tokens:
            raise ValueError(f"{total} tokens do not fit a row of {self._kv.row_tokens}")
        if int(request.prompt.min()) < 0 or int(request.prompt.max()) >= self._kv.vocabulary:
            raise ValueError(f"token ids must be 0..{self._kv.vocabulary - 1}")

    def cancel(self, request_id: int) -> None:
        """Forget a request, wherever it is; unknown ids are ignored."""
        for request in self._waiting:
            if request.request_id == request_id:
                self._waiting.remove(request)
                return
        for held in self._handed:
            if held[0].request.request_id == request_id:
                self._handed.remove(held)
                return
        if self._reading and self._reading.request.request_id == request_id:
            self._release(self._reading)
            self._reading = None
            return
        for row, sequence in enumerate(self._rows):
            if sequence.request.request_id == request_id:
                self._remove_row(row)
                return

    def step(self) -> list[TokenOut]:
        """Decode one token for every row and read up to `chunk_tokens` of prompts."""
        started_s = time.perf_counter()
        self._take_over()
        b, ctx = len(self._rows), sum(each.cached for each in self._rows)
        out = self._decode()
        budget, reads = self._profile.chunk_tokens, 0
        while budget > 0 and (self._reading or self._admit()):
            budget -= self._read(budget, out)
            reads += 1
        p = self._profile.chunk_tokens - budget
        self.steps.append(Step(b, ctx, reads, p, time.perf_counter() - started_s))
        return out

    def _decode(self) -> list[TokenOut]:
        rows = self._rows
        if not rows:
            return []
        tokens = np.array([each.last for each in rows], np.int64)
        lengths = np.array([each.cached for each in rows], np.int64)
        picked = pick(self._kv.decode(tokens, lengths), [each.sampler for each in rows])
        out: list[TokenOut] = []
        ended: list[int] = []
        for row, (sequence, token) in enumerate(zip(rows, picked, strict=True)):
            sequence.cached += 1
            out.append(_emit(sequence, int(token)))
            if out[-1].finish:
                ended.append(row)
        for row in reversed(ended):
            self._remove_row(row)
        return out

    def _take_over(self) -> None:
        """Put caches that were handed over into free rows; the row behind them is for reading."""
        while self._handed and not self._reading and len(self._rows) < self._profile.max_batch:
            sequence, cache = self._handed[0]
            if self._reserved_tokens + sequence.reserved > self._profile.kv_tokens:
                return
            self._handed.popleft()
            self._reserved_tokens += sequence.reserved
            cache.put(len(self._rows))
            self._rows.append(sequence)

    def _admit(self) -> bool:
        """Start reading the next prompt if a row and its tokens are free; strictly in order."""
        if not self._waiting or len(self._rows) >= self._profile.max_batch:
            return False
        sequence = _Sequence(self._waiting[0], sampler_of(self._waiting[0].sampling))
        if self._reserved_tokens + sequence.reserved > self._profile.kv_tokens:
            return False
        self._waiting.popleft()
        self._reserved_tokens += sequence.reserved
        self._reading = sequence
        sequence.reused = self._prefixes.restore(sequence.request.prompt, len(self._rows))
        sequence.cached = sequence.reused
        return True

    def _read(self, budget: int, out: list[TokenOut]) -> int:
        """Read at most `budget` tokens of the prompt under way; return how many."""
        sequence = self._reading
        assert sequence is not None
        prompt = sequence.request.prompt
        chunk = prompt[sequence.cached : sequence.cached + budget]
        logits = self._kv.prefill(len(self._rows), chunk, sequence.cached)
        sequence.cached += chunk.size
        if sequence.cached == prompt.size:
            self._prefixes.keep(prompt, len(self._rows))
            out.append(_emit(sequence, int(pick(logits[None, :], [sequence.sampler])[0])))
            self._reading = None
            if sequence.request.hand_to and not out[-1].finish:
                out[-1] = self._hand_over(sequence, out[-1])
                self._release(sequence)
            elif out[-1].finish:
                self._release(sequence)
            else:
                self._rows.append(sequence)
        return int(chunk.size)

    def _hand_over(self, sequence: _Sequence, first: TokenOut) -> TokenOut:
        request = sequence.request
        try:
            size = hand_over(self._kv, len(self._rows), int(request.prompt.size), request.hand_to)
        except OSError as error:
            return replace(first, problem=f"no room to hand its cache over: {error.strerror}")
        return replace(first, handed_bytes=size)

    def _remove_row(self, row: int) -> None:
        """Free `row`: the last row takes its place, the prompt under way moves up behind it."""
        self._release(self._rows[row])
        last = len(self._rows) - 1
        moved = self._rows.pop()
        if row != last:
            self._kv.move(last, row, moved.cached)
            self._rows[row] = moved
        if self._reading and self._reading.cached:
            self._kv.move(last + 1, last, self._reading.cached)

    def _release(self, sequence: _Sequence) -> None:
        self._reserved_tokens -= sequence.reserved


def _emit(sequence: _Sequence, token: int) -> TokenOut:
    request = sequence.request
    reused = 0 if sequence.made else sequence.reused
    if token in request.stop_tokens:
        return TokenOut(request.request_id, token, "stop", reused)
    sequence.last = token
    sequence.made += 1
    finish = "length" if sequence.made >= request.max_tokens else ""
    return TokenOut(request.request_id, token, finish, reused)
