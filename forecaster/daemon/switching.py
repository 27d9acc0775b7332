"""What operators said by hand, to this daemon or to another one: modes, the freeze, pins."""

from __future__ import annotations

from collections.abc import Mapping

from forecaster.daemon.pilot import Pilot
from forecaster.domain.errors import StoreError
from forecaster.store import Store
from forecaster.store.switches import PIN


def read_switches(store: Store, pilots: Mapping[str, Pilot]) -> None:
    """Tell every pilot; the last that is known stays while the database is away."""
    try:
        found = store.switched()
    except StoreError:
        return
    frozen = found.get(("", "freeze")) == "on"
    for name, pilot in pilots.items():
        pilot.gate.switch(found.get((name, "mode")), frozen)
        pilot.hear_pin(found.get((name, PIN), ""))
