"""Web server access logs: common and combined format of nginx and Apache."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from forecaster.domain.answers import UNKNOWN, Answers
from forecaster.domain.demand import IntArray
from forecaster.domain.errors import DataError
from forecaster.ingest.blocks import Block
from forecaster.ingest.options import IngestOptions
from forecaster.ingest.parsed import Parsed, numbered_lines, parsed, shown, too_long
from forecaster.ingest.reasons import Reason
from forecaster.ingest.rows import Reasons, Rows, Services, arrival_reasons, first_reason

_SHAPE = b"dd/Mon/dddd:dd:dd:dd +dddd] "
"""What stands between the brackets, ``d`` a digit: ``01/Jul/1995:00:00:01 -0400``."""

_STATUS = b'" ddd'
"""What stands behind the request."""

Text = npt.NDArray[np.uint8]

_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"


@dataclass(frozen=True, slots=True)
class AccessFormat:
    """Arrivals and statuses out of ``host ident user [time] "request" status bytes ...``; no tokens, no times."""

    options: IngestOptions

    @classmethod
    def of(cls, options: IngestOptions, log: str) -> AccessFormat:
        """Check that the service is known: these logs do not name one."""
        if not options.row_service:
            raise DataError(f"{log}: an access log names no service", "give it with --service NAME")
        return cls(options)

    def parse(self, block: Block) -> Parsed:
        """Return every row of the block, accepted or rejected."""
        if block.too_long:
            return too_long(block)
        lines = numbered_lines(block)
        if not lines:
            return Parsed((), ())
        data = b"\n".join(line for _, line in lines) + b"\n"
        text = np.frombuffer(data + bytes(len(_SHAPE)), np.uint8)
        ends = np.flatnonzero(text == ord("\n"))
        bracket = _first(ord("["), text, np.concatenate(([0], ends[:-1] + 1)))
        arrival_us, bad = _arrivals(text, ends, bracket)
        late = arrival_reasons(arrival_us, self.options.earliest_s, self.options.latest_s)
        none = np.zeros(arrival_us.size, np.int64)
        services = Services.single(self.options.row_service, arrival_us.size)
        answers = replace(Answers.untold(arrival_us.size), status=_statuses(text, ends, bracket))
        rows = Rows(arrival_us, services, none, none, first_reason(bad, late), answers)
        return parsed(rows, lambda row: (lines[row][0], shown(lines[row][1])))


def _first(sign: int, text: Text, since: IntArray) -> IntArray:
    """Where a sign comes next from each position on; the end of the text where it does not."""
    every = np.append(np.flatnonzero(text == sign), text.size)
    return np.asarray(every[np.minimum(np.searchsorted(every, since), every.size - 1)], np.int64)


def _statuses(text: Text, ends: IntArray, bracket: IntArray) -> IntArray:
    """The three digits behind the quoted request, which holds no bare quote; `UNKNOWN` where there are none."""
    bare = text.copy()
    bare[1:][text[:-1] == ord("\\")] = ord("_")  # an escaped quote ends nothing
    opening = _first(ord('"'), bare, bracket)
    closing = _first(ord('"'), bare, opening + 1)
    here = closing + len(_STATUS) <= ends
    found = text[np.where(here, closing, 0)[:, None] + np.arange(len(_STATUS))].astype(np.int64)
    digits = found[:, 2:5] - ord("0")
    valid = here & (found[:, 1] == ord(" ")) & ((digits >= 0) & (digits <= 9)).all(axis=1)
    status = digits @ np.array([100, 10, 1])
    return np.where(valid & (status >= 100) & (status < 600), status, UNKNOWN)


def _arrivals(text: Text, ends: IntArray, bracket: IntArray) -> tuple[IntArray, Reasons]:
    """Epoch microseconds of each line, from the first bracket in it."""
    found = bracket < ends
    at = np.where(found, bracket + 1, 0)
    stamp = text[at[:, None] + np.arange(len(_SHAPE))]
    epoch_s, valid = _epoch_seconds(stamp)
    reason = np.where(valid, np.uint8(0), np.uint8(Reason.BAD_TIMESTAMP))
    reason[~found] = Reason.MALFORMED_LINE
    return np.where(valid & found, epoch_s * 1_000_000, 0), reason


def _epoch_seconds(stamp: npt.NDArray[np.uint8]) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    shape = np.frombuffer(_SHAPE, np.uint8)
    is_digit = shape == ord("d")
    digits = stamp.astype(np.int64) - ord("0")
    valid = ((digits[:, is_digit] >= 0) & (digits[:, is_digit] <= 9)).all(axis=1)
    exact = np.isin(shape, np.frombuffer(b"/: ]", np.uint8))
    valid &= (stamp[:, exact] == shape[exact]).all(axis=1)

    def number(begin: int, end: int) -> IntArray:
        powers = 10 ** np.arange(end - begin - 1, -1, -1)
        return np.asarray(digits[:, begin:end] @ powers, np.int64)

    month = np.zeros(len(stamp), np.int64)
    for index, name in enumerate(_MONTHS.split(), start=1):
        month[(stamp[:, 3:6] == np.frombuffer(name.encode(), np.uint8)).all(axis=1)] = index
    day, hour, minute, second = number(0, 2), number(12, 14), number(15, 17), number(18, 20)
    sign = np.where(stamp[:, 21] == ord("-"), -1, 1)
    valid &= (month > 0) & np.isin(stamp[:, 21], np.frombuffer(b"+-", np.uint8))
    valid &= (hour < 24) & (minute < 60) & (second < 60) & (day > 0)
    months = np.where(valid, (number(7, 11) - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[D]").astype(np.int64)
    valid &= day <= after - first
    zone_s = sign * (number(22, 24) * 3600 + number(24, 26) * 60)
    return (first + day - 1) * 86400 + hour * 3600 + minute * 60 + second - zone_s, valid
