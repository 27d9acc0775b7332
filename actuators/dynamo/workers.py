"""A fleet that Dynamo builds: it is told numbers, and tells how many workers are ready.

So the lead is measured: a unit is ready when its worker is, and not when the clock says that it should be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from actuators.book import watched
from actuators.dry_run import PaperUnit
from actuators.keda.pulled import PulledActuator
from forecaster.domain.lifecycle import WARMING_STATES, UnitState
from forecaster.domain.ports import Clock

SLOW_LEADS = 3.0
"""A worker that has not come after so many leads is no supply to a plan, and is ordered anew."""


class WorkerFleet(PulledActuator):
    """An `Actuator` whose units are a planner's workers; until one tells of them, units on paper.

    Workers that are ready beyond ours (not scaled in yet, or there before us) are not taken for a unit that
    was just ordered until its configured lead has passed: they would make the measured lead too short.
    A worker that does not come is ordered anew by the plan; to a planner the new unit is the old one, so that
    the number it is told stays.

    Parameters
    ----------
    clock, leads_s, file, max_units_total
        As of `PulledActuator`.
    """

    def __init__(
        self, clock: Clock, leads_s: Mapping[str, float], file: Path, max_units_total: int
    ) -> None:
        self._spare: dict[str, int] = {}
        self._took_s: dict[str, float] = {}
        self._heard_s: dict[str, float] = {}
        super().__init__(clock, leads_s, file, max_units_total)

    def heard(self, service: str, ready: int) -> None:
        """Take over how many workers of `service` are ready."""
        with self._turn:
            self._reach(service)
            units = self._of[service].values()
            warming = self._warming(service)
            beyond = max(ready - sum(each.view.state is UnitState.READY for each in units), 0)
            before = self._spare.get(service)
            self._spare[service] = beyond if before is None or not warming else min(before, beyond)
            now_s = self._clock.now_s()
            came: list[PaperUnit] = []
            for unit in sorted(warming, key=lambda each: each.order):
                late = now_s >= unit.view.ordered_s + self._lead_s(service)
                taken = len(came) + (0 if late else self._spare[service])
                if taken < beyond:
                    came.append(unit)
            heard_s, self._heard_s[service] = self._heard_s.get(service, 0.0), now_s
            for unit in came:
                unit.due_s, seen = now_s, watched(unit.view.since_s, heard_s, now_s)
                super()._arrive(unit, seen)
                if seen:
                    self._took_s[service] = now_s - unit.view.ordered_s
            if came:
                self._keep()

    def _more(self, service: str, units: int, reason: str) -> tuple[str, ...]:
        """Order units; the ones that never came are given up for as many of them."""
        now_s = self._clock.now_s()
        slow_s = SLOW_LEADS * self._took_s.get(service, self._lead_s(service))
        awaited = sorted(self._warming(service), key=lambda each: each.order)
        slow = [each for each in awaited if now_s - each.view.ordered_s > slow_s]
        ids = super()._more(service, units, reason)
        for unit in slow[:units] if service in self._spare else ():
            self._move(unit, UnitState.FAILED, now_s, "no worker came; ordered anew")
        return ids

    def _arrive(self, unit: PaperUnit, seen: bool = True) -> None:
        """Let a unit whose worker is to be heard of wait for it."""
        view = unit.view
        if view.state in WARMING_STATES and view.service in self._spare:
            unit.due_s = math.inf
            self._keep()
        else:
            super()._arrive(unit, seen)

    def _warming(self, service: str) -> list[PaperUnit]:
        return [each for each in self._of[service].values() if each.view.state in WARMING_STATES]
