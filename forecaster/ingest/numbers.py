"""Whole numbers out of text that may hold anything."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecaster.domain.demand import MAX_TOKENS, IntArray
from forecaster.ingest.arrow import mask_array, mask_of, text_array, text_scalar, values_of
from forecaster.ingest.reasons import Reason
from forecaster.ingest.rows import Reasons, first_reason, token_reasons

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
_EMPTY, _ZERO = text_scalar(""), text_scalar("0")
_MISSING = text_array(["", "null", "none", "nan", "n/a"])


def tokens_from_text(column: pa.Array) -> tuple[IntArray, Reasons]:
    """Read token counts: ``12``, ``12.0`` and ``1.2e1`` are twelve, anything else has its reason."""
    text = pc.fill_null(pc.ascii_trim_whitespace(column.cast(pa.string(), safe=False)), _EMPTY)
    missing = mask_of(pc.is_in(pc.ascii_lower(text), _MISSING))
    number = mask_of(pc.match_substring_regex(text, NUMBER))
    values = values_of(pc.if_else(mask_array(number), text, _ZERO).cast(pa.float64()), np.float64)
    values = np.clip(values, -1.0, 2.0 * MAX_TOKENS)
    whole = np.floor(values) == values
    reason = np.zeros(len(text), np.uint8)
    reason[~number] = Reason.NOT_A_NUMBER
    reason[missing] = Reason.MISSING_FIELD
    reason[number & ~whole & (values >= 0)] = Reason.NOT_AN_INTEGER
    tokens = np.floor(values).astype(np.int64)
    return tokens, first_reason(reason, token_reasons(tokens))


def tokens_from_numbers(column: pa.Array) -> tuple[IntArray, Reasons]:
    """Read token counts from a numeric column without NULL."""
    if pa.types.is_floating(column.type):
        return tokens_from_text(column.cast(pa.float64()).cast(pa.string()))
    tokens = values_of(column.cast(pa.int64()), np.int64)
    return tokens, token_reasons(tokens)
