"""Model versions."""

from __future__ import annotations

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
    added = connection.execute(
        _SQL["add"],
        {
            "service_id": number,
            "created_s": row.created_s,
            "champion": row.champion,
            "slot_s": row.slot_s,
            "scores": orjson.dumps(dict(row.scores), option=JSON_OPTIONS).decode(),
            "calibration": orjson.dumps(dict(row.calibration), option=JSON_OPTIONS).decode(),
            "verdict": row.verdict,
            "log_sample": row.log_sample,
        },
    ).fetchone()
    assert added is not None
    model_id = int(added[0])
    if row.live:
        set_live(connection, number, row.service, model_id)
    return model_id


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
