"""What the forecasting engine remembers: runs of training, forecasts to verify, judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forecaster.domain.anomaly import Judgement
from forecaster.domain.errors import DataError
from forecaster.seasonal.verify import Foretold
from forecaster.store import binned, folds, foretold, judgements, models, runs, services
from forecaster.store.pool import Pool
from forecaster.store.rows import Known, ModelRow, Taught
from forecaster.store.runs import TrainingRun

DAY_S = 86_400.0
KEPT_VERSIONS = 50
"""Versions of a service's model that are kept beside the live one."""


class Learning:
    """The engine's tables; each method one transaction, with the errors of `Store`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def known(
        self, asked: Mapping[str, str], days: float, until_s: float, slot_s: float, weighed: bool
    ) -> list[Known]:
        """What there is of services to train them; those without requests are not among them.

        Parameters
        ----------
        asked : mapping of str to str
            Digest of what forecasts of each service depend on; what was said under another is not read.
        days : float
            How much history is asked for; two days more are read, to see where it begins.
        until_s : float
            Later demand is not looked at, epoch seconds.
        weighed : bool
            With the sums of tokens, which say what requests weigh.
        """
        with self._pool.transaction() as connection:
            ends = services.ends(connection, asked)
            names = {number: name for name, (number, _, _) in ends.items()}
            judged = judgements.judgements_of(connection, list(names))
            serving = models.serving(connection, list(names))
            kept = folds.kept_folds(connection, {n: asked[name] for n, name in names.items()})
            from_s = {
                number: max(first_s, min(last_s, until_s) - (days + 2) * DAY_S) // DAY_S * DAY_S
                for number, first_s, last_s in ends.values()
            }
            return [
                Known(names[n], slots, judged.get(n, ()), serving.get(n), kept.get(n, {}))
                for n, slots in binned.read_binned(connection, from_s, until_s, slot_s, weighed)
            ]

    def keep(
        self, learnt: Sequence[Taught], batch: tuple[int, int] | None = None
    ) -> list[int] | None:
        """Store what training gave, all or nothing; the numbers of the versions.

        Parameters
        ----------
        batch : (int, int) or None
            Number of the run and of the batch that it is; None is returned when another process stored
            that before.
        """
        with self._pool.transaction() as connection:
            if batch is not None and not runs.claim_batch(connection, *batch):
                return None
            ids = services.service_ids(connection, {each.row.service for each in learnt})
            by_number = {ids[each.row.service]: each for each in learnt}
            folds.add_folds(
                connection,
                {n: each.asked for n, each in by_number.items()},
                {n: each.folds for n, each in by_number.items()},
                [n for n, each in by_number.items() if each.anew],
            )
            return models.save_models(connection, [(n, each.row) for n, each in by_number.items()])

    # Runs of training

    def open_run(self, asked: str, now_s: float, fresh: bool = False) -> TrainingRun:
        """The unfinished run of the last day that asked the same, else a new one."""
        with self._pool.transaction() as connection:
            return runs.open_run(connection, asked, now_s, fresh)

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
            services.lock_services(connection, [number])
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
