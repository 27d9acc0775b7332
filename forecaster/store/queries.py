"""Named statements from the `.sql` files: the only place where SQL lives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)[^\n]*\n", re.MULTILINE)


@cache
def queries(topic: str) -> Mapping[str, bytes]:
    """Read ``sql/<topic>.sql``: statements, each under a line ``-- name: <word>``."""
    text = resources.files("forecaster.store").joinpath("sql", f"{topic}.sql").read_text("utf-8")
    parts = _NAME.split(text)[1:]
    named = dict(zip(parts[::2], (part.strip().encode() for part in parts[1::2]), strict=True))
    return MappingProxyType(named)
