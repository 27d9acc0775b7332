"""Rows in columns: typed values with one reason code each, and the batches made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forecaster.domain.answers import Answers
from forecaster.domain.demand import MAX_TOKENS, IntArray, RequestBatch
from forecaster.ingest.arrow import integer_array, values_of
from forecaster.ingest.reasons import Reason

Reasons = npt.NDArray[np.uint8]

SERVICE_NAME_MOST = 200
"""Longest name of a service, characters."""


@dataclass(frozen=True, slots=True)
class Services:
    """Service of each row: a code per row into `names`."""

    codes: npt.NDArray[np.int64]
    names: Sequence[str]

    @classmethod
    def single(cls, name: str, rows: int) -> Services:
        """Give every row the same service."""
        return cls(np.zeros(rows, np.int64), (name,))

    @classmethod
    def of(cls, column: pa.Array) -> tuple[Services, Reasons]:
        """Encode a column of text; empty names, over-long ones and broken UTF-8 are reasons."""
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        raw = encoded.dictionary.cast(pa.binary()).to_pylist()
        names, why = [], np.zeros(len(raw) + 1, np.uint8)
        for index, value in enumerate(raw):
            try:
                name = value.decode().strip()
            except UnicodeDecodeError:
                name, why[index] = "", Reason.INVALID_UTF8
            else:
                if not 0 < len(name) <= SERVICE_NAME_MOST or "\0" in name:
                    why[index] = Reason.MISSING_FIELD
            names.append(name)
        why[-1] = Reason.MISSING_FIELD  # NULL
        codes = values_of(_filled(encoded.indices.cast(pa.int64()), len(raw)), np.int64)
        return cls(codes, names), why[codes]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one block.

    Attributes
    ----------
    arrival_us : int64[n]
        Arrival, epoch microseconds.
    prompt_tokens, output_tokens : int64[n]
        Tokens.
    reason : uint8[n]
        `Reason` of each row, 0 where it is fine.
    answers : Answers or None
        What became of the requests; None where the log does not tell.
    """

    arrival_us: IntArray
    services: Services
    prompt_tokens: IntArray
    output_tokens: IntArray
    reason: Reasons
    answers: Answers | None = None

    def batches(self) -> list[RequestBatch]:
        """Return the fine rows, one batch per service."""
        every = RequestBatch(
            "", self.arrival_us / 1e6, self.prompt_tokens, self.output_tokens, self.answers
        )
        codes, fine = self.services.codes, self.reason == Reason.FINE
        if not fine.all():
            every, codes = every.take(fine), codes[fine]
        if not codes.size:
            return []
        groups = self._groups(codes)
        return [replace(every.take(rows), service=name) for name, rows in groups.items()]

    def _groups(self, codes: IntArray) -> dict[str, npt.NDArray[np.int64] | slice]:
        if (codes == codes[0]).all():
            return {self.services.names[int(codes[0])]: slice(None)}
        # Names that differ only in the spaces around them are one service.
        first_code = {name: code for code, name in reversed(list(enumerate(self.services.names)))}
        canonical = np.array([first_code[name] for name in self.services.names])
        codes = canonical[codes]
        order = np.argsort(codes, kind="stable")
        found, begin = np.unique(codes[order], return_index=True)
        parts = np.split(order, begin[1:])
        return {self.services.names[code]: part for code, part in zip(found, parts, strict=True)}


def first_reason(*reasons: Reasons) -> Reasons:
    """Combine reasons per row: the first one that is not fine."""
    combined = reasons[0].copy()
    for reason in reasons[1:]:
        np.copyto(combined, reason, where=combined == Reason.FINE)
    return combined


def token_reasons(tokens: IntArray) -> Reasons:
    """Check that 0 <= tokens <= `MAX_TOKENS`."""
    reason = np.zeros(tokens.size, np.uint8)
    reason[tokens < 0] = Reason.NEGATIVE_TOKENS
    reason[tokens > MAX_TOKENS] = Reason.TOKEN_OVERFLOW
    return reason


def arrival_reasons(arrival_us: IntArray, earliest_s: float, latest_s: float) -> Reasons:
    """Check that the arrival lies in ``[earliest_s, latest_s)``, epoch seconds."""
    outside = (arrival_us < earliest_s * 1e6) | (arrival_us >= latest_s * 1e6)
    return np.where(outside, np.uint8(Reason.TIMESTAMP_OUT_OF_RANGE), np.uint8(0))


def _filled(codes: pa.Array, null_code: int) -> pa.Array:
    return codes.fill_null(integer_array(np.array([null_code]))[0]) if codes.null_count else codes
