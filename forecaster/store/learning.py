"""What the forecasting engine remembers: runs of training, forecasts to verify, judgements."""

from __future__ import annotations

from collections.abc import Sequence

from forecaster.domain.anomaly import Judgement
from forecaster.domain.demand import SlotSums
from forecaster.domain.errors import DataError
from forecaster.seasonal.verify import Foretold
from forecaster.store import foretold, judgements, models, runs, services, slots
from forecaster.store.pool import Pool
from forecaster.store.rows import ModelRow
from forecaster.store.runs import TrainingRun

KEPT_VERSIONS = 50
"""Versions of a service's model that are kept beside the live one."""


class Learning:
    """The engine's tables; each method one transaction, with the errors of `Store`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def binned(self, service: str, until_s: float | None, slot_s: float) -> SlotSums:
        """Demand up to `until_s` as training needs it; see `slots.read_binned`."""
        with self._pool.transaction() as connection:
            number = services.service_id(connection, service)
            return slots.read_binned(connection, number, None, until_s, slot_s)

    # Runs of training

    def open_run(self, asked: str, now_s: float, fresh: bool = False) -> TrainingRun:
        """The unfinished run of the last day that asked the same, else a new one."""
        with self._pool.transaction() as connection:
            return runs.open_run(connection, asked, now_s, fresh)

    def save_batch(self, run_id: int, batch: int, rows: Sequence[ModelRow]) -> list[int] | None:
        """Store a batch of versions, all or none; None when another process stored it before."""
        with self._pool.transaction() as connection:
            ids = services.service_ids(connection, {row.service for row in rows})
            return runs.save_batch(
                connection, run_id, batch, [(ids[row.service], row) for row in rows]
            )

    def end_run(self, run_id: int, now_s: float) -> None:
        """Close a run; versions beyond the newest `KEPT_VERSIONS` of a service go."""
        with self._pool.transaction() as connection:
            runs.end_run(connection, run_id, now_s)
            models.prune(connection, KEPT_VERSIONS)

    def live_models(self, but: str, slot_s: float, limit: int) -> list[ModelRow]:
        """Live versions of other services on one grid, the newest first."""
        with self._pool.transaction() as connection:
            return models.live_models(connection, but, slot_s, limit)

    def roll_back(self, service: str, model_id: int | None) -> tuple[int, int]:
        """Make an older version live: this one, or that before the live one; (from, to).

        Raises
        ------
        DataError
            When there is no such version.
        """
        with self._pool.transaction() as connection:
            number = services.service_id(connection, service)
            services.lock_service(connection, number)
            rows = models.versions(connection, service)
            live = next((row.model_id for row in rows if row.live), 0)
            older = [row.model_id for row in rows if row.model_id < live]
            if model_id is None and not older:
                raise DataError(
                    f"service {service!r} has no version before {live}"
                    if live
                    else f"service {service!r} has no model",
                    "see `tidegate models`, or retrain",
                )
            chosen = older[0] if model_id is None else model_id
            models.set_live(connection, number, service, chosen)
            return live, chosen

    # Forecasts to verify

    def foretell(self, service: str, said: Foretold) -> bool:
        """Keep a forecast until it is verified; False when one was kept a moment ago."""
        with self._pool.transaction() as connection:
            number = services.service_ids(connection, {service})[service]
            return foretold.add_foretold(connection, number, said)

    def foretold(self, service: str, back_s: float) -> list[Foretold]:
        """Forecasts of a service made within `back_s` before the newest, the oldest first."""
        with self._pool.transaction() as connection:
            return foretold.last_foretold(connection, service, back_s)

    # Judgements

    def judge(self, service: str, made_s: float, said: Judgement) -> None:
        """Write down what an operator says of a stretch of a known service."""
        with self._pool.transaction() as connection:
            number = services.service_id(connection, service)
            judgements.add_judgement(connection, number, made_s, said)

    def judgements(self, service: str) -> tuple[Judgement, ...]:
        """What operators said of a service, the newest last."""
        with self._pool.transaction() as connection:
            return judgements.judgements(connection, service)
