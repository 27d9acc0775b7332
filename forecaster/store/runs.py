"""Runs of training: begun, gone on with, ended."""

from __future__ import annotations

from dataclasses import dataclass

from forecaster.store.pool import Connection
from forecaster.store.queries import queries

_SQL = queries("retrain")
RESUMED_S = 86_400.0
"""An older unfinished run is not gone on with: its demand is of yesterday."""
KEPT_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One run.

    Attributes
    ----------
    began_s : float
        When it began, epoch seconds: later demand is not looked at.
    batches : tuple of int
        Numbers of the batches that are stored.
    """

    run_id: int
    began_s: float
    batches: tuple[int, ...] = ()


def open_run(connection: Connection, asked: str, now_s: float, fresh: bool) -> TrainingRun:
    """The unfinished run that asked the same, else a new one."""
    connection.execute(_SQL["forget"], {"before_s": now_s - KEPT_S})
    if not fresh:
        bounds = {"asked": asked, "not_before_s": now_s - RESUMED_S}
        row = connection.execute(_SQL["open"], bounds).fetchone()
        if row is not None:
            return TrainingRun(int(row[0]), float(row[1]), tuple(row[2]))
    added = connection.execute(_SQL["begin"], {"began_s": now_s, "asked": asked}).fetchone()
    assert added is not None
    return TrainingRun(int(added[0]), now_s)


def claim_batch(connection: Connection, run_id: int, batch: int) -> bool:
    """Count a batch as stored, in the transaction that stores it; False when it was before."""
    return connection.execute(_SQL["batch"], {"run_id": run_id, "batch": batch}).rowcount == 1


def end_run(connection: Connection, run_id: int, now_s: float) -> None:
    """Nothing is left to do."""
    connection.execute(_SQL["end"], {"run_id": run_id, "ended_s": now_s})
