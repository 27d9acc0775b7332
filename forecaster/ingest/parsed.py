"""What a format makes of a block, and the contract of a format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from forecaster.domain.demand import RequestBatch
from forecaster.ingest.blocks import Block
from forecaster.ingest.reasons import Reason
from forecaster.ingest.rows import Rows

TEXT_CHARACTERS_MOST = 500


@dataclass(frozen=True, slots=True)
class Rejected:
    """One rejected row.

    Attributes
    ----------
    line : int
        Its line in the log (row in columnar files), from 1.
    text : str
        Its first 500 characters.
    """

    line: int
    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """Requests of a block, one batch per service, and the rows that were rejected."""

    batches: Sequence[RequestBatch]
    rejected: Sequence[Rejected]

    @property
    def accepted(self) -> int:
        """Rows that were accepted."""
        return sum(len(batch) for batch in self.batches)


class Format(Protocol):
    """Reads blocks of one log. It never stops at a bad row."""

    def parse(self, block: Block) -> Parsed:
        """Return every row of the block, accepted or rejected."""
        ...


def parsed(rows: Rows, line_of: Callable[[int], tuple[int, str]]) -> Parsed:
    """Split rows into accepted and rejected ones; `line_of` finds line and text of a row."""
    rejected = []
    for row in np.flatnonzero(rows.reason != Reason.FINE):
        line, text = line_of(int(row))
        rejected.append(Rejected(line, Reason(int(rows.reason[row])), text))
    return Parsed(rows.batches(), rejected)


def shown(line: bytes) -> str:
    """Render the beginning of a line as text."""
    return line[: 4 * TEXT_CHARACTERS_MOST].decode(errors="replace")[:TEXT_CHARACTERS_MOST]


def too_long(block: Block) -> Parsed:
    """Reject an over-long line."""
    return Parsed((), (Rejected(block.first_line, Reason.LINE_TOO_LONG, shown(block.too_long)),))


def numbered_lines(block: Block) -> list[tuple[int, bytes]]:
    """Lines that are not blank, without their ends, with their numbers."""
    lines = block.data.split(b"\n")
    return [
        (block.first_line + index, line.rstrip(b"\r"))
        for index, line in enumerate(lines)
        if line and not line.isspace()
    ]
