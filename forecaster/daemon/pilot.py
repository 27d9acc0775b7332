"""One service's pilot: keeps its forecaster, plans its tide table, decides every tick."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from forecaster.capacity.sizing import Question
from forecaster.config.settings import Settings
from forecaster.daemon.floor import floor_table
from forecaster.daemon.live import Steering
from forecaster.daemon.spool import Spool
from forecaster.demand import offered_work_s
from forecaster.domain.demand import DemandSeries
from forecaster.domain.errors import (
    ActuatorUnavailableError,
    CapacityDeniedError,
    DataError,
    ModelError,
    StoreError,
)
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.lifecycle import WARMING_STATES, UnitState
from forecaster.domain.plan import Decision, TideTable, Verb
from forecaster.domain.ports import Actuator, Clock
from forecaster.domain.profile import UnitType
from forecaster.domain.service import Mode, Service
from forecaster.domain.units import Fleet, RequestRecord, UnitEvent
from forecaster.planning.decide import decide
from forecaster.planning.journal import decision_to_dict, fleet_to_dict, table_to_dict
from forecaster.planning.leads import lead_p90_s, lead_times_s
from forecaster.planning.policy import Policy
from forecaster.planning.tide import ladder, rounded, tide_table
from forecaster.seasonal.calibration import LEVELS
from forecaster.seasonal.champion import Calibrated
from forecaster.seasonal.live import LiveForecaster
from forecaster.seasonal.training import last_days
from forecaster.store import Store

log = logging.getLogger(__name__)
DAY_S = 86_400.0
USUAL_S = 14 * DAY_S
"""How far back the usual rate of an hour is looked for when a slot is empty."""
FAILURES_BEFORE_HOLD = 3
HOLD_AFTER_FAILURES_S = 600.0


@dataclass(slots=True)
class PilotState:
    """What the API and the dashboard read; replaced, never edited."""

    table: TideTable | None = None
    table_id: int = 0
    forecast: QuantileForecast | None = None
    fleet: Fleet | None = None
    decision: Decision | None = None
    lead_time_s: float = 0.0
    note: str = ""
    recent: deque[Decision] = field(default_factory=lambda: deque(maxlen=200))


class Pilot:
    """Plans and steers one service.

    Parameters
    ----------
    service, unit : Service, UnitType
        What is steered, and on what.
    settings : Settings
        Planner and retrain settings.
    store, actuator, clock, spool
        The world.
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
        settle_s: float,
    ) -> None:
        self.service, self.unit, self.settings = service, unit, settings
        self.store, self.actuator, self.clock, self.spool = store, actuator, clock, spool
        self.settle_s = settle_s
        self.live: LiveForecaster | None = None
        self.model_id = 0
        self.work_s = 0.0
        self.question: Question | None = None
        self.data_until_s = 0.0
        self.leads: list[float] = []
        self.steering = Steering(service.slo, settings.planner.believed)
        self.starts: list[UnitEvent] = []
        table, plan_id = spool.last_table(service.name)
        self.state = PilotState(table=table, table_id=plan_id)

    def learn_leads(self, events: list[UnitEvent]) -> None:
        """Take measured lead times from unit events of this service.

        A start is spread over several ticks: the events of a unit are kept until it is ready, and
        one whose order was not seen is not measured.
        """
        own = self.starts + [event for event in events if event.service == self.service.name]
        born = {event.unit_id for event in own if event.before is UnitState.COLD}
        own = [event for event in own if event.unit_id in born]
        self.leads = [*self.leads, *lead_times_s(own)][-200:]
        over = {event.unit_id for event in own if event.after not in WARMING_STATES}
        self.starts = [event for event in own if event.unit_id not in over]

    def learn_service(self, records: Sequence[RequestRecord]) -> None:
        """Steer the belief in the profile by how requests of this service fared."""
        self.steering.add([record for record in records if record.service == self.service.name])

    def policy(self) -> Policy:
        """The rules in force, with the lead as measured."""
        planner = self.settings.planner
        return Policy(
            limits=self.service.limits,
            elasticity=self.service.elasticity,
            level=planner.level,
            lead_time_s=lead_p90_s(self.leads, self.unit.lead_time_s * self.clock.speed)
            + planner.tick_s,
            drain_window_s=planner.drain_window_s,
            stale_s=planner.stale_s,
            horizon_s=planner.horizon_s,
            timezone=self.service.calendar.timezone,
            believed=self.steering.believed,
        )

    def replan(self) -> None:
        """Advance the forecast to the last closed slot and make a new tide table.

        Raises
        ------
        StoreError
            When the database is away: the table in force stays.
        ModelError
            When there is no champion yet.
        """
        now_s = self.clock.now_s()
        self._advance(now_s)
        live = self._live()
        assert self.question is not None
        forecast = live.forecast(int(7 * DAY_S / live.slot_s), LEVELS, now_s)
        forecast = with_load(forecast, self.work_s)
        policy = self.policy()
        steps = ladder(self.question, self.service.limits.max_units, self.work_s)
        fleet = self._observe()
        table = tide_table(forecast, steps, policy, fleet.ready + fleet.warming, self.data_until_s)
        entry = {"kind": "plan", "policy": asdict(policy), "model_id": self.model_id}
        plan_id = self.store.append_decision(
            self.service.name, now_s, entry, table_to_dict(table), False
        )
        # in force only once it is in the journal: a decision is explained by a recorded plan
        self.state.table, self.state.table_id, self.state.forecast = table, plan_id, forecast
        self.state.lead_time_s = policy.lead_time_s
        self.spool.keep_table(table, plan_id)
        self.store.save_forecast(forecast, self.model_id)

    def tick(self) -> Decision | None:
        """Decide once, write the decision down, then act; holds when it cannot decide."""
        try:
            fleet = self._observe()
        except ActuatorUnavailableError as error:
            self.state.note = str(error)
            log.warning("%s: hold: %s", self.service.name, error)
            return None
        now_s, policy = self.clock.now_s(), self.policy()
        table = self.state.table
        if table is None:
            if fleet.ready + fleet.warming >= policy.limits.min_units:
                self.state.note = "no plan yet: the present fleet is held"
                return None
            table = floor_table(self.service.name, policy, now_s)
        decision = decide(table, fleet, policy, now_s)
        ordered, note = self._permitted(decision, fleet, now_s)
        inputs = {
            "kind": "tick",
            "now_s": now_s,
            "plan_id": self.state.table_id,  # 0: the floor_table of this entry's policy and time
            "plan_made_s": table.made_s,
            "fleet": fleet_to_dict(fleet),
            "policy": asdict(policy),
        }
        changed = ordered or not self._same_as_last(decision)
        if changed:
            self._journal(now_s, inputs, {**decision_to_dict(decision), "note": note}, ordered)
        if ordered:
            note = self._act(decision)
        self.state.decision, self.state.note = decision, note
        if changed:
            self.state.recent.append(decision)
        return decision

    def reload(self) -> None:
        """Take the live champion from the store and fit it to the whole history."""
        row = self.store.live_model(self.service.name)
        if row is None:
            raise ModelError(
                f"service {self.service.name!r} has no champion", "run `tidegate retrain`"
            )
        series = last_days(self._series(None), self.settings.retrain.history_days)
        calibrated = Calibrated.from_dict(row.calibration)
        self.live = LiveForecaster(calibrated, series, self.service.calendar)
        self.model_id = row.model_id
        self._learn_load(series)
        self._learn_until(series)

    def _advance(self, now_s: float) -> None:
        row = self.store.live_model(self.service.name)
        if self.live is None or row is None or row.model_id != self.model_id:
            self.reload()
        live = self._live()
        until_s = (now_s - self.settle_s) // live.slot_s * live.slot_s
        if until_s > live.end_s:
            series = self._recent(live, until_s)
            fresh = series.arrivals[round((live.end_s - series.start_s) / live.slot_s) :]
            live.advance(fresh)
            self._learn_until(series)

    def _recent(self, live: LiveForecaster, until_s: float) -> DemandSeries:
        """The last day, or more of it where a slot is empty.

        Zero and silence are told apart beside the same hour of many days: a long outage is the
        usual rate of its own day.
        """
        try:
            series = self._series(max(live.end_s - DAY_S, live.start_s), until_s)
            self._learn_load(series)
            if series.arrivals.all():
                return series
        except DataError:
            log.debug("%s: no request for a day", self.service.name)
        return self._series(max(live.end_s - USUAL_S, live.start_s), until_s)

    def _series(self, from_s: float | None, until_s: float | None = None) -> DemandSeries:
        slot_s = self.settings.retrain.slot_s
        end_s = self.clock.now_s() - self.settle_s if until_s is None else until_s
        return self.store.demand(
            self.service.name,
            from_s=None if from_s is None else from_s // slot_s * slot_s,
            to_s=end_s // slot_s * slot_s,
            slot_s=slot_s,
            log_sample=self.service.log_sample,
        )

    def _learn_load(self, series: DemandSeries) -> None:
        self.question = rounded(
            Question(self.unit, self.service.slo, series.mix, max(series.dispersion, 1.0))
        )
        self.work_s = offered_work_s(series.mix, self.unit.profile)

    def _learn_until(self, series: DemandSeries) -> None:
        measured = np.flatnonzero(np.isfinite(series.arrivals))
        if measured.size:
            end_s = series.start_s + series.slot_s * float(measured[-1] + 1)
            self.data_until_s = max(self.data_until_s, end_s)

    def _live(self) -> LiveForecaster:
        assert self.live is not None
        return self.live

    def _observe(self) -> Fleet:
        self.state.fleet = self.actuator.observe(self.service.name)
        return self.state.fleet

    def _permitted(self, decision: Decision, fleet: Fleet, now_s: float) -> tuple[bool, str]:
        """Whether the order may go out, and why not."""
        if decision.verb is Verb.HOLD:
            return False, ""
        if self.service.mode is Mode.OBSERVE:
            return False, "mode is observe: nothing is ordered"
        failed = [unit for unit in fleet.units if unit.state is UnitState.FAILED]
        recent = [u for u in failed if now_s - u.since_s < HOLD_AFTER_FAILURES_S]
        if decision.verb is Verb.PREWARM and len(recent) >= FAILURES_BEFORE_HOLD:
            return False, f"{len(recent)} units failed lately ({recent[-1].reason}): waiting"
        return True, ""

    def _act(self, decision: Decision) -> str:
        key = f"{decision.service}:{decision.at_s:.3f}"
        try:
            if decision.verb is Verb.PREWARM:
                self.actuator.prewarm(
                    decision.service, decision.units, reason=decision.explanation, order_key=key
                )
            else:
                self.actuator.drain(
                    decision.service, decision.units, reason=decision.explanation, order_key=key
                )
        except CapacityDeniedError as error:
            log.warning("%s: capacity denied: %s", decision.service, error)
            return f"capacity denied: {error}"
        except ActuatorUnavailableError as error:
            log.warning("%s: hold: %s", decision.service, error)
            return str(error)
        return ""

    def _same_as_last(self, decision: Decision) -> bool:
        last = self.state.decision
        return last is not None and (last.verb, last.target_units, last.reason) == (
            decision.verb,
            decision.target_units,
            decision.reason,
        )

    def _journal(
        self, at_s: float, inputs: dict[str, Any], output: dict[str, Any], ordered: bool
    ) -> None:
        try:
            self.store.append_decision(self.service.name, at_s, inputs, output, ordered)
        except StoreError:
            entry = {"service": self.service.name, "at_s": at_s, "inputs": inputs}
            self.spool.push({**entry, "output": output, "ordered": ordered})


def with_load(forecast: QuantileForecast, work_s: float) -> QuantileForecast:
    """The forecast with its offered load, erlangs."""
    return replace(forecast, offered_load_erl=forecast.arrival_rate_rps * work_s)
