"""The annotated example file and the reference page, generated from the settings table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from forecaster.config.prometheus import MetricsSettings
from forecaster.config.settings import (
    QuotaSettings,
    ServiceSettings,
    Settings,
    SloSettings,
)
from forecaster.config.times import EventSettings, WindowSettings

LISTS = ("quota", "service")
"""Tables of which there may be several."""


def example_toml() -> str:
    """A `tidegate.toml` with every setting at its default, commented."""
    lines = [
        "# tidegate.toml: every setting with its default. Environment: TIDEGATE_API__PORT=0",
        "",
    ]
    tables: list[tuple[str, type[BaseModel]]] = []
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            tables.append((name, field.annotation))
        elif name not in LISTS:
            lines += _setting(name, field.description, _default(field))
    for name, table in tables:
        lines += ["", f"# {(table.__doc__ or '').strip()}", f"[{name}]"]
        for key, field in table.model_fields.items():
            lines += _setting(key, field.description, _default(field))
    lines += ["", "# GPUs that several services share, one table each.", "# [[quota]]"]
    shared = {"name": '"gpus"', "gpus": "8"}
    for key, field in QuotaSettings.model_fields.items():
        lines += [f"# {field.description}", f"# {key} = {shared[key]}"]
    lines += [
        "",
        "# One table for each service.",
        "[[service]]",
        'name = "chat"',
        'unit = "tiny-llama"',
    ]
    for key, field in ServiceSettings.model_fields.items():
        if key not in ("name", "unit", "slo", "metrics", "event", "window"):
            lines += _setting(key, field.description, _default(field))
    lines += ["", "[service.slo]"]
    for key, field in SloSettings.model_fields.items():
        lines += _setting(key, field.description, _default(field))
    lines += ["", "# What counts its requests where there is no log of them."]
    lines += ["# [service.metrics]"]
    for key, field in MetricsSettings.model_fields.items():
        lines += [f"# {field.description}", f"# {key} = {_toml(_default(field))}"]
    lines += ["", "# Floors and ceilings by hours of the week, in the service's time zone."]
    example = {"days": '"mon-fri"', "start": '"08:00"', "end": '"18:00"', "min_units": "2"}
    lines += ["# [[service.window]]"]
    for key, field in WindowSettings.model_fields.items():
        lines += [f"# {field.description}", f"# {key} = {example.get(key, '...')}"]
    lines += ["", "# What is known to come: a launch, a sale, a campaign that recurs."]
    known = {"name": '"spring sale"', "start": "2027-03-01T09:00:00", "end": "2027-03-01T21:00:00"}
    lines += ["# [[service.event]]"]
    for key, field in EventSettings.model_fields.items():
        said = known.get(key) or _toml(_default(field)) or "..."
        lines += [f"# {field.description}", f"# {key} = {said}"]
    return "\n".join(lines) + "\n"


def rows() -> Iterator[tuple[str, str, str]]:
    """(key, default, meaning) of every setting, for the reference page."""
    for name, field in Settings.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            for key, inner in nested.model_fields.items():
                yield f"{name}.{key}", _toml(_default(inner)), inner.description or ""
        elif name not in LISTS:
            yield name, _toml(_default(field)), field.description or ""
    for key, inner in QuotaSettings.model_fields.items():
        yield f"quota.{key}", _toml(_default(inner)), inner.description or ""
    for key, inner in ServiceSettings.model_fields.items():
        if key not in ("slo", "metrics"):
            yield f"service.{key}", _toml(_default(inner)), inner.description or ""
    for key, inner in SloSettings.model_fields.items():
        yield f"service.slo.{key}", _toml(_default(inner)), inner.description or ""
    for key, inner in MetricsSettings.model_fields.items():
        yield f"service.metrics.{key}", _toml(_default(inner)), inner.description or ""
    for key, inner in WindowSettings.model_fields.items():
        yield f"service.window.{key}", _toml(_default(inner)), inner.description or ""
    for key, inner in EventSettings.model_fields.items():
        yield f"service.event.{key}", _toml(_default(inner)), inner.description or ""


def _setting(key: str, description: str | None, default: Any) -> list[str]:
    comment = "# " if default in (None, PydanticUndefined) else ""
    value = _toml(default) if not comment else "..."
    return [f"# {description}", f"{comment}{key} = {value}"]


def _default(field: Any) -> Any:
    return field.get_default(call_default_factory=False)


def _toml(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return '"' + str(value) + '"'
