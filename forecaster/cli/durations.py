"""Durations as people write them: 90s, 15m, 24h, 7d."""

from __future__ import annotations

import re

from forecaster.domain.errors import SettingError

UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


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
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d)?\s*", text)
    if match is None:
        raise SettingError(key, text, "a duration such as 90s, 15m, 24h or 7d")
    value = float(match[1]) * UNITS[match[2] or "s"]
    if not low_s <= value <= high_s:
        raise SettingError(key, text, f"{low_s:g} s to {high_s / 86400:g} d")
    return value
