"""What a log tells of the answers: a value that cannot be read is unknown, and refuses no row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecaster.domain.answers import NOT_TOLD, UNKNOWN, Answers, time_per_token_s
from forecaster.domain.demand import FloatArray, IntArray
from forecaster.ingest.arrow import float_scalar, mask_array, mask_of, text_scalar, values_of
from forecaster.ingest.header import Columns, Timed
from forecaster.ingest.numbers import NUMBER

LONGEST_S = 86_400.0
"""A longer answer is a broken value."""


def answers_of(
    columns: Mapping[str, pa.Array], names: Columns, output_tokens: IntArray
) -> Answers | None:
    """Read the columns of the answers, typed or as text; None where the log has none.

    Where it tells when the first token came and when the last, it tells the time of each between them.
    """
    if not names.optional:
        return None
    rows = output_tokens.size
    ttft_s, tpot_s, latency_s = (
        _seconds(columns, each, rows) for each in (names.ttft, names.tpot, names.latency)
    )
    if names.tpot is None and names.output_tokens is not None:
        tpot_s = time_per_token_s(ttft_s, latency_s, output_tokens)
    elif names.tpot is not None:
        tpot_s = np.where(output_tokens == 1, 0.0, tpot_s)  # it has no meaning, and none is late
    status = np.full(rows, UNKNOWN, np.int64)
    if names.status is not None:
        said = _numbers(columns[names.status])
        status = np.where((said >= 100) & (said < 600), said, UNKNOWN).astype(np.int64)
    return Answers(ttft_s, tpot_s, latency_s, status)


def _seconds(columns: Mapping[str, pa.Array], column: Timed | None, rows: int) -> FloatArray:
    if column is None:
        return np.full(rows, NOT_TOLD)
    found_s = _numbers(columns[column.name]) / column.per_second
    return np.where((found_s >= 0) & (found_s <= LONGEST_S), found_s, np.nan)


def _numbers(column: pa.Array) -> FloatArray:
    """Numbers, NaN for anything else."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = pc.fill_null(pc.ascii_trim_whitespace(column), text_scalar(""))
        number = mask_array(mask_of(pc.match_substring_regex(text, NUMBER)))
        column = pc.if_else(number, text, text_scalar("nan"))
    try:
        found = column.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid:
        return np.full(len(column), np.nan)
    return values_of(pc.fill_null(found, float_scalar(np.nan)), np.float64)
