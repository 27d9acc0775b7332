"""Model versions and the forecasts that they made."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import orjson

from forecaster.domain.errors import DataError
from forecaster.domain.forecast import QuantileForecast
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


def save_forecast(
    connection: Connection, number: int, forecast: QuantileForecast, model_id: int | None
) -> int:
    """Store a forecast, quantiles as float32."""
    added = connection.execute(
        _SQL["add_forecast"],
        {
            "service_id": number,
            "model_id": model_id,
            "model": forecast.model,
            "made_s": forecast.made_s,
            "start_s": forecast.start_s,
            "slot_s": forecast.slot_s,
            "levels": list(forecast.levels),
            "rates": _packed(forecast.arrival_rate_rps),
            "loads": _packed(forecast.offered_load_erl),
        },
    ).fetchone()
    assert added is not None
    return int(added[0])


def latest_forecast(connection: Connection, service: str) -> QuantileForecast | None:
    """Return the forecast made last, if there is one."""
    row = connection.execute(_SQL["latest_forecast"], {"service": service}, binary=True).fetchone()
    if row is None:
        return None
    name, model, made_s, start_s, slot_s, levels, rates, loads = row
    return QuantileForecast(
        service=name,
        start_s=start_s,
        slot_s=slot_s,
        levels=tuple(levels),
        arrival_rate_rps=_unpacked(rates, len(levels)),
        offered_load_erl=_unpacked(loads, len(levels)),
        made_s=made_s,
        model=model,
    )


def drop_forecasts(connection: Connection, keep_days: int) -> int:
    """Delete forecasts that are `keep_days` or more older than the newest; return how many."""
    return connection.execute(_SQL["drop_forecasts"], {"keep_days": keep_days}).rowcount


def _packed(quantiles: npt.NDArray[np.float64]) -> bytes:
    return quantiles.astype("<f4").tobytes()


def _unpacked(packed: bytes, levels: int) -> npt.NDArray[np.float64]:
    return np.frombuffer(packed, "<f4").reshape(-1, levels).astype(np.float64)


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
    ]
    return ModelRow(**dict(zip(names, row, strict=True)))  # type: ignore[arg-type]
