"""From named Arrow columns to rows, typed or as text: shared by every format with named columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from forecaster.domain.demand import IntArray
from forecaster.ingest.answered import answers_of
from forecaster.ingest.header import Columns
from forecaster.ingest.numbers import tokens_from_numbers, tokens_from_text
from forecaster.ingest.rows import Reasons, Rows, Services, first_reason
from forecaster.ingest.timestamps import TimeReader


def rows_from_typed(
    columns: Mapping[str, pa.Array], names: Columns, times: TimeReader, service: str
) -> Rows:
    """Read columns that were parsed to numbers and times, none of them NULL."""
    arrival = times.from_typed(columns[names.timestamp])
    return _rows(columns, names, arrival, (service, tokens_from_numbers))


def rows_from_text(
    columns: Mapping[str, pa.Array], names: Columns, times: TimeReader, service: str
) -> Rows:
    """Read columns of text that may hold anything."""
    arrival = times.from_text(columns[names.timestamp])
    return _rows(columns, names, arrival, (service, tokens_from_text))


def _rows(
    columns: Mapping[str, pa.Array],
    names: Columns,
    arrival: tuple[IntArray, Reasons],
    how: tuple[str, Callable[[pa.Array], tuple[IntArray, Reasons]]],
) -> Rows:
    arrival_us, reason = arrival
    service, read_tokens = how
    if names.service is None:
        services, why = Services.single(service, arrival_us.size), np.zeros_like(reason)
    else:
        services, why = Services.of(columns[names.service])
    reasons, tokens = [reason, why], []
    for name in (names.prompt_tokens, names.output_tokens):
        if name is None:
            tokens.append(np.zeros(arrival_us.size, np.int64))
            continue
        values, why = read_tokens(columns[name])
        tokens.append(values)
        reasons.append(why)
    answers = answers_of(columns, names, tokens[1])
    return Rows(arrival_us, services, tokens[0], tokens[1], first_reason(*reasons), answers)
