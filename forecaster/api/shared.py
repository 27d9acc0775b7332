"""One answer for many who ask the same: worked out once at a time, kept in proportion to its cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

from forecaster.domain.errors import TidegateError

REST = 4.0
"""An answer is kept for this many times what it cost: asking takes at most a fifth of a core."""
QUICK_S = 0.25
"""What costs less is waited for; what costs more is asked anew while the last answer is given."""

T = TypeVar("T")


class Shared(Generic[T]):
    """Asks a question for everybody, in a thread, one at a time.

    Parameters
    ----------
    question : callable
        What is asked.
    least_s : float
        Answers are kept at least this long.
    """

    def __init__(self, question: Callable[[], T], least_s: float) -> None:
        self._question, self._least_s = question, least_s
        self._known: tuple[T] | None = None
        self._due_s = self._cost_s = 0.0
        self._turn = asyncio.Lock()
        self._refresh: asyncio.Task[None] | None = None

    async def ask(self) -> T:
        """The answer; raises what the question raises."""
        known = self._known
        if known is not None and time.monotonic() < self._due_s:
            return known[0]
        if known is not None and self._cost_s > QUICK_S:
            if self._refresh is None or self._refresh.done():
                self._refresh = asyncio.create_task(self._quietly())
            return known[0]
        async with self._turn:
            if self._known is None or time.monotonic() >= self._due_s:
                await self._anew()
            assert self._known is not None
            return self._known[0]

    async def _quietly(self) -> None:
        """Ask anew; after a failure nothing is known, and who asks next hears of it."""
        try:
            await self._anew()
        except TidegateError:
            return

    async def _anew(self) -> None:
        begin_s = time.monotonic()
        try:
            self._known = (await run_in_threadpool(self._question),)
        except TidegateError:
            self._known = None
            raise
        now_s = time.monotonic()
        self._cost_s = now_s - begin_s
        self._due_s = now_s + max(self._least_s, REST * self._cost_s)
