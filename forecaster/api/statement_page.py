"""A statement as one HTML file that needs nobody: figures, bars and the rivals."""

from __future__ import annotations

import math
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, Template

from forecaster import __version__
from forecaster.planning.statement import percent


def statement_page(found: dict[str, Any]) -> str:
    """The whole page of what `planning.statement.to_dict` said."""
    most = max((day["money"] for day in found["days"]), default=0.0)
    zone = ZoneInfo(found["timezone"])
    last = datetime.fromtimestamp(found["to_s"] - 1.0, zone)
    return _template().render(
        found=found,
        title=f"{found['service']}, {found['days'][0]['day']} to {last.date().isoformat()}",
        scale=100.0 / most if most > 0 else 0.0,
        version=__version__,
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["hours"] = lambda seconds: f"{seconds / 3600:,.2f}"
    environment.filters["money"] = lambda value: f"{value:,.2f}"
    environment.filters["percent"] = percent
    environment.filters["count"] = lambda value: f"{value:,.0f}" if math.isfinite(value) else "-"
    text = (files("forecaster.api") / "static" / "statement.html").read_text("utf-8")
    return environment.from_string(text)
