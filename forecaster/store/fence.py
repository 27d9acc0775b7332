"""The fence: what a leader writes down is written only while it leads."""

from __future__ import annotations

from forecaster.domain.errors import FencedError
from forecaster.store.pool import Connection
from forecaster.store.queries import queries

_SQL = queries("leader")


def refuse_late(connection: Connection, fence: int | None) -> None:
    """Refuse a leader that another one followed; called in the transaction of what it writes.

    Parameters
    ----------
    fence : int or None
        The number of its leadership; None where nobody leads: never refused.

    Raises
    ------
    FencedError
        When another leader was elected since.
    """
    if fence is None:
        return
    leads = connection.execute(_SQL["fence"]).fetchone()
    if leads is None or leads[0] != fence:
        raise FencedError(
            f"leader {fence} is late: another daemon leads", "nothing is ordered here"
        )
