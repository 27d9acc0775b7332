"""What a new leader takes over: the plans in force, what was learnt, and units that are on their way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from forecaster.daemon.pilot import LEADS_MOST, Pilot
from forecaster.daemon.spool import Spool
from forecaster.domain.units import UnitEvent
from forecaster.store import Store


def catch_up(spool: Spool, store: Store) -> None:
    """Journal the decisions that were made while the database was away, each once.

    Raises
    ------
    StoreError
        When it is away again: the rest waits.
    """

    def once(entry: dict[str, Any]) -> None:
        found = store.decision_at(entry["service"], entry["at_s"])
        if found is None or found.inputs != entry["inputs"]:  # else it went in just before a crash
            store.append_decision(**entry)

    spool.drain(once)


def recall(store: Store, pilots: Iterable[Pilot]) -> None:
    """Let every pilot go on where the leader before it ended, wherever that one ran.

    Raises
    ------
    StoreError
        When the database is away: nothing is taken over yet.
    """
    plans, leads_s = store.activity.plans_in_force(), store.activity.leads_s(LEADS_MOST)
    aims = store.books.aims_in_force()
    starts: dict[str, list[UnitEvent]] = defaultdict(list)
    for event in store.activity.starting():
        starts[event.service].append(event)
    for pilot in pilots:
        name = pilot.service.name
        pilot.recall(plans.get(name), leads_s.get(name, ()), starts[name])
        pilot.shadow = pilot.shadow_said = aims.get(name)  # the leader before moved it on
