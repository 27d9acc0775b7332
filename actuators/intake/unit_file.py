"""`unit.toml`: what was measured, written as the file that plans and tiers read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import fields

from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType

UNIT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
"""What a unit type may be called: it is a folder, and part of an address."""

_OWN = (
    "provider",
    "threads",
    "device_memory_share",
    "gpus",
    "cuda_graphs",
    "compute_share",
    "lead_time_s",
    "drain_deadline_s",
    "price_per_hour",
    "min_billing_s",
    "billing_step_s",
)


def unit_toml(unit: UnitType, notes: Sequence[str]) -> str:
    """Return the text of a unit type's file.

    Parameters
    ----------
    unit : UnitType
        What is written.
    notes : sequence of str
        Comments at its head: where the numbers come from.
    """
    lines = [f"# {note}" for note in notes]
    lines += [
        f"name = {_text(unit.name)}",
        f'kind = "{"generative" if unit.generative else "classic"}"',
    ]
    lines.append(f"model_file = {_text(unit.model_file)}")
    lines += [f"{name} = {_value(getattr(unit, name))}" for name in _OWN]
    lines += ["", "[profile]"]
    lines += [f"{name} = {_value(value)}" for name, value in _profile(unit.profile)]
    return "\n".join(lines) + "\n"


def _profile(profile: GenerativeProfile | ClassicProfile) -> list[tuple[str, object]]:
    return [(each.name, getattr(profile, each.name)) for each in fields(profile)]


def _value(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = f"{value:.6g}"
        return text if any(mark in text for mark in ".e") else f"{text}.0"
    return str(value)


def _text(text: str) -> str:
    return json.dumps(text)
