"""One service's pilot: keeps its forecaster, plans its tide table, decides every tick."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from forecaster.config.settings import Settings
from forecaster.daemon.carrying import Tables
from forecaster.daemon.floor import floor_table
from forecaster.daemon.gate import Gate
from forecaster.daemon.pilot_state import Draft, PilotState
from forecaster.daemon.planner import Planner
from forecaster.daemon.pooled import carry_out
from forecaster.daemon.present import PRESENT_STATES
from forecaster.daemon.spool import Spool
from forecaster.daemon.trough import let_in
from forecaster.domain.errors import ActuatorUnavailableError, FencedError, StoreError
from forecaster.domain.lifecycle import WARMING_STATES, UnitState
from forecaster.domain.plan import Decision, TideTable, Verb
from forecaster.domain.ports import Actuator, Clock
from forecaster.domain.profile import UnitType
from forecaster.domain.service import Service
from forecaster.domain.units import Fleet, RequestRecord, UnitEvent
from forecaster.planning.decide import decide
from forecaster.planning.journal import (
    decision_to_dict,
    fleet_to_dict,
    table_from_dict,
    table_to_dict,
)
from forecaster.planning.leads import lead_times_s
from forecaster.planning.policy import Policy
from forecaster.planning.shadow import shadow_units
from forecaster.planning.share import Share
from forecaster.planning.tide import settle
from forecaster.seasonal.verify import to_verify
from forecaster.store import Store
from forecaster.store.activity import PlanInForce

log = logging.getLogger(__name__)
LEADS_MOST = 200
LEAD_DIGITS = 3
"""Milliseconds: a lead is the same whether it was seen or read from the store."""


class Pilot:
    """Plans and steers one service.

    Parameters
    ----------
    service, unit : Service, UnitType
        What is steered, and on what.
    settings : Settings
        Planner and retrain settings.
    tables : callable
        Sizing tables, see `carrying.Tables`.
    store, actuator, clock, spool
        The world.
    settle_s : float
        A slot may still receive records this long after its end.

    Attributes
    ----------
    turn : Lock
        Held while the pilot changes: who reads its forecaster takes it.
    records : list of RequestRecord
        Ended requests that were observed and not yet learnt from.
    observed_s : float
        Until when the tier's log was copied, epoch seconds; infinite before the first time.
    pinned_anew : bool
        A pin was set or taken away, perhaps through another daemon, and is not planned with yet.
    returned : bool
        The plan in force is of long before a restart: it is made anew before anything is ordered.
    room : callable
        Units for which its quota has GPUs now; None without a quota.
    """

    def __init__(
        self,
        service: Service,
        unit: UnitType,
        settings: Settings,
        *,
        store: Store,
        actuator: Actuator,
        clock: Clock,
        spool: Spool,
        tables: Tables,
        settle_s: float,
    ) -> None:
        self.service, self.unit, self.settings = service, unit, settings
        self.store, self.actuator, self.clock, self.spool = store, actuator, clock, spool
        self.settle_s = settle_s
        self.planner = Planner(
            service, unit, settings,
            store=store, tables=tables, speed=clock.speed, settle_s=settle_s,
            learnt=spool.last_learnt(service.name),
        )  # fmt: skip
        self.gate = Gate(service)
        self.turn = threading.Lock()
        self.starts: list[UnitEvent] = []
        self.records: list[RequestRecord] = []
        self.observed_s = math.inf
        self.watched_s: float | None = None
        self.fence: int | None = None
        self.holder = ""
        self.pinned_anew = False
        self._pin_said: str | None = None
        self.room: Callable[[], int | None] = lambda: None
        self.shadow: int | None = None
        self.shadow_said: int | None = None
        table, plan_id = spool.last_table(service.name)
        self.state = PilotState(table=table, table_id=plan_id, lead_time_s=self.planner.lead_s())
        self._return()

    def learn_leads(self, events: list[UnitEvent]) -> None:
        """Take measured lead times from this service's unit events.

        A start is spread over several ticks: the events of a unit are kept until it is ready, and
        one whose order was not seen is not measured.
        """
        own = self.starts + events
        born = {event.unit_id for event in own if event.before is UnitState.COLD}
        own = [event for event in own if event.unit_id in born]
        measured = [round(lead_s, LEAD_DIGITS) for lead_s in lead_times_s(own)]
        self.planner.leads = [*self.planner.leads, *measured][-LEADS_MOST:]
        drained = [each.seconds for each in events if each.before is UnitState.DRAINING]
        self.planner.drains = [*self.planner.drains, *drained][-LEADS_MOST:]
        over = {event.unit_id for event in own if event.after not in WARMING_STATES}
        self.starts = [event for event in own if event.unit_id not in over]

    def recall(
        self, plan: PlanInForce | None, leads_s: Sequence[float], starts: Sequence[UnitEvent]
    ) -> None:
        """Go on where the daemon ended that led before: its plan, what it learnt, leads it measured.

        Parameters
        ----------
        plan : PlanInForce or None
            The newest plan in the journal; None: nobody made one.
        leads_s : sequence of float
            From order to ready, the newest last.
        starts : sequence of UnitEvent
            Of units that are not ready yet.
        """
        self.planner.leads = [round(lead_s, LEAD_DIGITS) for lead_s in leads_s][-LEADS_MOST:]
        self.starts = list(starts)
        self.records, self.watched_s = [], None
        if plan is not None and plan.plan_id > self.state.table_id:
            self.state.table, self.state.table_id = table_from_dict(plan.output), plan.plan_id
            self.planner.recall(plan.inputs.get("learnt", {}))
        self._return()

    def draft(self, nowcast_erl: float | None = None) -> Draft:
        """Advance the forecast to the last closed slot and plan as if no GPU were shared.

        Parameters
        ----------
        nowcast_erl : float or None
            Load of this minute, where it broke the band.

        Raises
        ------
        StoreError
            When the database is away: the table in force stays.
        ModelError
            When there is no champion yet, or no sizing table.
        """
        now_s = self.clock.now_s()
        self.planner.pin = self.store.pin(self.service.name)
        self.pinned_anew = self.returned = False
        fleet = self._observe()
        until_s = min(now_s, self.observed_s) - self.settle_s
        self.planner.advance(until_s, now_s, obeyed=self.gate.obeyed)
        made = self.planner.plan(now_s, fleet, nowcast_erl)
        return Draft(made, now_s, nowcast_erl)

    def settle(self, draft: Draft, share: Share | None) -> None:
        """Put a draft in force, inside its share of the quota.

        Raises
        ------
        StoreError
            When the database is away: the table in force stays.
        """
        made = draft.made
        table = made.table if share is None else settle(made.outlook, made.policy, share)
        entry = {
            "kind": "plan",
            "policy": asdict(made.policy),
            "model_id": self.planner.feed.model_id,
            "believed": self.planner.carrying.belief.factor,
            "nowcast_erl": draft.nowcast_erl,
            "learnt": self.planner.learnt(),
        }
        plan_id = self.store.append_decision(
            self.service.name, draft.at_s, entry, table_to_dict(table), False, self.fence
        )
        # in force only once it is in the journal: a decision is explained by a recorded plan
        self.state.table, self.state.table_id = table, plan_id
        self.state.forecast, self.state.lead_time_s = made.forecast, made.policy.lead_time_s
        try:
            self.spool.keep_table(table, plan_id)
            self.spool.keep_learnt(self.service.name, self.planner.learnt())
        finally:
            said = to_verify(made.forecast, self.planner.feed.model_id)
            self.store.learning.foretell(self.service.name, said)

    def watch(self) -> float | None:
        """Learn from the requests that ended since their log was copied last.

        Where it could not be copied they wait: what comes in one piece after an outage is no crowd.

        Returns
        -------
        float or None
            Load of the last minute where the band does not allow for it, erlangs.
        """
        try:
            fleet = self._observe()
        except ActuatorUnavailableError:
            return None  # the tick says so
        if not math.isfinite(self.observed_s) or self.observed_s == self.watched_s:
            return None
        own, self.records = self.records, []
        now_s = self.clock.now_s()
        seconds = 0.0 if self.watched_s is None else self.observed_s - self.watched_s
        self.watched_s = self.observed_s
        obeyed = self.gate.obeyed
        self.planner.witness.watch(own, fleet, now_s, seconds, obeyed=obeyed)
        return self.planner.witness.breach_erl(self.state.forecast, now_s)

    def tick(self) -> Decision | None:
        """Decide once, write the decision down, then act; holds when it cannot decide."""
        try:
            fleet = self._observe()
        except ActuatorUnavailableError as error:
            self.state.note = str(error)
            log.warning("%s: hold: %s", self.service.name, error)
            return None
        now_s = self.clock.now_s()
        self.planner.witness.note(fleet, now_s)
        table = self.state.table
        policy = self.planner.policy(now_s, table.price_s if table else 0.0)
        if table is None:
            if self.planner.whole(fleet, *PRESENT_STATES) >= policy.limits.min_units:
                self.state.note = "no plan yet: the present fleet is held"
                return None
            table = floor_table(self.service.name, policy, now_s)
        self._keep_shadow(table, policy, fleet, now_s)
        decision = decide(table, fleet, policy, now_s)
        if decision.verb is Verb.PREWARM and self.service.quota:
            policy = replace(policy, room_units=self.room())
            decision = decide(table, fleet, policy, now_s)
        ordered, note = self.gate.permit(decision, fleet, now_s)
        inputs = {
            "kind": "tick",
            "now_s": now_s,
            "plan_id": self.state.table_id,  # 0: the floor_table of this entry's policy and time
            "plan_made_s": table.made_s,
            "fleet": fleet_to_dict(fleet),
            "policy": asdict(policy),
        }
        changed = ordered or not self.state.repeats(decision)
        if changed:
            try:
                said = {**decision_to_dict(decision), "note": note}
                self._journal(now_s, inputs, said, ordered)
            except FencedError as error:
                self.state.note = str(error)
                return None
        if ordered:
            note = "; ".join(filter(None, (note, self._act(decision))))
        self.state.decision, self.state.note = decision, note
        if changed:
            self.state.recent.append(decision)
        return decision

    def let_in(self) -> None:
        """Say how much batch work there is room for."""
        forecast, now_s = self.state.forecast, self.clock.now_s()
        let_in(
            self.actuator, self.state.fleet,
            lambda fleet: self.planner.witness.spare_erl(fleet, forecast, now_s),
        )  # fmt: skip

    def hear_pin(self, said: str) -> None:
        """Take note of the last word about the pin; a new one is planned with at once."""
        self.pinned_anew = self.pinned_anew or self._pin_said not in (None, said)
        self._pin_said = said

    def stand_by(self, leader: str) -> None:
        """Look, and leave every order to the leader."""
        try:
            self._observe()
            self.state.note = f"stands by: {leader} leads"
        except ActuatorUnavailableError as error:
            self.state.note = str(error)

    def reconfigure(self, service: Service, settings: Settings) -> None:
        """Go on under other settings; what was learnt is kept."""
        before = self.planner
        self.service, self.settings = service, settings
        self.planner = Planner(
            service, self.unit, settings,
            store=self.store, tables=before.carrying.tables, speed=self.clock.speed,
            settle_s=self.settle_s, learnt=before.learnt(),
        )  # fmt: skip
        self.planner.leads, self.planner.pin = before.leads, before.pin
        self.planner.denied_s, self.planner.denied = before.denied_s, before.denied
        self.planner.drains = before.drains
        self.gate.service = service

    def _return(self) -> None:
        """Take note when the plan in force is of long before: a new one, and no scale-in on an old log."""
        self.returned = self.state.late(self.clock.now_s(), self.settings.planner.replan_s)
        if self.returned and self.state.table is not None:
            self.planner.lag_s = self.state.table.made_s - self.state.table.data_until_s

    def _observe(self) -> Fleet:
        self.state.fleet = self.actuator.observe(self.service.name)
        return self.state.fleet

    def _keep_shadow(self, table: TideTable, policy: Policy, fleet: Fleet, now_s: float) -> None:
        """Write down what would be held if every order had been carried out."""
        try:
            before = fleet.ready + fleet.warming if self.shadow is None else self.shadow
            units = shadow_units(table, policy, before, now_s)
            if units != self.shadow or self.shadow_said is None:
                self.store.books.aim(self.service.name, now_s, units, self.fence)
                self.shadow = self.shadow_said = units
        except (StoreError, FencedError):
            return  # the one in force until then goes on

    def _act(self, decision: Decision) -> str:
        said, denied = carry_out(self.actuator, decision, self.fence or 0)
        self.planner.deny(denied, decision.at_s)
        if said:
            log.warning("%s: %s", decision.service, said)
        return said

    def _journal(
        self, at_s: float, inputs: dict[str, Any], output: dict[str, Any], ordered: bool
    ) -> None:
        by = (self.gate.approved_by or self.holder) if ordered else ""
        entry: dict[str, Any] = {
            "service": self.service.name, "at_s": at_s, "inputs": inputs, "output": output,
            "ordered": ordered, "by": by,
        }  # fmt: skip
        try:
            # What orders nothing need not be on the disk before the next service's turn.
            self.store.append_decision(**entry, fence=self.fence, durable=ordered)
        except StoreError:
            self.spool.push(entry)
