"""Batch requests in the replay: kept back, let into the trough, done by their deadline."""

from __future__ import annotations

import numpy as np

from forecaster.capacity.kernel import Finished
from forecaster.demand import request_work_s
from forecaster.domain.deferred import Backlog
from forecaster.domain.demand import FloatArray, RequestBatch
from forecaster.domain.profile import Profile
from forecaster.replay.scorecard import rows_of

BLOCK_S = 1800.0
"""What arrives within this is one piece of backlog."""


class Trough:
    """The batch requests of one service: first come, first let in.

    Parameters
    ----------
    requests : RequestBatch
        In order of arrival.
    deadline_s : float
        From arrival to the moment by which each must be answered.
    profile : Profile
        Of the unit that answers them.
    """

    def __init__(self, requests: RequestBatch, deadline_s: float, profile: Profile) -> None:
        self.requests, self.deadline_s = requests, deadline_s
        work_s = request_work_s(requests.prompt_tokens, requests.output_tokens, profile)
        self._work_s: FloatArray = np.concatenate([[0.0], np.cumsum(work_s)])
        self._let_in = 0
        self._done_s = np.full(len(requests), np.inf)

    def work_s(self, rows: slice) -> float:
        """Busy seconds of some of the requests."""
        return float(self._work_s[rows.stop] - self._work_s[rows.start])

    def late(self, until_s: float) -> int:
        """Requests with a deadline up to then that were not answered by it."""
        due_s = self.requests.arrival_s + self.deadline_s
        return int(((self._done_s > due_s) & (due_s <= until_s)).sum())

    def backlog(self, now_s: float) -> list[Backlog]:
        """What has arrived and was not let in, by deadline."""
        until = int(np.searchsorted(self.requests.arrival_s, now_s))
        arrivals = self.requests.arrival_s[self._let_in : until]
        if not arrivals.size:
            return []
        blocks, first = np.unique((arrivals // BLOCK_S).astype(np.int64), return_index=True)
        begins = self._let_in + first
        ends = np.concatenate([begins[1:], [until]])
        work_s = self._work_s[ends] - self._work_s[begins]
        return [
            Backlog(float(block) * BLOCK_S + self.deadline_s, float(work))
            for block, work in zip(blocks, work_s, strict=True)
        ]

    def let_in(self, now_s: float, seconds: float, work_s: float) -> tuple[RequestBatch, slice]:
        """Requests for `work_s` busy seconds, spread over the coming `seconds`, and which they are."""
        until = int(np.searchsorted(self.requests.arrival_s, now_s))
        most = self._work_s[self._let_in] + work_s
        end = min(max(int(np.searchsorted(self._work_s, most, "right")) - 1, self._let_in), until)
        rows = slice(self._let_in, end)
        self._let_in = end
        part = rows_of(self.requests, rows)
        count = len(part)
        at_s = now_s + seconds * (np.arange(count) + 0.5) / max(count, 1)
        return RequestBatch(part.service, at_s, part.prompt_tokens, part.output_tokens), rows

    def answered(self, which: np.ndarray, done: Finished) -> None:
        """Take the answers to some of the requests."""
        at_s = done.arrival_s + done.latency_s
        self._done_s[which] = np.where(done.status == 0, at_s, np.inf)
