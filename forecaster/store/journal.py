"""The decision journal: append-only, replayable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from forecaster.store.fence import refuse_late
from forecaster.store.models import JSON_OPTIONS
from forecaster.store.pool import Connection
from forecaster.store.queries import queries
from forecaster.store.rows import DecisionRow

_SQL = queries("decision")
_NEWEST = (1 << 63) - 1


def append_decision(
    connection: Connection, number: int, at_s: float, entry: Mapping[str, Any], fence: int | None
) -> int:
    """Append one decision with its ``inputs``, ``output``, whether it was ``ordered``, and ``by`` whom.

    Raises
    ------
    FencedError
        When `fence` is given and another leader was elected since: nothing is appended.
    """
    refuse_late(connection, fence)
    added = connection.execute(
        _SQL["append"],
        {
            "service_id": number,
            "at_s": at_s,
            "inputs": orjson.dumps(entry["inputs"], option=JSON_OPTIONS).decode(),
            "output": orjson.dumps(entry["output"], option=JSON_OPTIONS).decode(),
            "ordered": entry["ordered"],
            "by": entry["by"],
        },
    ).fetchone()
    assert added is not None
    return int(added[0])


def decisions(
    connection: Connection, service: str, limit: int, before_id: int | None
) -> list[DecisionRow]:
    """At most `limit` decisions numbered below `before_id`, newest first."""
    bounds = {"service": service, "limit": limit, "before_id": before_id or _NEWEST}
    return [DecisionRow(*row) for row in connection.execute(_SQL["newest"], bounds)]


def decision_at(connection: Connection, service: str, at_s: float) -> DecisionRow | None:
    """Return the decision that was in force at `at_s`, epoch seconds."""
    row = connection.execute(_SQL["at"], {"service": service, "at_s": at_s}).fetchone()
    return None if row is None else DecisionRow(*row)
