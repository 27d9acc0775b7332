"""Alarms: what is wrong with the services, seen beside the ticks and kept in the store."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Collection, Sequence

from forecaster.config.alerts import AlertsSettings
from forecaster.daemon.gate import FAILURES_BEFORE_HOLD, HOLD_AFTER_FAILURES_S
from forecaster.daemon.live import Outcome, outcome_of
from forecaster.daemon.notifier import Notifier
from forecaster.daemon.observer import handed_out
from forecaster.daemon.pilot import Pilot
from forecaster.domain.alert import Symptom
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.ports import Clock
from forecaster.domain.service import Slo
from forecaster.domain.units import RequestRecord
from forecaster.planning.alarms import SLOW_WINDOWS_S, Minute, Vitals, due_s, symptoms
from forecaster.store import Store

MINUTE_S = 60.0
SETTLE_S = 600.0
"""What has not been seen for so long is over."""


class BurnWindow:
    """Requests of one service by the minute, for the last six hours."""

    def __init__(self, slo: Slo) -> None:
        self.slo = slo
        self._minutes: deque[Minute] = deque()
        self._turn = threading.Lock()

    def add(self, records: Sequence[RequestRecord], now_s: float) -> None:
        """Count records at the moment at which they became known."""
        counted = [outcome_of(record, self.slo) for record in records]
        counted = [each for each in counted if each is not Outcome.NOT_OURS]
        outside = sum(each is not Outcome.INSIDE for each in counted)
        start_s = now_s // MINUTE_S * MINUTE_S
        with self._turn:
            if self._minutes and self._minutes[-1].start_s == start_s:
                last = self._minutes.pop()
                fresh = Minute(start_s, last.requests + len(counted), last.outside + outside)
            else:
                fresh = Minute(start_s, len(counted), outside)
            self._minutes.append(fresh)
            while self._minutes[0].start_s < now_s - SLOW_WINDOWS_S[0]:
                self._minutes.popleft()

    def minutes(self) -> list[Minute]:
        """What is in the window."""
        with self._turn:
            return list(self._minutes)


class Alarms:
    """Looks at every pilot, keeps alerts, sends notices; none of it under the daemon's lock.

    Parameters
    ----------
    settings : AlertsSettings
        Webhooks, kinds, quiet hours.

    Attributes
    ----------
    gates : dict of str to str
        By service, why its last training was not crowned.
    """

    def __init__(
        self, store: Store, clock: Clock, settings: AlertsSettings, pilots: Sequence[Pilot]
    ) -> None:
        self.store, self.clock = store, clock
        self.pilots = list(pilots)
        self.windows = {pilot.service.name: BurnWindow(pilot.service.slo) for pilot in pilots}
        self.gates: dict[str, str] = {}
        self.configure(settings)

    def configure(self, settings: AlertsSettings) -> None:
        """Take over settings, at the start or live."""
        self.settings = settings
        self.notifier = Notifier(self.store, settings, self.clock.speed)

    def on_requests(self, records: Sequence[RequestRecord]) -> None:
        """Count newly observed requests."""
        now_s = self.clock.now_s()
        for window, own, _ in handed_out(self.windows, records, ()):
            window.add(own, now_s)

    def look(self, failures: dict[str, str]) -> None:
        """See what is wrong now, then send what is due.

        Parameters
        ----------
        failures : dict of str to str
            By job and service, what keeps failing.

        Raises
        ------
        StoreError
            When the database is away: what is said, and to whom, is only known there.
        """
        now_s = self.clock.now_s()
        kinds = frozenset(self.settings.kinds)
        found = [s for s in self._symptoms(failures, now_s) if s.kind in kinds]
        quiet, zone = self.settings.quiet_minutes(), self.settings.timezone
        self.store.alerts.see(
            found, now_s, list(self.notifier.hooks),
            lambda urgent: due_s(urgent, now_s, quiet, zone), SETTLE_S,
        )  # fmt: skip
        self.notifier.send_due(now_s)

    def _symptoms(self, failures: dict[str, str], now_s: float) -> list[Symptom]:
        found = []
        told = self.store.meters.told_since(now_s - SLOW_WINDOWS_S[0])
        for pilot in self.pilots:
            name, table = pilot.service.name, pilot.state.table
            planner = pilot.planner
            failing = failures.get(f"replan {name}", "")
            vitals = Vitals(
                service=name,
                minutes=self._minutes(name, now_s, told),
                allowed_share=1.0 - pilot.service.slo.attainment,
                denied_ago_s=now_s - planner.denied_s,
                data_age_s=now_s - table.data_until_s if table else math.nan,
                stale_s=pilot.settings.planner.stale_s,
                believed=planner.carrying.belief.factor,
                failures=[failing] if failing else [],
                gates=self._closed(pilot, now_s),
            )
            found += symptoms(vitals, now_s)
        return found

    def _minutes(self, name: str, now_s: float, told: Collection[str]) -> list[Minute]:
        """Requests of the last hours: as our tier logged them, or as others tell."""
        seen = self.windows[name].minutes()
        if seen or name not in told:
            return seen
        said = self.store.meters.reported(name, now_s - SLOW_WINDOWS_S[0], now_s)
        rows = zip(said.start_s.tolist(), said.requests, said.outside, strict=True)
        return [Minute(float(at), round(n), round(outside)) for at, n, outside in rows]

    def _closed(self, pilot: Pilot, now_s: float) -> list[str]:
        """Gates of a service that are closed."""
        closed = [why for why in [self.gates.get(pilot.service.name, "")] if why]
        fleet = pilot.state.fleet
        failed = [
            unit
            for unit in (fleet.units if fleet else ())
            if unit.state is UnitState.FAILED and now_s - unit.since_s < HOLD_AFTER_FAILURES_S
        ]
        if len(failed) >= FAILURES_BEFORE_HOLD:
            closed.append(f"{len(failed)} units failed lately ({failed[-1].reason})")
        return closed
