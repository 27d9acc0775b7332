"""Forecasts that are verified when their targets arrive."""

from __future__ import annotations

import numpy as np

from forecaster.seasonal.verify import Foretold
from forecaster.store.pool import Connection
from forecaster.store.queries import queries

_SQL = queries("foretold")
APART_S = 900.0
"""Forecasts made closer together than this are not kept twice."""


def add_foretold(connection: Connection, number: int, said: Foretold) -> bool:
    """Keep a forecast, quantiles as float32; False when one was kept a moment ago."""
    row = {
        "service_id": number,
        "made_s": said.made_s,
        "start_s": said.start_s,
        "slot_s": said.slot_s,
        "model_id": said.model_id or None,
        "load": said.load,
        "slots": list(said.slots),
        "levels": list(said.levels),
        "said": said.said.astype("<f4").tobytes(),
        "apart_s": APART_S,
    }
    return connection.execute(_SQL["add"], row).rowcount == 1


def last_foretold(connection: Connection, service: str, back_s: float) -> list[Foretold]:
    """Forecasts made within `back_s` before the newest one, the oldest first."""
    asked = {"service": service, "back_s": back_s}
    rows = connection.execute(_SQL["last"], asked, binary=True).fetchall()
    return [
        Foretold(
            made_s, start_s, slot_s, int(model_id or 0), load, tuple(slots), tuple(levels),
            np.frombuffer(said, "<f4").reshape(len(slots), len(levels)).astype(np.float64),
        )
        for made_s, start_s, slot_s, model_id, load, slots, levels, said in rows
    ]  # fmt: skip


def drop_foretold(connection: Connection, keep_days: int) -> int:
    """Delete what was foretold `keep_days` or more before the newest; return how many."""
    return connection.execute(_SQL["drop"], {"keep_days": keep_days}).rowcount
