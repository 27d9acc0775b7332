"""The shadow: the fleet that there would be if every order had been carried out at once."""

from __future__ import annotations

from forecaster.domain.lifecycle import UnitState
from forecaster.domain.plan import TideTable
from forecaster.domain.units import Fleet, UnitView
from forecaster.planning.decide import decide
from forecaster.planning.policy import Policy


def shadow_units(table: TideTable, policy: Policy, units: int, now_s: float) -> int:
    """Units that Tidegate would hold from now on, where it holds `units` so far.

    It decides on a fleet of its own: what the real fleet does, in mode observe or after a
    denial, does not show.
    """
    held = tuple(
        UnitView(f"shadow-{pool}{n}", table.service, UnitState.READY, now_s, now_s, pool=pool)
        for pool, count in table.split.of(units).items()
        for n in range(count)
    )
    return decide(table, Fleet(table.service, now_s, held), policy, now_s).target_units
