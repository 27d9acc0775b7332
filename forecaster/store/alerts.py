"""Alerts and their notices: opened once, said once to each webhook, resolved once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from forecaster.domain.alert import Alert, Kind, Notice, Symptom
from forecaster.store.pool import Pool
from forecaster.store.queries import queries
from forecaster.store.switches import NEWEST

_SQL = queries("alert")


class Alerts:
    """What was seen and what was said of it; each method one transaction."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def see(
        self,
        symptoms: Sequence[Symptom],
        now_s: float,
        hooks: Sequence[str],
        due_s: Callable[[bool], float],
        settle_s: float,
    ) -> None:
        """Take over what is wrong now; what has not been seen for `settle_s` is over.

        Parameters
        ----------
        hooks : sequence of str
            Digests of the webhooks that are to be told.
        due_s : callable
            When a notice may go out, by whether it is urgent.
        """
        with self._pool.transaction() as connection:
            for symptom in symptoms:
                row = {
                    "key": symptom.key, "kind": symptom.kind.value, "service": symptom.service,
                    "said": symptom.text, "urgent": symptom.urgent, "now_s": now_s,
                }  # fmt: skip
                found = connection.execute(_SQL["see"], row).fetchone()
                assert found is not None
                alert_id, new = found
                for hook in hooks if new or symptom.urgent else ():
                    notice = {"alert_id": alert_id, "event": "firing", "hook": hook}
                    connection.execute(_SQL["announce"], notice | {"due_s": due_s(symptom.urgent)})
            over = {"now_s": now_s, "before_s": now_s - settle_s}
            for (alert_id,) in connection.execute(_SQL["over"], over).fetchall():
                one = {"alert_id": alert_id}
                connection.execute(_SQL["unsaid"], one)
                for (hook,) in connection.execute(_SQL["said_to"], one).fetchall():
                    notice = one | {"event": "resolved", "hook": hook, "due_s": due_s(False)}
                    connection.execute(_SQL["announce"], notice)

    def due(self, now_s: float, tries: int, limit: int) -> list[Notice]:
        """Notices that may go out now and were tried fewer than `tries` times, the oldest first."""
        with self._pool.transaction() as connection:
            bounds = {"now_s": now_s, "tries": tries, "limit": limit}
            rows = connection.execute(_SQL["due"], bounds).fetchall()
        return [
            Notice(notice_id, event, hook, tries, _alert(tuple(alert)))
            for notice_id, event, hook, tries, *alert in rows
        ]

    def trying(self, notice_id: int, again_s: float) -> None:
        """Count a try before it is made; without an answer it is made again at `again_s`."""
        with self._pool.transaction() as connection:
            connection.execute(_SQL["try"], {"notice_id": notice_id, "again_s": again_s})

    def sent(self, notice_id: int, now_s: float) -> None:
        """It was taken."""
        with self._pool.transaction() as connection:
            connection.execute(_SQL["sent"], {"notice_id": notice_id, "now_s": now_s})

    def failed(self, notice_id: int, error: str) -> None:
        """It was not taken; the next try is due as `trying` said."""
        with self._pool.transaction() as connection:
            connection.execute(_SQL["failed"], {"notice_id": notice_id, "error": error})

    def newest(
        self, limit: int = 100, before_id: int | None = None, open_only: bool = False
    ) -> list[Alert]:
        """At most `limit` alerts numbered below `before_id`, newest first."""
        bounds = {"limit": limit, "before_id": before_id or NEWEST, "open": open_only}
        with self._pool.transaction() as connection:
            rows = connection.execute(_SQL["newest"], bounds).fetchall()
        return [_alert(row) for row in rows]


def _alert(row: tuple[Any, ...]) -> Alert:
    alert_id, kind, *rest = row
    return Alert(alert_id, Kind(kind), *rest)
