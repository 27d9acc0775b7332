"""Durations as people write them: 500ms, 90s, 15m, 24h, 7d."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from forecaster.domain.errors import SettingError

UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(key: str, text: str, low_s: float = 1.0, high_s: float = 400 * 86400.0) -> float:
    """Seconds in `text`.

    Raises
    ------
    SettingError
        For anything that is no duration inside the range.

    Examples
    --------
    >>> seconds("--horizon", "24h")
    86400.0
    """
    value = _read(text)
    if value is None:
        raise SettingError(key, text, "a duration such as 90s, 15m, 24h or 7d")
    if not low_s <= value <= high_s:
        raise SettingError(key, text, f"{low_s:g} s to {high_s / 86400:g} d")
    return value


def bound(text: str) -> float:
    """Seconds of a bound of an SLO; whether it makes sense is the SLO's to say.

    Raises
    ------
    typer.BadParameter
        For what is no duration.

    Examples
    --------
    >>> bound("500ms"), bound("2")
    (0.5, 2.0)
    """
    value = _read(text)
    if value is None:
        raise typer.BadParameter(f"{text!r} is no time: write 2, 2s or 500ms")
    return value


def _read(text: str) -> float | None:
    """A number with a unit, or of seconds; None for anything else."""
    match = re.fullmatch(r"\s*(\S+?)\s*(ms|s|min|m|h|d)?\s*", text)
    try:
        return float(match[1]) * UNITS[match[2] or "s"] if match else None
    except ValueError:
        return None


TtftBound = Annotated[
    float | None,
    typer.Option(parser=bound, metavar="SECONDS", help="time to first token, seconds or 500ms"),
]
TpotBound = Annotated[
    float | None,
    typer.Option(parser=bound, metavar="SECONDS", help="time per output token, seconds or 80ms"),
]
LatencyBound = Annotated[
    float | None,
    typer.Option(parser=bound, metavar="SECONDS", help="whole answer, seconds or 300ms"),
]
