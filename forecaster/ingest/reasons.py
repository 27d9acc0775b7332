"""Why a row was rejected."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """Reason codes; `FINE` rows are accepted. The first reason found counts."""

    FINE = 0
    MISSING_FIELD = 1
    BAD_TIMESTAMP = 2
    TIMESTAMP_OUT_OF_RANGE = 3
    NOT_A_NUMBER = 4
    NOT_AN_INTEGER = 5
    NEGATIVE_TOKENS = 6
    TOKEN_OVERFLOW = 7
    WRONG_COLUMN_COUNT = 8
    UNBALANCED_QUOTE = 9
    MALFORMED_JSON = 10
    MALFORMED_LINE = 11
    INVALID_UTF8 = 12
    LINE_TOO_LONG = 13

    @property
    def label(self) -> str:
        """Name in reports, for example ``bad_timestamp``."""
        return self.name.lower()
