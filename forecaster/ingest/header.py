"""Which column is which."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from forecaster.domain.errors import DataError
from forecaster.ingest.options import ColumnMap, IngestOptions, TimeUnit

_DEFAULT = ColumnMap()
_PER_SECOND = {
    "s": 1.0, "sec": 1.0, "seconds": 1.0,
    "ms": 1e3, "msec": 1e3, "millis": 1e3, "milliseconds": 1e3,
    "us": 1e6, "micros": 1e6, "microseconds": 1e6,
    "ns": 1e9, "nanos": 1e9, "nanoseconds": 1e9,
}  # fmt: skip
_MILLISECONDS_WITH = "input_length"
"""Mooncake traces are known by this column; their relative time is in milliseconds."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A column of durations.

    Attributes
    ----------
    per_second : float
        Its unit.
    """

    name: str
    per_second: float


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns as the log spells them; None where it has none.

    Attributes
    ----------
    relative_unit : TimeUnit
        Unit of relative time stamps in logs of this kind.
    ttft, tpot, latency : Timed or None
        Times of the answer.
    status : str or None
        HTTP status.
    """

    timestamp: str
    service: str | None
    prompt_tokens: str | None
    output_tokens: str | None
    relative_unit: TimeUnit = TimeUnit.SECONDS
    ttft: Timed | None = None
    tpot: Timed | None = None
    latency: Timed | None = None
    status: str | None = None

    @property
    def needed(self) -> list[str]:
        """The columns without which a row is none."""
        found = (self.timestamp, self.service, self.prompt_tokens, self.output_tokens)
        return [name for name in dict.fromkeys(found) if name is not None]

    @property
    def optional(self) -> list[str]:
        """The columns that say what became of a request: a row may lack them."""
        found = [each.name for each in (self.ttft, self.tpot, self.latency) if each is not None]
        found += [] if self.status is None else [self.status]
        return [name for name in dict.fromkeys(found) if name not in self.needed]

    @property
    def used(self) -> list[str]:
        """The columns that are read."""
        return self.needed + self.optional


def resolve(found: Sequence[str], options: IngestOptions, log: str) -> Columns:
    """Find the columns of a log by their names.

    Raises
    ------
    DataError
        When a needed column is not there: names those found, what is needed and the remedy.
    """
    by_name = {_normal(name): name for name in reversed(found)}
    matched = {
        role: _match(role, by_name, options)
        for role in ("timestamp", "service", "prompt_tokens", "output_tokens", "status")
    }
    timestamp = matched["timestamp"]
    if timestamp is None:
        raise _missing(log, "time stamp", "timestamp", found)
    service = None if options.service else matched["service"]
    if service is None and not options.row_service:
        raise DataError(
            f"{log}: no column names the service; found {_listed(found)}",
            "give it with --service NAME or --column service=NAME",
        )
    prompt, output = matched["prompt_tokens"], matched["output_tokens"]
    if (prompt is None) != (output is None):
        role = "prompt_tokens" if prompt is None else "output_tokens"
        if getattr(options.columns, role):
            raise _missing(log, role.replace("_", " "), role, found)
    unit = TimeUnit.MILLISECONDS if _MILLISECONDS_WITH in by_name else TimeUnit.SECONDS
    answer = {role: _timed(role, by_name, options) for role in ("ttft", "tpot", "latency")}
    return Columns(timestamp, service, prompt, output, unit, status=matched["status"], **answer)


def _match(role: str, by_name: Mapping[str, str], options: IngestOptions) -> str | None:
    wanted: tuple[str, ...] = getattr(options.columns, role)
    for name in wanted:
        if _normal(name) in by_name:
            return by_name[_normal(name)]
    if wanted and wanted != getattr(_DEFAULT, role):
        raise DataError(
            f"column {role} = {wanted[0]!r} is not in the log; found {_listed(list(by_name.values()))}",
            f"correct --column {role}=NAME",
        )
    return None


def _timed(role: str, by_name: Mapping[str, str], options: IngestOptions) -> Timed | None:
    """A column of durations, and its unit: that which is said, or that in which its name ends."""
    names: dict[str, str] = {}
    for wanted in getattr(options.columns, role):
        name, colon, unit = wanted.rpartition(":")
        said = bool(colon) and unit in _PER_SECOND
        names[name if said else wanted] = unit if said else re.split(r"[_.\s-]", wanted)[-1]
    plain: dict[str, Any] = {role: tuple(names)}
    plain_options = replace(options, columns=replace(options.columns, **plain))
    found = _match(role, by_name, plain_options)
    if found is None:
        return None
    unit = next(unit for name, unit in names.items() if _normal(name) == _normal(found))
    return Timed(found, _PER_SECOND.get(unit.lower(), 1.0))


def _missing(log: str, what: str, role: str, found: Sequence[str]) -> DataError:
    known: tuple[str, ...] = getattr(_DEFAULT, role)
    return DataError(
        f"{log}: no {what} column; found {_listed(found)}, needed one of {', '.join(known[:6])}",
        f"map it with --column {role}=NAME",
    )


def _listed(found: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in found[:12])
    return shown + (", ..." if len(found) > 12 else "")


def _normal(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())
