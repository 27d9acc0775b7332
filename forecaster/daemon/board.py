"""The board: what the API, the dashboard and the metrics show, read from daemon and store."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from forecaster.capacity.answer import one_fewer
from forecaster.daemon import views
from forecaster.daemon.accounts import paid_since
from forecaster.daemon.activity import activity
from forecaster.daemon.bookkeeper import tariff_of
from forecaster.daemon.desk import Desk
from forecaster.daemon.figures import Figures
from forecaster.daemon.labels import anomalies_to_dict, labels
from forecaster.daemon.live import LiveFigures
from forecaster.daemon.marks import marks
from forecaster.daemon.observer import handed_out
from forecaster.daemon.pilot import Pilot
from forecaster.daemon.service import Daemon
from forecaster.daemon.verified import accuracy_to_dict, verified
from forecaster.daemon.versions import version_to_dict
from forecaster.domain.errors import DataError, ModelError, SettingError
from forecaster.domain.plan import SlotPlan, TideTable
from forecaster.domain.ports import Clock
from forecaster.domain.service import Pin
from forecaster.domain.units import RequestRecord
from forecaster.domain.word import NOTHING_SAID, Word
from forecaster.planning.because import because
from forecaster.planning.journal import decision_to_dict, fleet_to_dict, table_to_dict
from forecaster.planning.ledger import counts_at
from forecaster.store import Store
from forecaster.store.activity import Deed
from forecaster.store.rows import DecisionRow
from forecaster.store.switches import FREEZE, MODE, ORDER, PIN

DAY_S = 86_400.0


class Board:
    """Answers every read of the API.

    Parameters
    ----------
    started_s : float
        Start of this run on the installation's clock: the ledger begins here.
    about : mapping
        Facts of the installation: version, tier address, what is compressed.
    """

    def __init__(
        self, daemon: Daemon, store: Store, clock: Clock, started_s: float, about: Mapping[str, Any]
    ) -> None:
        self.daemon, self.store, self.clock = daemon, store, clock
        self.started_s = started_s
        self.about = dict(about)
        self.desk = Desk(daemon, store, clock)
        self.figures = Figures(self._figures)
        self.live = {name: LiveFigures(pilot.service.slo) for name, pilot in daemon.pilots.items()}

    def on_requests(self, records: Sequence[RequestRecord]) -> None:
        """Count newly observed requests."""
        for figures, own, _ in handed_out(self.live, records, ()):
            figures.add(own)

    def overview(self) -> dict[str, Any]:
        """Every service in a line each, and the installation."""
        served = self.figures.of(list(self.daemon.pilots))
        found = {"now_s": self.clock.now_s(), "away": self.figures.said, **self.about}
        return found | {"services": [self._line(name) | served[name] for name in served]}

    def service(self, name: str) -> dict[str, Any]:
        """One service: what it is, what it holds, what it kept."""
        return self._line(name) | self.figures.of([name])[name]

    def _figures(self, name: str) -> dict[str, Any]:
        """What takes time to work out: requests served, units paid."""
        return {"served": asdict(self.live[name].figures()), "ledger": self.paid(name)}

    def _line(self, name: str) -> dict[str, Any]:
        pilot = self._pilot(name)
        state, now_s = pilot.state, self.clock.now_s()
        slot = state.table.at(now_s) if state.table else None
        fleet = state.fleet
        return {
            "name": name,
            "unit": pilot.service.unit,
            "mode": pilot.gate.mode.value,
            "frozen": pilot.gate.frozen,
            "waiting": views.waiting(pilot),
            "timezone": pilot.service.calendar.timezone,
            "elasticity": pilot.service.elasticity,
            "slo": asdict(pilot.service.slo),
            "limits": asdict(pilot.service.limits),
            "champion": state.forecast.model if state.forecast else None,
            "lead_time_s": state.lead_time_s,
            "believed": pilot.planner.carrying.belief.factor,
            **views.budget(pilot),
            "pin": asdict(pilot.planner.pin) if pilot.planner.pin else None,
            "forecast_rps": views.at(state.forecast, now_s, 0.5),
            "planned_rps": slot.high_rate_rps if slot else None,
            "need_units": slot.need_units if slot else None,
            "hold_units": slot.hold_units if slot else None,
            "refused_units": slot.refused_units if slot else None,
            "units": {
                "ready": fleet.ready if fleet else 0,
                "warming": fleet.warming if fleet else 0,
                "draining": fleet.draining if fleet else 0,
            },
            "decision": decision_to_dict(state.decision) if state.decision else None,
            "note": state.note,
        }

    def forecast(self, name: str, horizon_s: float, levels: Sequence[float]) -> dict[str, Any]:
        """Quantiles of the coming load at any levels."""
        pilot = self._pilot(name)
        feed = pilot.planner.feed
        with pilot.turn:  # the forecaster is advanced between two reads, never under one
            found = feed.forecast(horizon_s, self.clock.now_s(), tuple(sorted(set(levels))))
        keys = [f"{level:g}" for level in found.levels]
        return {
            "service": name,
            "champion": found.model,
            "slot_s": found.slot_s,
            "points": [
                {
                    "start_s": found.start_s + i * found.slot_s,
                    "arrival_rate_rps": dict(zip(keys, rates, strict=True)),
                    "offered_load_erl": dict(zip(keys, loads, strict=True)),
                }
                for i, (rates, loads) in enumerate(
                    zip(
                        found.arrival_rate_rps.tolist(),
                        found.offered_load_erl.tolist(),
                        strict=True,
                    )
                )
            ],
        }

    def accuracy(self, name: str) -> dict[str, Any]:
        """How the forecasts of the last fortnight did, and whether they drift."""
        pilot = self._pilot(name)
        return accuracy_to_dict(name, verified(self.store, pilot.service, pilot.unit.profile))

    def anomalies(self, name: str) -> dict[str, Any]:
        """What of the history is no tide, and why."""
        pilot = self._pilot(name)
        retrain = pilot.settings.retrain
        found = labels(self.store, pilot.service, retrain, pilot.unit.profile)
        return anomalies_to_dict(name, found.anomalies)

    def champions(self, name: str) -> dict[str, Any]:
        """Versions of the forecaster, newest first."""
        self._pilot(name)
        found = [version_to_dict(row) for row in self.store.models(name)]
        return {"service": name, "champions": found}

    def plan(self, name: str) -> dict[str, Any]:
        """The tide table in force, in columns."""
        return table_to_dict(self._table(name))

    def units(self, name: str) -> dict[str, Any]:
        """Units alive, and those that failed lately."""
        fleet = self._pilot(name).state.fleet
        return fleet_to_dict(fleet) if fleet else {"service": name, "units": []}

    def explain(self, name: str, at_s: float | None) -> dict[str, Any]:
        """The decision in force at a moment, with the numbers that decided."""
        pilot = self._pilot(name)
        moment = self.clock.now_s() if at_s is None else at_s
        made = [each.at_s for each in pilot.state.recent if each.at_s <= moment]
        # plans are journalled too: the decision in force is the last tick that changed something
        row = self.store.decision_at(name, max(made, default=moment))
        table = pilot.state.table
        slot = table.at(moment) if table else None
        return {
            "service": name,
            "at_s": moment,
            "slot": asdict(slot) if slot else None,
            "entry": asdict(row) if row else None,
            "why": row.output.get("explanation", "") if row else "",
            "because": self._because(pilot, slot, row) if slot and row else "",
        }

    def _because(self, pilot: Pilot, slot: SlotPlan, row: DecisionRow) -> str:
        """The counterfactual of the slot for which the decision was made."""
        table, sized = pilot.state.table, pilot.planner.carrying.believed()
        if sized is None or table is None:
            return ""
        due = table.at(float(row.output.get("needed_s", slot.start_s)))
        high = due.high_rate_rps / due.arrival_rate_rps if due.arrival_rate_rps > 0 else 1.0
        rate = due.offered_load_erl * high / pilot.planner.carrying.work_s
        fewer = one_fewer(sized, min(due.need_units, sized.max_units), rate)
        ordered_s = row.at_s if row.ordered else None
        zone = pilot.service.calendar.timezone
        return because(due, fewer, ordered_s, table.lead_time_s, zone)

    def decisions(self, name: str, limit: int, before_id: int | None) -> dict[str, Any]:
        """Decisions that changed something, newest first."""
        self._pilot(name)
        rows = self.store.activity.decided(name, limit + 1, before_id)
        found = [
            {**output, "decision_id": number, "ordered": ordered}
            for number, output, ordered in rows[:limit]
        ]
        return {
            "decisions": found,
            "before_id": found[-1]["decision_id"] if len(rows) > limit else None,
        }

    def activity(self, name: str, kinds: Sequence[str], limit: int, before: str) -> dict[str, Any]:
        """Alerts, changes by hand and orders, newest first; an empty name is every service."""
        if name:
            self._pilot(name)
        return activity(self.store, name, [Deed(kind) for kind in kinds], limit, before)

    def paid(self, name: str) -> dict[str, Any]:
        """What was paid since the start of this run, against the week's peak held all the time."""
        pilot, now_s = self._pilot(name), self.clock.now_s()
        peak = pilot.state.table.peak_units if pilot.state.table else 0
        found = paid_since(
            self.store, pilot.service, tariff_of(pilot, now_s), self.started_s, now_s
        )
        peak_s = peak * (now_s - self.started_s)
        saved = 1 - found["paid_s"] / peak_s if peak_s > 0 else math.nan
        hour = pilot.unit.hour_price(pilot.planner.carrying.split, peak)
        return found | {
            "peak_units": peak, "static_peak_s": peak_s, "saved_share": saved,
            "static_peak_money": hour * (now_s - self.started_s) / 3600,
        }  # fmt: skip

    def tide(self, name: str, past_s: float = DAY_S, coming_s: float = DAY_S) -> dict[str, Any]:
        """The picture: load behind and ahead, units behind and ahead, on one time axis."""
        pilot, now_s = self._pilot(name), self.clock.now_s()
        step_s = pilot.settings.retrain.slot_s
        begin_s = (now_s - past_s) // step_s * step_s
        end_s = (now_s - pilot.settle_s) // step_s * step_s
        chart: dict[str, Any] = {"service": name, "now_s": now_s, "step_s": step_s}
        chart["observed"] = self._observed(pilot, begin_s, end_s)
        chart["units"] = self._unit_counts(name, begin_s, now_s)
        if pilot.state.forecast is not None and pilot.state.table is not None:
            chart["forecast"] = views.band(pilot.state.forecast, coming_s)
            chart["plan"] = views.blocks(pilot.state.table, now_s)
        chart["slo"] = asdict(pilot.service.slo)
        chart["marks"] = marks(pilot.service.calendar, begin_s, now_s + coming_s)
        return chart

    def _observed(self, pilot: Pilot, begin_s: float, end_s: float) -> dict[str, Any]:
        try:
            series = self.store.demand(
                pilot.service.name,
                from_s=begin_s,
                to_s=end_s,
                slot_s=pilot.settings.retrain.slot_s,
                log_sample=pilot.service.log_sample,
            )
        except DataError:
            return {"start_s": begin_s, "rate_rps": []}
        return {"start_s": series.start_s, "rate_rps": series.arrival_rate_rps.tolist()}

    def _unit_counts(self, name: str, begin_s: float, now_s: float) -> dict[str, Any]:
        begin_s = max(begin_s, self.started_s)
        step_s = 120.0
        times = np.arange(begin_s, now_s, step_s)
        events = self.store.books.life_events(name, begin_s, now_s)
        return {"start_s": begin_s, "step_s": step_s, **counts_at(events, times)}

    def pin(
        self, name: str, units: int, seconds: float, word: Word = NOTHING_SAID
    ) -> dict[str, Any]:
        """Hold `units` for `seconds` from now on, whatever the plan says.

        Raises
        ------
        SettingError
            When the service's limits do not allow for it.
        """
        pilot, now_s = self._pilot(name), self.clock.now_s()
        limits = pilot.service.limits
        if not limits.min_units <= units <= limits.max_units or units % limits.step_units:
            steps = f", in multiples of {limits.step_units}" if limits.step_units > 1 else ""
            raise SettingError(
                "units", units, f"{limits.min_units} to {limits.max_units} units{steps}",
                "change the service's limits, or pin inside them",
            )  # fmt: skip
        return self._pinned(pilot, Pin(units, now_s, now_s + seconds, word.why), word)

    def unpin(self, name: str, word: Word = NOTHING_SAID) -> dict[str, Any]:
        """Let the plan decide again."""
        return self._pinned(self._pilot(name), None, word)

    def set_mode(self, name: str, mode: str, word: Word = NOTHING_SAID) -> dict[str, Any]:
        """Climb or descend the trust ladder, from the next decision on."""
        pilot = self._pilot(name)
        self.store.switch(self.clock.now_s(), name, MODE, mode, word)
        self.daemon.tick_one(pilot)
        return {"service": name, "mode": pilot.gate.mode.value}

    def freeze(self, on: bool, word: Word = NOTHING_SAID) -> dict[str, Any]:
        """Stop every order of every service, or let them go again."""
        self.store.switch(self.clock.now_s(), "", FREEZE, "on" if on else "off", word)
        self.daemon.tick()
        return {"frozen": on}

    def answer(
        self, name: str, order_id: str, approved: bool, word: Word = NOTHING_SAID
    ) -> dict[str, Any]:
        """Say yes or no to the order that waits; yes is carried out at once.

        Raises
        ------
        DataError
            When another order waits, or none.
        """
        pilot = self._pilot(name)
        self.daemon.must_lead()
        with pilot.turn:
            gate = pilot.gate
            found = gate.approve(order_id, word.by) if approved else gate.decline(order_id)
        said = f"{'approved' if approved else 'declined'} {order_id}"
        self.store.switch(self.clock.now_s(), name, ORDER, said, word)
        self.daemon.tick_one(pilot)
        return {
            "service": name, "order_id": order_id, "approved": approved,
            "decision": decision_to_dict(found.decision), "note": pilot.state.note,
        }  # fmt: skip

    def audit(self, limit: int, before_id: int | None) -> dict[str, Any]:
        """What operators changed, newest first."""
        rows = [asdict(row) for row in self.store.switches(limit, before_id)]
        following = rows[-1]["switch_id"] if len(rows) == limit else None
        return {"changes": rows, "before_id": following}

    def _pinned(self, pilot: Pilot, pin: Pin | None, word: Word) -> dict[str, Any]:
        """Write it down, then plan with it at once."""
        name = pilot.service.name
        now_s = self.clock.now_s()
        if pin is None:
            self.store.take_pin(name, now_s)
            self.store.switch(now_s, name, PIN, "off", word)
        else:
            self.store.set_pin(name, pin)
            span = f"{pin.units} for {pin.until_s - pin.from_s:.0f} s"
            self.store.switch(now_s, name, PIN, span, word)
        self.daemon.replan_one(pilot)
        return {"service": name, "pin": None if pin is None else asdict(pin)}

    def _pilot(self, name: str) -> Pilot:
        return self.daemon.pilot(name)

    def _table(self, name: str) -> TideTable:
        table = self._pilot(name).state.table
        if table is None:
            raise ModelError(f"service {name!r} has no plan yet", "run `tidegate retrain`")
        return table
