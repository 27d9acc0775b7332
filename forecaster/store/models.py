"""Model versions."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from forecaster.domain.errors import DataError
from forecaster.store.pool import Connection
from forecaster.store.queries import queries
from forecaster.store.rows import ModelRow

_SQL = queries("model")

JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
"""Arrays become lists, numbers as keys become text, NaN becomes null."""


def save_model(connection: Connection, number: int, row: ModelRow) -> int:
    """Store a version; when it is live, the version that was so far is retired."""
    return save_models(connection, [(number, row)])[0]


def save_models(connection: Connection, rows: Sequence[tuple[int, ModelRow]]) -> list[int]:
    """Store versions of as many services, (service number, version); see `save_model`."""
    if not rows:
        return []
    connection.execute(_SQL["retire_all"], {"service_ids": [n for n, row in rows if row.live]})
    each = [row for _, row in rows]
    columns = {
        "service_id": [number for number, _ in rows],
        "created_s": [row.created_s for row in each],
        "champion": [row.champion for row in each],
        "slot_s": [row.slot_s for row in each],
        "scores": [orjson.dumps(dict(row.scores), option=JSON_OPTIONS).decode() for row in each],
        "calibration": [
            orjson.dumps(dict(row.calibration), option=JSON_OPTIONS).decode() for row in each
        ],
        "verdict": [row.verdict for row in each],
        "live": [row.live for row in each],
        "log_sample": [row.log_sample for row in each],
    }
    return [int(row[0]) for row in connection.execute(_SQL["add"], columns)]


def serving(connection: Connection, numbers: Sequence[int]) -> dict[int, tuple[str, str, int]]:
    """Champion, challenger and its wins in a row, by service number, where anybody serves."""
    rows = connection.execute(_SQL["serving"], {"service_ids": list(numbers)})
    return {number: (champion, challenger, wins) for number, champion, challenger, wins in rows}


def set_live(connection: Connection, number: int, service: str, model_id: int) -> None:
    """Make one version the live one: rolling back is the same step.

    Raises
    ------
    DataError
        When the service has no such version.
    """
    chosen = {"service_id": number, "model_id": model_id}
    connection.execute(_SQL["retire"], chosen)
    if connection.execute(_SQL["go_live"], chosen).rowcount != 1:
        known = ", ".join(str(row.model_id) for row in versions(connection, service)[:20])
        raise DataError(
            f"model_id = {model_id} is not a version of service {service!r}",
            f"known: {known}" if known else "retrain it first",
        )


def live_model(connection: Connection, service: str) -> ModelRow | None:
    """Return the live version, if there is one."""
    row = connection.execute(_SQL["live"], {"service": service}).fetchone()
    return None if row is None else _model(row)


def versions(connection: Connection, service: str) -> list[ModelRow]:
    """Every version, newest first."""
    return [_model(row) for row in connection.execute(_SQL["versions"], {"service": service})]


def live_models(connection: Connection, but: str, slot_s: float, limit: int) -> list[ModelRow]:
    """Live versions of other services on one grid, the newest first."""
    asked = {"but": but, "slot_s": slot_s, "limit": limit}
    return [_model(row) for row in connection.execute(_SQL["lives"], asked)]


def prune(connection: Connection, keep: int) -> int:
    """Keep the newest `keep` versions of each service, and the live one; return how many went."""
    return connection.execute(_SQL["prune"], {"keep": keep}).rowcount


def _model(row: tuple[object, ...]) -> ModelRow:
    names = [
        "model_id",
        "service",
        "created_s",
        "champion",
        "slot_s",
        "scores",
        "calibration",
        "verdict",
        "live",
        "log_sample",
    ]
    return ModelRow(**dict(zip(names, row, strict=True)))  # type: ignore[arg-type]
