"""Answers the requests of batches: earliest deadline first, in the room that interactive work leaves."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import orjson

from actuators.onnx_tier.batch_folder import OPEN, Batch, BatchFile, BatchFolder
from actuators.onnx_tier.batch_order import BatchLine
from actuators.onnx_tier.router import Router
from actuators.onnx_tier.spec import TierService
from forecaster.domain.deferred import Backlog
from forecaster.domain.ports import Clock
from forecaster.domain.profile import GenerativeProfile

log = logging.getLogger("onnx_tier")

Ask = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]
"""Path and body of a request to its status and answer."""

LATER = frozenset({408, 429, 500, 502, 503, 504})
"""Refusals that may be over when the request is made again."""
AGAIN_S = 1.0
SAID_S = 900.0
"""What was let in holds for this long on the installation's clock: a daemon that is gone must not hold batch work back
for ever."""
KEPT_S = 30 * 86_400.0
"""Batches that are over are forgotten after this long, with their files."""
LETTERS_A_TOKEN = 3.0
TOKENS_UNSAID = 128
"""What a request is thought to need before any of its batch was answered."""


@dataclass(slots=True)
class _Work:
    """A batch under way: what waits of it, and what its requests cost so far."""

    batch: Batch
    waiting: deque[BatchLine]
    asked: int = 0
    tokens: list[int] = field(default_factory=lambda: [0, 0, 0])


class BatchRunner:
    """Runs every open batch of a tier.

    Parameters
    ----------
    folder : BatchFolder
        Where promises and results are.
    services : dict of str to TierService
        Who answers.
    router : Router
        Tells where there is room.
    ask : callable
        Answers one request of the batch class.
    clock : Clock
        Deadlines are on the installation's clock.
    """

    def __init__(
        self,
        folder: BatchFolder,
        services: dict[str, TierService],
        router: Router,
        ask: Ask,
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._services = services
        self._router = router
        self._ask = ask
        self._clock = clock
        self._open: dict[str, _Work] = {}
        self._allowed: dict[str, tuple[float, float]] = {}
        self._asked: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._again_s = -math.inf
        self._news = asyncio.Event()
        self._job: asyncio.Task[None] | None = None

    def start(self, read: Callable[[Batch], list[BatchLine]]) -> None:
        """Go on with what was promised before.

        Parameters
        ----------
        read : callable
            Returns the requests of a batch that was checked once.
        """
        for batch in self._folder.batches():
            if batch.status in OPEN and batch.service in self._services:
                self._resume(batch, read(batch))
        self._job = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop asking; what was not answered is asked again after the next start."""
        tasks = [*self._tasks, *filter(None, (self._job,))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def add(self, batch: Batch, lines: list[BatchLine]) -> None:
        """Begin with a batch that is on disk."""
        self._open[batch.id] = _Work(batch, deque(lines))
        self._news.set()

    def cancel(self, batch_id: str) -> None:
        """Ask no more of a batch; what is under way is answered."""
        if work := self._open.get(batch_id):
            self._move(work.batch, "cancelling")
            self._news.set()

    def batch(self, batch_id: str) -> Batch | None:
        """A batch under way."""
        work = self._open.get(batch_id)
        return work.batch if work else None

    def allow(self, service: str, busy_units: float) -> None:
        """Let batch work take so many busy units' worth of a service, for `SAID_S` from now on."""
        self._allowed[service] = busy_units, self._clock.now_s()
        self._news.set()

    def allowed(self, service: str) -> float:
        """Busy units' worth that batch work may take; no limit but the router's where nobody said so lately."""
        busy_units, said_s = self._allowed.get(service, (math.inf, -math.inf))
        return busy_units if self._clock.now_s() - said_s < SAID_S else math.inf

    def backlog(self, service: str) -> tuple[Backlog, ...]:
        """What waits and is under way, a piece for each batch."""
        return tuple(
            Backlog(work.batch.expires_at, work.batch.left * self._work_s(work))
            for work in self._open.values()
            if work.batch.service == service and work.batch.status == "in_progress"
        )

    def waiting(self, service: str) -> int:
        """Requests of batches without a result."""
        return sum(w.batch.left for w in self._open.values() if w.batch.service == service)

    def _resume(self, batch: Batch, lines: list[BatchLine]) -> None:
        answered, refused = self._folder.answered(batch)
        batch.completed, batch.failed = len(answered), len(refused)
        self.add(batch, [line for line in lines if line.custom_id not in answered | refused])

    async def _run(self) -> None:
        while True:
            self._news.clear()
            now_s = self._clock.now_s()
            for work in [*self._open.values()]:
                self._end_if_over(work, now_s)
            if asyncio.get_running_loop().time() >= self._again_s:
                for service in {work.batch.service for work in self._open.values()}:
                    self._fill(service)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), AGAIN_S)

    def _fill(self, service: str) -> None:
        """Ask as much as there is room for."""
        due = sorted(
            (w for w in self._open.values() if w.batch.service == service and w.waiting),
            key=lambda each: each.batch.expires_at,
        )
        for work in due:
            while work.batch.status == "in_progress" and work.waiting and self._room(service):
                line = work.waiting.popleft()
                work.asked += 1
                self._asked[service] += 1
                task = asyncio.create_task(self._answer(work, line))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _room(self, service: str) -> bool:
        slots = self._services[service].unit_type.profile.max_batch
        here = self._asked[service]
        return here < self.allowed(service) * slots and here < self._router.batch_slots(service)

    async def _answer(self, work: _Work, line: BatchLine) -> None:
        batch = work.batch
        try:
            status, body = await self._ask(batch.endpoint, line.body)
            if status in LATER:
                self._put_back(work, line)
                return
            self._keep(batch, line, status, body)
            if status == 200:
                usage = orjson.loads(body)["usage"]
                work.tokens[0] += usage["prompt_tokens"]
                work.tokens[1] += usage["completion_tokens"]
                work.tokens[2] += 1
        except OSError as error:
            log.warning("batch %s: its results cannot be written: %s", batch.id, error)
            self._put_back(work, line)
        finally:
            work.asked -= 1
            self._asked[batch.service] -= 1
            self._news.set()

    def _put_back(self, work: _Work, line: BatchLine) -> None:
        work.waiting.appendleft(line)
        self._again_s = asyncio.get_running_loop().time() + AGAIN_S

    def _keep(self, batch: Batch, line: BatchLine, status: int, body: bytes) -> None:
        answered = status == 200
        result = {
            "id": f"batch_req_{batch.id[6:14]}_{batch.completed + batch.failed}",
            "custom_id": line.custom_id,
            "response": {"status_code": status, "request_id": "", "body": orjson.loads(body)},
            "error": None,
        }
        file_id = batch.output_file if answered else batch.error_file
        self._folder.append(file_id, orjson.dumps(result))
        batch.completed += answered
        batch.failed += not answered

    def _end_if_over(self, work: _Work, now_s: float) -> None:
        batch = work.batch
        late = now_s >= batch.expires_at and batch.left > 0
        if work.asked or (batch.left and not late and batch.status == "in_progress"):
            if late:
                work.waiting.clear()
            return
        try:
            if batch.left:
                self._give_up(batch)
            over = {"cancelling": "cancelled"}.get(batch.status, "expired" if late else "completed")
            for file_id, kind in ((batch.output_file, "output"), (batch.error_file, "error")):
                self._publish(file_id, f"{batch.id}_{kind}.jsonl", now_s)
            self._move(batch, over)
        except OSError as error:
            log.warning("batch %s: it cannot be closed: %s", batch.id, error)
            return
        del self._open[batch.id]

    def _give_up(self, batch: Batch) -> None:
        """Say of every request without a result why it has none."""
        code = "batch_cancelled" if batch.status == "cancelling" else "batch_expired"
        why = {"code": code, "message": f"not answered: the batch was {code[6:]}"}
        answered, refused = self._folder.answered(batch)
        for text in self._folder.lines(batch.input_file):
            custom_id = orjson.loads(text)["custom_id"] if text.strip() else ""
            if custom_id and custom_id not in answered | refused:
                line = {"id": "", "custom_id": custom_id, "response": None, "error": why}
                self._folder.append(batch.error_file, orjson.dumps(line))

    def _publish(self, file_id: str, name: str, now_s: float) -> None:
        path = self._folder.path_of(file_id)
        if path.is_file():
            size = path.stat().st_size
            self._folder.describe(BatchFile(file_id, name, "batch_output", size, now_s))

    def _move(self, batch: Batch, status: str) -> None:
        batch.status = status
        batch.times[status] = self._clock.now_s()
        self._folder.keep(batch)

    def _work_s(self, work: _Work) -> float:
        """Busy seconds of one request: as those before it, else as it looks."""
        profile = self._services[work.batch.service].unit_type.profile
        prompt, made, count = work.tokens
        assert isinstance(profile, GenerativeProfile)
        if count:
            lengths = np.array([prompt, made]) / count
        elif work.waiting:
            first = work.waiting[0]
            lengths = np.array([first.size / LETTERS_A_TOKEN, first.max_tokens or TOKENS_UNSAID])
        else:
            return 0.0
        return float(profile.work_s(lengths[:1], lengths[1:])[0])

    def forget_old(self) -> None:
        """Remove batches that have been over for `KEPT_S`."""
        since_s = self._clock.now_s() - KEPT_S
        for batch in self._folder.batches():
            if batch.id not in self._open and max(batch.times.values()) < since_s:
                self._folder.remove(batch)
