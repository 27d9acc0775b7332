"""Time stamps in: ISO-8601 with or without fraction and zone, epoch s, ms, us or ns, relative time."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecaster.domain.demand import IntArray
from forecaster.domain.errors import DataError, SettingError
from forecaster.ingest.arrow import (
    integer_array,
    mask_array,
    mask_of,
    text_array,
    text_scalar,
    values_of,
)
from forecaster.ingest.numbers import NUMBER
from forecaster.ingest.options import IngestOptions, TimeUnit
from forecaster.ingest.reasons import Reason
from forecaster.ingest.rows import Reasons, arrival_reasons, first_reason

_ISO = (
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[ T]([01]\d|2[0-3]):[0-5]\d"
    r"(:[0-5]\d([.,]\d{1,9})?)?"
)
_ZONE = r" ?(Z|[+-]\d\d(:?\d\d)?)$"
_EMPTY, _NAN = text_scalar(""), text_scalar("nan")
_PER_SECOND = {
    TimeUnit.SECONDS: 1.0,
    TimeUnit.MILLISECONDS: 1e3,
    TimeUnit.MICROSECONDS: 1e6,
    TimeUnit.NANOSECONDS: 1e9,
}
_RELATIVE_BELOW = 1e8
"""Numbers below are too small for epoch seconds after 1973: they count from an origin."""


@dataclass(frozen=True, slots=True)
class TimeReader:
    """How the time stamps of one log are read, decided once from its first rows.

    Attributes
    ----------
    numeric : bool
        Numbers, otherwise ISO-8601.
    zoned : bool
        Whether ISO-8601 time stamps carry a zone.
    per_second : float
        Numbers per second.
    origin_s : float
        Epoch seconds of number 0.
    """

    numeric: bool
    zoned: bool
    per_second: float
    origin_s: float
    options: IngestOptions

    @property
    def arrow_type(self) -> pa.DataType:
        """Type to which a column of well-formed time stamps can be parsed directly."""
        if self.numeric:
            return pa.float64()
        return pa.timestamp("ns", "UTC") if self.zoned else pa.timestamp("ns")

    def from_typed(self, column: pa.Array) -> tuple[IntArray, Reasons]:
        """Read a column without NULL of numbers or of Arrow time stamps."""
        if pa.types.is_timestamp(column.type):
            if column.type.tz is None and self.options.timezone != "UTC":
                column = _localised(column, self.options.timezone)
            arrival_us = _microseconds(column)
        else:
            values = values_of(column.cast(pa.float64()), np.float64)
            arrival_us, wrong = self._from_numbers(values)
            if wrong.any():
                return arrival_us, self._checked(arrival_us, wrong)
        return arrival_us, self._in_range(arrival_us)

    def from_text(self, column: pa.Array) -> tuple[IntArray, Reasons]:
        """Read a column of text that may hold anything."""
        text = pc.fill_null(pc.ascii_trim_whitespace(column.cast(pa.string(), safe=False)), _EMPTY)
        missing = mask_of(pc.equal(text, _EMPTY))
        if self.numeric:
            fine = _matches(text, NUMBER)
            values = values_of(
                pc.if_else(mask_array(fine), text, _NAN).cast(pa.float64()), np.float64
            )
            arrival_us, wrong = self._from_numbers(values)
        else:
            arrival_us, wrong = self._from_iso(text)
        reason = self._checked(arrival_us, wrong)
        reason[missing] = Reason.MISSING_FIELD
        return arrival_us, reason

    def _from_numbers(self, values: np.ndarray) -> tuple[IntArray, np.ndarray]:
        with np.errstate(invalid="ignore", over="ignore"):
            exact = np.rint(values * (1e6 / self.per_second)) + round(self.origin_s * 1e6)
        wrong = ~(np.abs(exact) < 2**62)
        return np.where(wrong, 0.0, exact).astype(np.int64), wrong

    def _from_iso(self, text: pa.Array) -> tuple[IntArray, np.ndarray]:
        arrival_us = np.zeros(len(text), np.int64)
        wrong = np.ones(len(text), np.bool_)
        for pattern, zoned in ((_ISO + _ZONE, True), (_ISO + "$", False)):
            rows = np.flatnonzero(_matches(text, pattern))
            if not rows.size:
                continue
            part = text.take(integer_array(rows))
            part = pc.replace_substring(part, ",", ".")
            part = pc.replace_substring_regex(part, r" (Z|[+-][\d:]+)$", r"\1")
            values, valid = _cast_each(part, pa.timestamp("ns", "UTC" if zoned else None))
            if not zoned and self.options.timezone != "UTC":
                values = _localised(values, self.options.timezone)
            arrival_us[rows] = _microseconds(values)
            wrong[rows] = ~valid
        return arrival_us, wrong

    def _checked(self, arrival_us: IntArray, wrong: np.ndarray) -> Reasons:
        bad = np.where(wrong, np.uint8(Reason.BAD_TIMESTAMP), np.uint8(0))
        return first_reason(bad, self._in_range(arrival_us))

    def _in_range(self, arrival_us: IntArray) -> Reasons:
        return arrival_reasons(arrival_us, self.options.earliest_s, self.options.latest_s)


def time_reader(
    sample: list[str], column: str, options: IngestOptions, relative_unit: TimeUnit
) -> TimeReader:
    """Decide from the first time stamps of a log how all of them are read.

    Parameters
    ----------
    sample : list of str
        Time stamps of the first rows.
    column : str
        Name of the column, for the error.
    relative_unit : TimeUnit
        Unit of relative time stamps where `options` does not say.

    Raises
    ------
    DataError
        When not one is a time stamp, or they are relative and no origin is given.
    SettingError
        When the time zone is unknown.
    """
    _check_zone(options.timezone)
    text = text_array([value.strip() for value in sample])
    numbers = _matches(text, NUMBER)
    zoned, naive = _matches(text, _ISO + _ZONE), _matches(text, _ISO + "$")
    if not (numbers.any() or zoned.any() or naive.any()):
        shown = next((value for value in sample if value.strip()), _EMPTY)
        raise DataError(
            f"column {column!r} = {shown[:60]!r} is not a time stamp",
            "use ISO-8601 or epoch s, ms, us or ns, or map another column (--column timestamp=NAME)",
        )
    if numbers.sum() <= zoned.sum() + naive.sum():
        return TimeReader(False, bool(zoned.sum() >= naive.sum()), 1.0, 0.0, options)
    values = values_of(text.filter(mask_array(numbers)).cast(pa.float64()), np.float64)
    return _numeric_reader(float(np.median(values)), column, options, relative_unit)


def _numeric_reader(
    typical: float, column: str, options: IngestOptions, relative_unit: TimeUnit
) -> TimeReader:
    unit = options.columns.time_unit
    if unit is TimeUnit.AUTO:
        unit = relative_unit if abs(typical) < _RELATIVE_BELOW else _unit_of_epoch(typical)
    per_second = _PER_SECOND[unit]
    if options.origin_s is not None:
        return TimeReader(True, False, per_second, options.origin_s, options)
    if abs(typical) / per_second < _RELATIVE_BELOW:
        raise DataError(
            f"column {column!r} = {typical:g} is relative time, not a date",
            "say when it starts: --origin 2025-01-06T00:00:00Z",
        )
    return TimeReader(True, False, per_second, 0.0, options)


def _unit_of_epoch(typical: float) -> TimeUnit:
    """Unit of epoch time stamps by size: 1e8..1e11 is seconds of 1973 to 5138, and so on."""
    if typical < 1e11:
        return TimeUnit.SECONDS
    if typical < 1e14:
        return TimeUnit.MILLISECONDS
    return TimeUnit.MICROSECONDS if typical < 1e17 else TimeUnit.NANOSECONDS


def _cast_each(text: pa.Array, to: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Cast; where that fails halve the rows until those at fault (30 February) stand alone."""
    try:
        return text.cast(to), np.ones(len(text), np.bool_)
    except pa.ArrowInvalid:
        if len(text) == 1:
            return integer_array(np.zeros(1, np.int64)).cast(to), np.zeros(1, np.bool_)
    middle = len(text) // 2
    left, left_valid = _cast_each(text[:middle], to)
    right, right_valid = _cast_each(text[middle:], to)
    return pa.concat_arrays([left, right]), np.concatenate([left_valid, right_valid])


def _localised(column: pa.Array, timezone: str) -> pa.Array:
    return pc.assume_timezone(column, timezone, ambiguous="earliest", nonexistent="latest")


def _microseconds(column: pa.Array) -> IntArray:
    per_us = {"ns": (1, 1000), "us": (1, 1), "ms": (1000, 1), "s": (1_000_000, 1)}
    times, divide = per_us[column.type.unit]
    values = values_of(column.cast(pa.int64()), np.int64)
    return np.asarray(values * times if times > 1 else values // divide, np.int64)


def _matches(text: pa.Array, pattern: str) -> np.ndarray:
    return mask_of(pc.match_substring_regex(text, pattern))


def _check_zone(timezone: str) -> None:
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise SettingError(
            "timezone", timezone, "an IANA zone", "for example Europe/Berlin"
        ) from None
