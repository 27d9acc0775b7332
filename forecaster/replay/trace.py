"""A log at another scale: superposed copies of every request, in pieces that fit the memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import RequestBatch
from forecaster.domain.errors import DataError, SettingError

JITTER_S = 120.0
"""A copy of a request comes up to this much before or after it."""
PIECE_S = 3600
_PIECE_ROWS = 1 << 21
"""A piece is cut shorter where an hour holds more rows than this."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A request log in order of time, played `rate_scale` times over.

    Each copy of a request keeps its tokens and is moved by up to `JITTER_S`, uniformly; the share
    of a last, incomplete copy is drawn. At scale 1 the log is played as it is. The same log, scale
    and seed give the same rows, whatever range is asked for.

    Parameters
    ----------
    log : RequestBatch
        Requests in order of arrival.
    rate_scale : float
        Copies, above 0.
    seed : int
        Of the jitter.
    """

    log: RequestBatch
    rate_scale: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate_scale <= 100_000:
            raise SettingError("rate-scale", self.rate_scale, "above 0, at most 100000")
        if not len(self.log):
            raise DataError("the log has no requests", "replay a log with at least one request")
        if (np.diff(self.log.arrival_s) < 0).any():
            raise DataError("arrivals are not in order of time", "sort the log")

    @property
    def jitter_s(self) -> float:
        """How far a copy may lie from its original, seconds."""
        return 0.0 if self.rate_scale == 1.0 else JITTER_S

    @property
    def from_s(self) -> float:
        """First arrival of the log, epoch seconds."""
        return float(self.log.arrival_s[0])

    @property
    def to_s(self) -> float:
        """Last arrival of the log, epoch seconds."""
        return float(self.log.arrival_s[-1])

    def unsorted(self, from_s: float, to_s: float) -> Iterator[RequestBatch]:
        """Copies of the requests that the *log* has in ``[from_s, to_s)``, by piece, any order."""
        for low, high, number in self._pieces(from_s, to_s):
            yield self._copies(low, high, number)

    def chunks(self, from_s: float, to_s: float) -> Iterator[RequestBatch]:
        """Copies that *arrive* in ``[from_s, to_s)``, in order of time."""
        held = _nothing(self.log.service)
        for low, high, number in self._pieces(from_s - JITTER_S, to_s + JITTER_S):
            held = _joined(held, self._copies(low, high, number))
            final_s = self.log.arrival_s[high] - JITTER_S if high < len(self.log) else np.inf
            ready = held.arrival_s < min(final_s, to_s)
            chunk = _ordered(_taken(held, ready & (held.arrival_s >= from_s)))
            held = _taken(held, ~ready & (held.arrival_s < to_s))
            if len(chunk):
                yield chunk
        if len(held):
            yield _ordered(_taken(held, held.arrival_s >= from_s))

    def _pieces(self, from_s: float, to_s: float) -> Iterator[tuple[int, int, int]]:
        """Ranges of log rows on a grid of their own, so that every range is drawn alike."""
        times = self.log.arrival_s
        rows = max(int(_PIECE_ROWS / self.rate_scale), 1)
        first, last = (int(np.searchsorted(times, t)) for t in (from_s, to_s))
        for number in range(first // rows, -(-last // rows)):
            yield number * rows, min((number + 1) * rows, times.size), number

    def _copies(self, low: int, high: int, number: int) -> RequestBatch:
        piece = slice(low, high)
        columns = (
            self.log.arrival_s[piece],
            self.log.prompt_tokens[piece],
            self.log.output_tokens[piece],
        )
        if self.rate_scale == 1.0:
            return RequestBatch(self.log.service, *columns)
        dice = np.random.default_rng([self.seed, number])
        whole, part = divmod(self.rate_scale, 1.0)
        copies = np.full(high - low, int(whole)) + (dice.random(high - low) < part)
        arrival_s = np.repeat(columns[0], copies)
        arrival_s += dice.uniform(-JITTER_S, JITTER_S, arrival_s.size)
        prompt, output = np.repeat(columns[1], copies), np.repeat(columns[2], copies)
        return RequestBatch(self.log.service, arrival_s, prompt, output)


def _nothing(service: str) -> RequestBatch:
    none = np.zeros(0, np.int64)
    return RequestBatch(service, np.zeros(0), none, none)


def _joined(a: RequestBatch, b: RequestBatch) -> RequestBatch:
    if not len(a):
        return b
    return RequestBatch(
        a.service,
        np.concatenate([a.arrival_s, b.arrival_s]),
        np.concatenate([a.prompt_tokens, b.prompt_tokens]),
        np.concatenate([a.output_tokens, b.output_tokens]),
    )


def _taken(batch: RequestBatch, where: np.ndarray) -> RequestBatch:
    return RequestBatch(
        batch.service,
        batch.arrival_s[where],
        batch.prompt_tokens[where],
        batch.output_tokens[where],
    )


def _ordered(batch: RequestBatch) -> RequestBatch:
    return _taken(batch, np.argsort(batch.arrival_s, kind="stable"))
