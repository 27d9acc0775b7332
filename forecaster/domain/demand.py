"""Demand: what users send, counted per slot. Never replica counts, never what a tier served."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from forecaster.domain.answers import Answers

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SLOT_S = 60
"""The planning grid, seconds."""

MAX_TOKENS = 10_000_000
"""Most tokens that one request may claim: above it a log is broken, below it sums stay exact."""


@dataclass(frozen=True, slots=True)
class RequestBatch:
    """Requests of one service in columns, any order.

    Attributes
    ----------
    arrival_s : float64[n]
        Arrival, epoch seconds.
    prompt_tokens, output_tokens : int64[n]
        Tokens; zero where the log has none.
    answers : Answers or None
        What became of them; None where nothing is told.
    """

    service: str
    arrival_s: FloatArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    answers: Answers | None = None

    def __len__(self) -> int:
        return int(self.arrival_s.size)

    def take(self, rows: Any) -> RequestBatch:
        """Those of an index, a mask or a slice."""
        return RequestBatch(
            self.service, self.arrival_s[rows], self.prompt_tokens[rows], self.output_tokens[rows],
            None if self.answers is None else self.answers.take(rows),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LogSource:
    """A request log, known by its content and never by its path, and how far it was read.

    Attributes
    ----------
    source_id : int
        Number in the store; 0 before the first batch was stored.
    head_bytes : int
        Length of the hashed head, at most 1024 bytes after decompression.
    head_sha256 : str
        SHA-256 of that head: finds the candidates; the prefix hash decides.
    service : str
        Service given by the operator for the whole log; empty where the log names its own.
    name : str
        Where it was last read from, for people.
    offset : int
        Consumed bytes after decompression (rows for columnar files).
    prefix_sha256 : str
        SHA-256 of the consumed bytes.
    marks : bytes
        Eight bytes of the running hash at every boundary: recognises an older, shorter copy.
    lines, accepted, rejected : int
        Consumed lines, stored rows and refused rows.
    tail : RequestBatch or None
        The row of an unterminated last line: taken back should the line turn out longer.
    tail_offset, tail_lines : int
        Where that last line begins; equal to `offset` and `lines` without one.
    rivals : int
        Logs with the same head that were stored when this one was found to be new: one more of
        them later means that another process ingests the same log.
    """

    source_id: int
    head_bytes: int
    head_sha256: str
    service: str
    name: str
    offset: int = 0
    prefix_sha256: str = ""
    marks: bytes = b""
    lines: int = 0
    accepted: int = 0
    rejected: int = 0
    tail: RequestBatch | None = None
    tail_offset: int = 0
    tail_lines: int = 0
    rivals: int = 0


@dataclass(frozen=True, slots=True)
class SlotSums:
    """Additive sums per slot: adding two `SlotSums` of the same slots is adding their arrays.

    Attributes
    ----------
    start_s : int64[m]
        Slot starts, epoch seconds, multiples of `SLOT_S`, rising, only slots with arrivals.
    arrivals : int64[m]
        Requests.
    prompt_tokens, output_tokens : int64[m]
        Token sums.
    prompt_output : float64[m]
        Sum of prompt x output tokens.
    prompt_sq, output_sq : float64[m]
        Sums of squared tokens.
    counts_1s : uint16[m, 60]
        Arrivals in each second of the slot: dispersion at 1, 10 and 60 s follows from these.
    """

    start_s: IntArray
    arrivals: IntArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    prompt_output: FloatArray
    prompt_sq: FloatArray
    output_sq: FloatArray
    counts_1s: npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class TokenMix:
    """Moments of the tokens of one request; all zero for logs without tokens.

    Attributes
    ----------
    prompt_mean, output_mean : float
        Mean tokens.
    prompt_sq, output_sq, prompt_output : float
        Second moments: E[P^2], E[N^2], E[P N].
    """

    prompt_mean: float
    output_mean: float
    prompt_sq: float
    output_sq: float
    prompt_output: float

    @classmethod
    def of(cls, prompt_tokens: float, output_tokens: float, scv: float = 1.0) -> TokenMix:
        """Mix with the given means, independent lengths and one squared coefficient of variation.

        Examples
        --------
        >>> TokenMix.of(100, 10, scv=0).prompt_output
        1000.0
        """
        p, n = float(prompt_tokens), float(output_tokens)
        return cls(p, n, p * p * (1 + scv), n * n * (1 + scv), p * n)


@dataclass(frozen=True, slots=True)
class DemandSeries:
    """Demand of one service on a regular grid. NaN is missing; zero is zero.

    Attributes
    ----------
    start_s : float
        Start of the first slot, epoch seconds.
    slot_s : float
        Slot length, seconds.
    arrivals : float64[T]
        Requests per slot; NaN where the source was silent or reported failure.
    mix : TokenMix
        Token moments over the whole series.
    prompt_tokens, output_tokens : float64[T]
        Token sums per slot.
    dispersion : float
        Index of dispersion of counts at 10 s (variance / mean; 1 = Poisson).
    work_s : float64[T]
        Busy seconds of a well-filled unit that the slot's requests take; empty without a unit.
    """

    service: str
    start_s: float
    slot_s: float
    arrivals: FloatArray
    prompt_tokens: FloatArray
    output_tokens: FloatArray
    mix: TokenMix
    dispersion: float
    work_s: FloatArray = field(default_factory=lambda: np.zeros(0))

    @property
    def end_s(self) -> float:
        """End of the last slot, epoch seconds."""
        return self.start_s + self.slot_s * self.arrivals.size

    @property
    def arrival_rate_rps(self) -> FloatArray:
        """Arrivals per second, float64[T]."""
        return self.arrivals / self.slot_s
