"""What became of requests, as the log that has them tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray, IntArray, RequestBatch
from forecaster.domain.service import Slo

NOT_TOLD = -1.0
"""A time of which the log has no column: nobody knows it of any request."""
UNKNOWN = 0
"""A status that the log does not tell."""
TOO_MANY = 429
SERVER_ERROR = 500

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers in columns, one row a request.

    Attributes
    ----------
    ttft_s, tpot_s, latency_s : float64[n]
        Seconds; NaN where this request has none, `NOT_TOLD` where the log has no such column.
    status : int64[n]
        HTTP status; `UNKNOWN` where the log has none, which is taken for an answer.
    """

    ttft_s: FloatArray
    tpot_s: FloatArray
    latency_s: FloatArray
    status: IntArray

    @classmethod
    def untold(cls, rows: int) -> Answers:
        """Answers of which nothing is known."""
        none = np.full(rows, NOT_TOLD)
        return cls(none, none, none, np.full(rows, UNKNOWN, np.int64))

    @classmethod
    def of(cls, batches: Sequence[RequestBatch]) -> Answers | None:
        """Those of several batches, one after the other; None where not one tells."""
        if not any(batch.answers for batch in batches):
            return None
        parts = [batch.answers or cls.untold(len(batch)) for batch in batches]
        return cls(
            *(np.concatenate(columns) for columns in zip(*map(_columns, parts), strict=True))
        )

    def take(self, rows: Any) -> Answers:
        """Those of an index, a mask or a slice."""
        return Answers(*(column[rows] for column in _columns(self)))

    @property
    def timed(self) -> int:
        """How many tell any time of theirs."""
        every = np.maximum.reduce([np.nan_to_num(column, nan=NOT_TOLD) for column in _times(self)])
        return int((every >= 0).sum())

    @property
    def refused(self) -> Flags:
        """Turned away, or failed on the server's side."""
        return np.asarray((self.status == TOO_MANY) | (self.status >= SERVER_ERROR))

    @property
    def clients_fault(self) -> Flags:
        """A client's mistake, or one that left: says nothing of the service."""
        status = self.status
        return np.asarray((status >= 400) & (status < SERVER_ERROR) & (status != TOO_MANY))

    def judged(self, slo: Slo) -> tuple[Flags, Flags]:
        """Which requests count, and which of those were outside the SLO.

        An answer counts where every time that the SLO bounds is known; a refused request where the log tells
        those times of others: where it does not, refusals would be all that counts.

        Examples
        --------
        >>> each = Answers(
        ...     np.array([0.5, 3.0, np.nan, np.nan]), np.full(4, NOT_TOLD), np.full(4, 4.0),
        ...     np.array([200, 200, 503, 404]),
        ... )
        >>> counts, outside = each.judged(Slo(ttft_p99_s=2.0))
        >>> counts.tolist(), outside.tolist()
        ([True, True, True, False], [False, True, True, False])
        >>> each.judged(Slo(ttft_p99_s=2.0, tpot_p99_s=0.1))[0].any()
        np.False_
        """
        told, known = ~self.clients_fault, np.ones(self.status.size, bool)
        for column, _ in self._bounded(slo):
            told &= column != NOT_TOLD
            known &= column >= 0
        counts = told & (known | self.refused)
        return counts, counts & self.outside(slo)

    def outside(self, slo: Slo) -> Flags:
        """Refused, or beyond a bound of the SLO; a time that is not known is within it."""
        found = self.refused
        for column, bound in self._bounded(slo):
            found = found | (column > bound)
        return found

    def _bounded(self, slo: Slo) -> list[tuple[FloatArray, float]]:
        bounds = (slo.ttft_p99_s, slo.tpot_p99_s, slo.latency_p99_s)
        pairs = zip(_times(self), bounds, strict=True)
        return [(column, bound) for column, bound in pairs if bound is not None]


def time_per_token_s(
    ttft_s: FloatArray, latency_s: FloatArray, output_tokens: IntArray
) -> FloatArray:
    """Seconds for each token after the first, of requests that tell when the first came and when the last.

    Examples
    --------
    >>> time_per_token_s(np.array([0.5, 0.5, NOT_TOLD]), np.array([2.5, 0.6, 1.0]), np.array([5, 1, 9]))
    array([ 0.5,  0. , -1. ])
    """
    between_s = (latency_s - ttft_s) / np.maximum(output_tokens - 1, 1)
    found_s = np.where(output_tokens == 1, 0.0, np.where(between_s >= 0, between_s, np.nan))
    untold = (ttft_s == NOT_TOLD) | (latency_s == NOT_TOLD)
    return np.where(untold, NOT_TOLD, found_s)


def _times(answers: Answers) -> tuple[FloatArray, FloatArray, FloatArray]:
    return answers.ttft_s, answers.tpot_s, answers.latency_s


def _columns(answers: Answers) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    return *_times(answers), answers.status
