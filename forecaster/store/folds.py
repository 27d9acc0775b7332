"""Folds: what members said of the days to come, a row a day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.folds import DAY_S, Folds
from forecaster.seasonal.softlog import from_z, scale_of, to_z
from forecaster.store.pool import Connection
from forecaster.store.queries import queries

_SQL = queries("fold")


def kept_folds(connection: Connection, asked: Mapping[int, str]) -> dict[int, dict[str, Folds]]:
    """What was kept of services (number: digest of what it must depend on), by member."""
    terms = {"service_ids": list(asked), "asked": list(asked.values())}
    found: dict[int, dict[str, Folds]] = {}
    for number, member, first_s, scales, said, error in connection.execute(
        _SQL["kept"], terms, binary=True
    ):
        scale = np.asarray(scales, dtype=np.float64)
        z = np.frombuffer(said, "<f2").reshape(scale.size, -1).astype(np.float64)
        missed = np.frombuffer(error, "<f4").reshape(scale.size, -1).astype(np.float64)
        demand = from_z(z.T, scale).T
        found.setdefault(number, {})[member] = Folds(first_s, demand, missed)
    return found


def add_folds(
    connection: Connection,
    asked: Mapping[int, str],
    folds: Mapping[int, Mapping[str, Folds]],
    anew: Iterable[int],
) -> None:
    """Keep what was said of services; those in `anew` begin with it.

    Parameters
    ----------
    asked : mapping of int to str
        Digest of what it depends on, by service number.
    """
    numbers = sorted(folds)
    connection.execute(_SQL["forget"], {"service_ids": sorted(anew)})
    rows = [
        (number, member, each.first_s + k * DAY_S, asked[number], *_packed(each.said[k]),
         each.error[k].astype("<f4").tobytes())
        for number in numbers
        for member, each in folds[number].items()
        for k in range(each.said.shape[0])
    ]  # fmt: skip
    if rows:
        names = ("service_id", "member", "start_s", "asked", "scale", "said", "error")
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        connection.execute(_SQL["add"], columns, binary=True)
        connection.execute(_SQL["prune"], {"service_ids": numbers})


def _packed(said: FloatArray) -> tuple[float, bytes]:
    """Scale, and demand on the log scale in halves: right to a tenth of a per cent."""
    column = said[:, None]
    scale = scale_of(column, np.isfinite(column))
    return float(scale[0]), to_z(said, scale).astype("<f2").tobytes()
