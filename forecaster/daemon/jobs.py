"""Jobs with a bounded run time, and the watchdog that stops the process aloud when one of them is dead."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

log = logging.getLogger(__name__)
LOOK_S = 1.0


@dataclass(slots=True)
class Job:
    """One job of the daemon.

    Attributes
    ----------
    limit_s : float
        A run that takes longer is dead, real seconds.
    began_s : float or None
        Start of the run under way on the monotonic clock; None between runs.
    defect : str
        What ended its last run; empty while it is sound.
    """

    name: str
    work: Callable[[], None]
    limit_s: float
    began_s: float | None = None
    defect: str = ""

    def __call__(self) -> None:
        """Run once; what escapes it is remembered and never lost in a thread."""
        self.began_s = time.monotonic()
        try:
            self.work()
        except Exception as error:
            self.defect = f"job {self.name!r} died: {error!r}"
            log.exception("job %r died", self.name)
        finally:
            self.began_s = None


def overdue(job: Job, now_s: float) -> str:
    """Why a job is dead; empty while it is not.

    Examples
    --------
    >>> overdue(Job("tick", lambda: None, limit_s=60.0, began_s=100.0), 161.0)
    "job 'tick' hangs: it runs for 61 s, 60 s are allowed"
    >>> overdue(Job("tick", lambda: None, limit_s=60.0, began_s=100.0), 159.0)
    ''
    """
    began_s = job.began_s  # read once: the job may end meanwhile
    if began_s is not None and now_s - began_s > job.limit_s:
        return (
            f"job {job.name!r} hangs: it runs for {now_s - began_s:.0f} s,"
            f" {job.limit_s:.0f} s are allowed"
        )
    return job.defect


class Jobs:
    """The daemon's schedule.

    A run that was missed is made up once, as soon as it can be; a job never overlaps itself.

    Parameters
    ----------
    on_dead : callable
        Told once, from a thread of its own, why a job is dead.
    """

    def __init__(self, on_dead: Callable[[str], None]) -> None:
        self.on_dead = on_dead
        self.jobs: dict[str, Job] = {}
        self._scheduler = BackgroundScheduler(
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )
        self._stopped = threading.Event()
        self._dog = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def add(
        self, name: str, work: Callable[[], None], trigger: BaseTrigger, limit_s: float
    ) -> None:
        """Run `work` whenever `trigger` says; before or after the start."""
        self.jobs[name] = Job(name, work, limit_s)
        self._scheduler.add_job(self.jobs[name], trigger, id=name, name=name)

    def once(self, name: str, work: Callable[[], None], limit_s: float) -> None:
        """Run `work` one time, as soon as a thread is free; only where the schedule runs."""
        if self._scheduler.running:
            self.jobs[name] = Job(name, work, limit_s)
            self._scheduler.add_job(self.jobs[name], id=name, name=name, replace_existing=True)

    def retime(self, name: str, trigger: BaseTrigger) -> None:
        """Give a job another trigger."""
        self._scheduler.reschedule_job(name, trigger=trigger)

    def start(self) -> None:
        """Let the schedule run, and watch it."""
        self._scheduler.start()
        self._dog.start()

    def stop(self) -> None:
        """Start nothing more; a run under way goes on to its end."""
        self._stopped.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def look(self, now_s: float) -> str:
        """Why the daemon is dead; empty while it is not."""
        thread = getattr(self._scheduler, "_thread", None)
        if self._scheduler.running and thread is not None and not thread.is_alive():
            return "the scheduler's thread died"
        return next((why for job in self.jobs.values() if (why := overdue(job, now_s))), "")

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_S):
            why = self.look(time.monotonic())
            if why:
                log.critical("%s", why)
                self.on_dead(why)
                return
