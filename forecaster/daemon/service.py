"""The daemon itself: seven jobs on a schedule, each bounded, none able to stop the others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from forecaster.config.settings import Settings
from forecaster.daemon import changes, schedule
from forecaster.daemon.alarms import Alarms
from forecaster.daemon.bookkeeper import Bookkeeper
from forecaster.daemon.failures import Failures
from forecaster.daemon.jobs import Jobs
from forecaster.daemon.observer import Observer, handed_out
from forecaster.daemon.patience import Patience
from forecaster.daemon.pilot import Pilot
from forecaster.daemon.sharing import Group, Sharing
from forecaster.daemon.spool import Spool
from forecaster.daemon.succession import catch_up, recall
from forecaster.daemon.switching import read_switches
from forecaster.daemon.trainer import BackgroundTrainer
from forecaster.daemon.training import retrain_service
from forecaster.domain.errors import (
    ActuatorError,
    DataError,
    FencedError,
    StoreError,
)
from forecaster.domain.ports import Clock
from forecaster.domain.units import RequestRecord
from forecaster.store import Store
from forecaster.store.leadership import Leadership

log = logging.getLogger(__name__)
STOP_S = 5.0
"""A job that hangs keeps the turn: the stop goes on without it after this."""
TAKE_OVER = "take over"
LIMITS_S = {
    TAKE_OVER: 1800.0,
    "lead": 30.0, "tick": 600.0, "replan": 1800.0, "retrain": 12 * 3600.0, "books": 3600.0,
    "alarms": 900.0, "housekeeping": 3600.0,
}  # fmt: skip
"""A run that takes longer, real seconds, is dead: the watchdog stops the process aloud."""


class Daemon:
    """Observes, plans, acts, retrains and keeps house.

    Parameters
    ----------
    pilots : sequence of Pilot
        One for each service.
    leadership : Leadership
        Who may order: the others stand by, serve the API and take over.
    on_requests : callable
        Told every newly observed request record, for live figures.
    on_dead : callable
        Told why, when a job hangs or dies.

    Attributes
    ----------
    turn : Lock
        Held by a tick, and while the world is observed; each pilot has one of its own beside it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        clock: Clock,
        spool: Spool,
        pilots: Sequence[Pilot],
        observer: Observer,
        bookkeeper: Bookkeeper,
        alarms: Alarms,
        leadership: Leadership,
        on_requests: Callable[[Sequence[RequestRecord]], None] = lambda records: None,
        on_dead: Callable[[str], None] = lambda why: None,
    ) -> None:
        self.settings, self.store, self.clock, self.spool = settings, store, clock, spool
        self.pilots = {pilot.service.name: pilot for pilot in pilots}
        self.observer, self.bookkeeper, self.alarms = observer, bookkeeper, alarms
        self.on_requests = on_requests
        self.ticks = 0
        self.failures = Failures()
        self.patience = Patience()
        self.turn = threading.Lock()
        self.trainer = BackgroundTrainer()
        self.sharing = Sharing([each.quota() for each in settings.quota], self.pilots)
        self.leadership = leadership
        self.jobs = Jobs(on_dead)
        self._took_over: int | None = None
        self._over = threading.Event()

    def start(self) -> None:
        """Plan once, then let the schedule run."""
        self.lead()
        works = {
            "lead": self.lead, "tick": self.tick, "replan": self.replan, "retrain": self.retrain,
            "books": self.close_books, "alarms": self.look_for_alarms,
            "housekeeping": self.housekeeping,
        }  # fmt: skip
        for name, trigger in schedule.triggers(self.settings, self.clock).items():
            self.jobs.add(name, works[name], trigger, LIMITS_S[name])
        self.jobs.start()  # the leader beats, however long the first plans take
        self.tick()
        if self.patience.waiting:
            self.jobs.once(TAKE_OVER, self.replan, LIMITS_S[TAKE_OVER])

    def stop(self) -> None:
        """Stop ordering; the job under way ends first, but for a training, which is given up."""
        self.trainer.stop()
        self.jobs.stop()
        self._over.set()
        until_s = time.monotonic() + STOP_S
        for turn in (self.turn, *(pilot.turn for pilot in self.pilots.values())):
            if turn.acquire(timeout=max(until_s - time.monotonic(), 0.0)):
                turn.release()
        self.leadership.close()

    @property
    def leads(self) -> bool:
        """Whether this daemon orders."""
        return self.leadership.number is not None

    def must_lead(self) -> None:
        """Refuse what only the leader knows of.

        Raises
        ------
        DataError
            Where another daemon leads.
        """
        if not self.leads:
            who = self.leadership.leader or "another daemon"
            raise DataError(f"this daemon stands by: {who} leads", "ask that one")

    def lead(self) -> None:
        """Lead, go on leading, or stand by; a new leader tells the tier, then ticks and plans at once."""
        before = self.leadership.number
        number = self.leadership.hold()
        if number == before:
            return
        for pilot in self.pilots.values():
            pilot.fence, pilot.holder = number, f"daemon {self.leadership.holder}"
        if number is None:
            log.warning("stands by: %s leads", self.leadership.leader)
            return
        try:
            self.observer.actuator.lead(number)
        except FencedError as error:
            log.warning("%s", error)
        except ActuatorError as error:  # every order carries the number as well
            log.warning("the tier was not told who leads: %s", error)
        log.info("leads, number %d", number)
        if before is None and self.ticks:  # beside this job: it beats on meanwhile
            self.jobs.once(TAKE_OVER, self.take_over, LIMITS_S[TAKE_OVER])

    def take_over(self) -> None:
        """Act by the plan in force at once, then plan by what was observed."""
        self.tick()
        self.replan()

    def reload(self, settings: Settings) -> None:
        """Go on under other settings, from the next tick on; what was learnt is kept.

        Raises
        ------
        SettingError
            For what cannot change while the daemon runs; everything stays as it was.
        """
        changes.refuse(self.settings, settings)
        with self.turn:
            self.settings = settings
            for each in settings.service:
                with self.pilots[each.name].turn:
                    self.pilots[each.name].reconfigure(each.service(), settings)
            self.sharing.configure(each.quota() for each in settings.quota)
            self.alarms.configure(settings.alerts)
        for name, trigger in schedule.triggers(self.settings, self.clock).items():
            self.jobs.retime(name, trigger)

    def pilot(self, name: str) -> Pilot:
        """The pilot of a service.

        Raises
        ------
        DataError
            With the names that are known.
        """
        if name not in self.pilots:
            known = ", ".join(sorted(self.pilots)) or "none"
            raise DataError(f"there is no service {name!r}", f"known services: {known}")
        return self.pilots[name]

    def tick(self) -> None:
        """Observe the world once, then decide and act for every service."""
        with self.turn:
            if not self.leads:
                self._stand_by()
                return
            self._succeed()
            self._observe()
            read_switches(self.store, self.pilots)
            for group in self.sharing.groups(self.patience.begin(self.pilots)):
                with group.turn():
                    self._watch(group)
                    for pilot in group.pilots:
                        self.failures.guard("tick", pilot, pilot.tick)
                        self.failures.guard("batch", pilot, pilot.let_in)
                        self.failures.remind(pilot)
                    self.sharing.write_down(group, self.store, self.clock.now_s())
            self.ticks += 1

    def tick_one(self, pilot: Pilot) -> None:
        """Decide for one service, now: somebody said something."""
        with self.turn:
            read_switches(self.store, self.pilots)
            with pilot.turn:
                if self.leads:
                    self.failures.guard("tick", pilot, pilot.tick)

    def _observe(self) -> None:
        """Copy what the tier logged; each pilot is handed its own."""
        began_s = self.clock.now_s()
        records, events = self.observer.observe()
        if tide := [each for each in records if not each.batch]:
            self.on_requests(tide)
            self.alarms.on_requests(tide)
        for pilot, own, lives in handed_out(self.pilots, records, events):
            pilot.records += own
            pilot.learn_leads(lives)
        if not self.observer.said:
            for pilot in self.pilots.values():
                pilot.observed_s = began_s

    def _succeed(self) -> None:
        """The first time under a new number: go on where the leader before ended."""
        number = self.leadership.number
        if self._took_over == number:
            return
        try:
            recall(self.store, self.pilots.values())
        except StoreError as error:
            log.warning("the plans of the leader before are not known yet: %s", error)
            return
        self._took_over = number
        self.open_books()

    def _stand_by(self) -> None:
        """Look at the world for the API, and order nothing."""
        read_switches(self.store, self.pilots)
        for pilot in self.pilots.values():
            self.failures.guard("watch", pilot, partial(pilot.stand_by, self.leadership.leader))
        self.ticks += 1

    def _watch(self, group: Group) -> None:
        """The guard: what the band does not allow for is planned for at once, while there is time."""
        now_erl: dict[str, float | None] = {}

        def look(pilot: Pilot) -> None:
            now_erl[pilot.service.name] = pilot.watch()

        for pilot in group.pilots:
            self.failures.guard("watch", pilot, partial(look, pilot))
        wanted = any(found is not None for found in now_erl.values())
        wanted = wanted or any(
            p.state.table is None or p.pinned_anew or p.returned for p in group.pilots
        )
        if wanted and self.patience.allows(group.pilots[0].service.name):
            began_s = time.monotonic()
            self.sharing.replan(group, self.failures.guard, now_erl)
            self.patience.spend(began_s)

    def replan(self) -> None:
        """Observe, then make a new tide table for every service; the old one holds where that fails."""
        with self.turn:
            if not self.leads:
                return
            self._succeed()
            self._observe()
        for group in self.sharing.groups():
            self._replan(group)
            if self._over.is_set():
                return
        self._catch_up()

    def replan_one(self, pilot: Pilot) -> None:
        """Make a new tide table for one service, now, and for those that share its GPUs."""
        self._replan(self.sharing.group(pilot))

    def _replan(self, group: Group) -> None:
        """Plan services together; whoever leads does."""
        with group.turn():
            if self.leads:
                self.sharing.replan(group, self.failures.guard)

    def retrain(self) -> None:
        """Choose the champions again."""
        if not self.leads:
            return
        for pilot in self.pilots.values():
            self.failures.guard("retrain", pilot, partial(self._retrain, pilot))

    def _retrain(self, pilot: Pilot) -> None:
        report = retrain_service(
            self.store, pilot.service, self.settings.retrain, self.clock.now_s(),
            trainer=self.trainer, profile=pilot.unit.profile,
        )  # fmt: skip
        beaten = "" if report.verdict.beats_naive else report.verdict.reason
        self.alarms.gates[pilot.service.name] = beaten

    def open_books(self) -> None:
        """Write down what units cost from now on."""
        opened = partial(self.bookkeeper.open, self.pilots.values(), self.clock.now_s())
        self.failures.wait("the books", opened)

    def close_books(self) -> None:
        """Write down what was kept of the SLO, and what rivals would have held."""
        if not self.leads:
            return
        for pilot in self.pilots.values():
            now_s = self.clock.now_s()
            self.failures.guard("books", pilot, partial(self.bookkeeper.close, pilot, now_s))

    def look_for_alarms(self) -> None:
        """See what somebody should know, and say it."""
        if not self.leads:
            return
        self.failures.wait("an alert", partial(self.alarms.look, dict(self.failures)))

    def housekeeping(self) -> None:
        """Drop raw requests past their age; journal what waited for the database."""
        if not self.leads:
            return
        days = int(self.settings.store.raw_days)
        self.failures.wait("housekeeping", partial(self.store.drop_raw_before, days))
        self._catch_up()

    def _catch_up(self) -> None:
        self.failures.wait("the journal", partial(catch_up, self.spool, self.store))
