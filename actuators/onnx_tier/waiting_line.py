"""Requests that wait for a unit: the interactive ones first, each class in its own order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from actuators.onnx_tier.jobs import Job


class WaitingLine:
    """A bounded queue of two classes.

    Parameters
    ----------
    limit : int
        Requests that may wait. Batch work may take half of it, so that it never shuts out a person.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._interactive: deque[Job] = deque()
        self._batch: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._interactive) + len(self._batch)

    def __iter__(self) -> Iterator[Job]:
        yield from self._interactive
        yield from self._batch

    def has_room(self, job: Job) -> bool:
        """Whether `job` may wait."""
        if job.batch and len(self._batch) >= max(1, self._limit // 2):
            return False
        return len(self) < self._limit

    def append(self, job: Job) -> None:
        """Wait behind the others of the same class."""
        self._of(job).append(job)

    def put_back(self, job: Job) -> None:
        """Wait in front of the others of the same class."""
        self._of(job).appendleft(job)

    @property
    def first(self) -> Job | None:
        """Whose turn it is."""
        line = self._interactive or self._batch
        return line[0] if line else None

    def pop(self) -> Job:
        """Take whose turn it is."""
        return (self._interactive or self._batch).popleft()

    def discard(self, job: Job) -> bool:
        """Forget a job; say whether it waited."""
        if job not in self._of(job):
            return False
        self._of(job).remove(job)
        return True

    def pop_queued_before(self, queued_s: float) -> Iterator[Job]:
        """Take every job that came before `queued_s` (monotonic seconds)."""
        for line in (self._interactive, self._batch):
            while line and line[0].queued_s < queued_s:
                yield line.popleft()

    def _of(self, job: Job) -> deque[Job]:
        return self._batch if job.batch else self._interactive
