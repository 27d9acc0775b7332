"""Services under one quota are planned together, and never hold more GPUs than it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import numpy as np

from forecaster.daemon.pilot import Pilot
from forecaster.daemon.pilot_state import Draft
from forecaster.domain.errors import ActuatorUnavailableError, FencedError, StoreError
from forecaster.domain.lifecycle import WARMING_STATES, UnitState
from forecaster.domain.service import Mode, Quota
from forecaster.domain.units import Fleet
from forecaster.planning.course import lead_slots
from forecaster.planning.share import Claim, Share, claim, shares
from forecaster.store import Store

HOLDING = WARMING_STATES | {UnitState.READY, UnitState.DRAINING}
"""States in which a unit has its GPUs."""

LONGEST_S = 600.0
"""A longer time between two ticks was a pause: nobody knows what would have been held."""

Guard = Callable[[str, Pilot, Callable[[], object]], None]
"""Runs one job of one service; its failure holds only that service."""


@dataclass(frozen=True, slots=True)
class Group:
    """Services that are planned together: all of one quota, or one without any."""

    quota: Quota | None
    pilots: Sequence[Pilot]

    @property
    def name(self) -> str:
        """Of the quota, or of the service that is alone."""
        return self.pilots[0].service.name if self.quota is None else f"quota {self.quota.name}"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else changes these pilots meanwhile; taken in one order, so that none waits for ever."""
        with ExitStack() as stack:
            for pilot in sorted(self.pilots, key=lambda each: each.service.name):
                stack.enter_context(pilot.turn)
            yield


class Sharing:
    """Divides quotas among pilots.

    Parameters
    ----------
    quotas : sequence of Quota
        As configured.
    pilots : mapping of str to Pilot
        Every service of this installation, with and without a quota.
    """

    def __init__(self, quotas: Sequence[Quota], pilots: Mapping[str, Pilot]) -> None:
        self.pilots = pilots
        self.quotas: dict[str, Quota] = {}
        self._written_s: dict[str, float] = {}
        self.configure(quotas)

    def configure(self, quotas: Iterable[Quota]) -> None:
        """Go on under other quotas."""
        self.quotas = {each.name: each for each in quotas}
        for pilot in self.pilots.values():
            pilot.room = partial(self.room, pilot)

    def members(self, quota: str) -> list[Pilot]:
        """Who shares a quota, the higher priority first."""
        found = [pilot for pilot in self.pilots.values() if pilot.service.quota == quota]
        return sorted(found, key=lambda pilot: -pilot.service.priority)

    def taken(self, quota: Quota) -> int:
        """GPUs that are held now.

        Raises
        ------
        ActuatorUnavailableError
            When one of the services cannot be seen.
        """
        return sum(
            gpus_of(pilot, pilot.actuator.observe(pilot.service.name))
            for pilot in self.members(quota.name)
        )

    def room(self, pilot: Pilot) -> int | None:
        """Units of this service for which its quota has GPUs now; none while that is not known."""
        quota = self.quotas.get(pilot.service.quota)
        if quota is None:
            return None
        try:
            left = quota.gpus - self.taken(quota)
        except ActuatorUnavailableError:
            return 0
        return max(left // pilot.unit.gpus, 0)

    def groups(self, names: Iterable[str] | None = None) -> list[Group]:
        """Every pilot once, those of one quota together, in the order of `names`."""
        found: dict[str, Group] = {}
        for name in self.pilots if names is None else names:
            quota = self.pilots[name].service.quota
            key = f"quota {quota}" if quota in self.quotas else f"service {name}"
            if key not in found:
                found[key] = self.group(self.pilots[name])
        return list(found.values())

    def group(self, pilot: Pilot) -> Group:
        """A pilot with those that share its quota."""
        quota = self.quotas.get(pilot.service.quota)
        return Group(quota, [pilot] if quota is None else self.members(quota.name))

    def write_down(self, group: Group, store: Store, now_s: float) -> None:
        """Keep what the plans in force refused, to the services of a quota, since the tick before."""
        since_s, self._written_s[group.name] = self._written_s.get(group.name, now_s), now_s
        seconds = min(now_s - since_s, LONGEST_S)
        if group.quota is None or seconds <= 0:
            return
        for pilot in group.pilots:
            table = pilot.state.table
            if table is None:
                continue
            # what is missing now was refused when it would have been ordered
            slot = table.at(now_s + table.lead_time_s + table.slot_s)
            if slot.refused_units:
                unit_s, requests = slot.refused_units * seconds, slot.refused_rps * seconds
                with suppress(StoreError, FencedError):  # the note of the tick says why
                    store.books.refuse(pilot.service.name, now_s, unit_s, requests, pilot.fence)

    def replan(
        self, group: Group, guard: Guard, nowcast_erl: Mapping[str, float | None] | None = None
    ) -> None:
        """Make new plans for services that share their GPUs.

        Parameters
        ----------
        nowcast_erl : mapping of str to float or None
            Load of this minute, of a service whose band it broke.
        """
        drafts: dict[str, Draft] = {}
        now_erl = nowcast_erl or {}

        def make(pilot: Pilot) -> None:
            name = pilot.service.name
            drafts[name] = pilot.draft(now_erl.get(name))

        for pilot in group.pilots:
            guard("replan", pilot, partial(make, pilot))
        given: list[Share | None] = [None] * len(group.pilots)
        if group.quota is not None:
            # plans end where their forecasts do
            slots = min((len(each.made.table.slots) for each in drafts.values()), default=0)
            claims = [claim_of(p, drafts.get(p.service.name), slots) for p in group.pilots]
            given = shares(claims, group.quota.gpus)
        for pilot, share in zip(group.pilots, given, strict=True):
            draft = drafts.get(pilot.service.name)
            if draft is not None:
                guard("replan", pilot, partial(pilot.settle, draft, share))


def claim_of(pilot: Pilot, draft: Draft | None, slots: int) -> Claim:
    """What a service asks for; what it holds, where there is no plan or nobody may order for it."""
    fleet = pilot.state.fleet
    present = 0 if fleet is None else fleet.ready + fleet.warming
    gate, unit = pilot.gate, pilot.unit
    if draft is None:
        held = np.full(slots, present, np.int64)
        nothing = np.zeros((slots, 0))
        return Claim(
            pilot.service.name, pilot.service.priority, unit.gpus, 0, held, held, held, nothing,
            present=present, fixed=True,
        )  # fmt: skip
    made = draft.made
    hold = np.array([slot.hold_units for slot in made.table.slots[:slots]], np.int64)
    return claim(
        pilot.service.name,
        made.outlook.outside_rps[:slots],
        hold,
        made.outlook.own[:slots],
        made.policy,
        present=present,
        gpus=unit.gpus,
        priority=pilot.service.priority,
        price_per_hour=unit.price_per_hour,
        prices=made.outlook.prices,
        lead_slots=lead_slots(pilot.planner.handover_s()),
        fixed=gate.frozen or gate.mode is Mode.OBSERVE,
    )


def gpus_of(pilot: Pilot, fleet: Fleet) -> int:
    """GPUs that a fleet holds, draining units included."""
    return fleet.count(*HOLDING) * pilot.unit.gpus
