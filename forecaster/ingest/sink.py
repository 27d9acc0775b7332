"""Where requests go: the port that the store fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from forecaster.domain.demand import LogSource, RequestBatch


class RequestSink(Protocol):
    """Takes blocks of a log, each with the position that it brings the log to, all or nothing."""

    def head_lengths(self, service: str) -> Sequence[int]:
        """Lengths of the known heads, so that a reader knows what to hash."""
        ...

    def sources_with_heads(self, service: str, heads: Sequence[str]) -> Sequence[LogSource]:
        """Logs with one of these head hashes (SHA-256), the furthest read first."""
        ...

    def append_requests(
        self,
        before: LogSource,
        after: LogSource,
        batches: Sequence[RequestBatch],
        retract: RequestBatch | None = None,
    ) -> LogSource:
        """Store the batches and move the log from `before` to `after` in one transaction.

        Raises
        ------
        StoreError
            When the log no longer stands at `before`: nothing is stored.
        """
        ...


class FollowedSink(RequestSink, Protocol):
    """A sink that knows when it was read."""

    def read_at(self, service: str, name: str) -> float | None:
        """When a log of this name was last read, epoch seconds; None for never."""
        ...
