"""Replays and frontiers beside the daemon: a niced process of their own, one at a time: no tick is late."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from forecaster.api.frontiers import FrontierWish
from forecaster.api.replays import ReplayWish
from forecaster.config import Settings, load_unit_type
from forecaster.domain.errors import BusyError, DataError, ModelError, TidegateError
from forecaster.domain.profile import UnitType
from forecaster.ingest.options import IngestOptions
from forecaster.store import Store
from forecaster.wiring.kept_frontiers import KeptFrontiers
from forecaster.wiring.questions import service_named, unit_of
from forecaster.wiring.tables import tables_in

if TYPE_CHECKING:  # the compiler behind the kernel takes a second to load: the daemon does without
    from forecaster.wiring.replay_tasks import Task

NICE = 10
LIMIT_S = 3600.0
"""A replay that takes longer is given up."""
KEPT = 16
"""Jobs that are remembered."""
RETRY_S = 10.0


@dataclass
class Job:
    """One replay or frontier, as its readers see it."""

    job_id: str
    service: str
    kind: str = "replay"
    state: str = "running"
    doing: str = "starting"
    share: float = 0.0
    result: dict[str, Any] | None = None
    problem: dict[str, str] | None = None
    child: BaseProcess | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """What JSON says."""
        return {
            "id": self.job_id,
            "service": self.service,
            "kind": self.kind,
            "state": self.state,
            "doing": self.doing,
            "progress": self.share,
            "result": self.result,
            "problem": self.problem,
        }


class ReplayJobs:
    """Starts replays and frontiers, remembers what came out; leaving it ends the one under way.

    Parameters
    ----------
    home : Path
        State folder, for the sizing tables and the kept frontiers.
    units : mapping
        Measured unit types of the configured services.
    """

    def __init__(
        self, settings: Settings, home: Path, store: Store, units: Mapping[str, UnitType]
    ) -> None:
        self._settings, self._home, self._store, self._units = settings, home, store, units
        self._kept = KeptFrontiers(home)
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._turn = threading.Lock()
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:  # fmt: skip
        with self._turn:
            running = [job for job in self._jobs.values() if job.state == "running"]
        for job in running:
            self.give_up(job.job_id)
        self.wait()

    def start(self, wish: ReplayWish) -> dict[str, Any]:
        """Begin a replay in a process of its own.

        Raises
        ------
        BusyError
            When one is under way.
        SettingError, DataError, ModelError
            For what cannot be played.
        """
        from forecaster.wiring.replay_tasks import Replay, order_of

        self._refuse_unknown(wish.service)
        service = service_named(self._settings, wish.service)
        order = order_of(wish, service, self._unit(wish.service, wish.unit))
        return self._begin(wish.service, "replay", Replay(order))

    def start_frontier(self, service: str, wish: FrontierWish) -> dict[str, Any]:
        """Begin to play every setting, likewise; what comes out is kept as the service's last."""
        from forecaster.wiring.replay_tasks import frontier_of

        self._refuse_unknown(service)
        task = frontier_of(wish, service_named(self._settings, service), self._unit(service, ""))
        return self._begin(service, "frontier", task)

    def frontier(self, service: str) -> dict[str, Any]:
        """The frontier that was played last, and the newest job of the service that makes one.

        Raises
        ------
        DataError
            For an unknown service.
        """
        if service not in self._units:
            self._refuse_unknown(service)
        with self._turn:
            mine = [j for j in self._jobs.values() if (j.kind, j.service) == ("frontier", service)]
            job = mine[-1].to_dict() | {"result": None} if mine else None
        return {"service": service, "frontier": self._kept.last(service), "job": job}

    def _refuse_unknown(self, service: str) -> None:
        if service not in {each.name for each in self._store.services()}:
            raise DataError(f"no service {service!r} in the store", "ingest its log first")

    def _begin(self, service: str, kind: str, task: Task) -> dict[str, Any]:
        with self._turn:
            if any(job.state == "running" for job in self._jobs.values()):
                raise BusyError("another replay is under way", RETRY_S)
            job = Job(secrets.token_hex(8), service, kind)
            context = multiprocessing.get_context("spawn")
            here, there = context.Pipe(duplex=False)
            plan = (self._store.dsn, service, task, self._home)
            job.child = context.Process(target=_work, args=(there, *plan), daemon=True)
            job.child.start()
            there.close()
            self._jobs[job.job_id] = job
            while len(self._jobs) > KEPT:
                self._jobs.popitem(last=False)
            self._reader = threading.Thread(
                target=self._follow, args=(job, here), name="replay", daemon=True
            )
            self._reader.start()
            return job.to_dict()

    def job(self, job_id: str) -> dict[str, Any]:
        """How far a replay is.

        Raises
        ------
        DataError
            For an unknown one.
        """
        with self._turn:
            return self._known(job_id).to_dict()

    def give_up(self, job_id: str) -> dict[str, Any]:
        """End a replay early."""
        with self._turn:
            job = self._known(job_id)
            if job.state == "running":
                job.state = "given up"
                if job.child is not None:
                    job.child.terminate()
            return job.to_dict()

    def wait(self, timeout_s: float = LIMIT_S) -> None:
        """Return when the replay under way is over, or after `timeout_s`."""
        reader = self._reader
        if reader is not None:
            reader.join(timeout_s)

    def _known(self, job_id: str) -> Job:
        if job_id not in self._jobs:
            raise DataError(f"no replay {job_id!r}", f"the last {KEPT} are remembered")
        return self._jobs[job_id]

    def _unit(self, name: str, unit: str) -> UnitType:
        service = service_named(self._settings, name)
        if unit and unit != service.unit:
            return load_unit_type(self._settings.models, unit)
        return self._units.get(name) or unit_of(self._settings, service)

    def _follow(self, job: Job, answers: Connection) -> None:
        """Take what the child says until it is done, dead or too late."""
        deadline_s = time.monotonic() + LIMIT_S
        try:
            while job.state == "running":
                if not answers.poll(max(deadline_s - time.monotonic(), 0.0)):
                    raise ModelError("the replay takes too long", "score fewer days or policies")
                self._take(job, answers.recv())
        except (EOFError, OSError, TidegateError) as error:
            told = error if isinstance(error, TidegateError) else _died()
            with self._turn:
                if job.state == "running":
                    job.state, job.problem = "failed", _problem(told)
        finally:
            child = job.child
            if child is not None:
                child.terminate()
                child.join()
            answers.close()

    def _take(self, job: Job, said: object) -> None:
        with self._turn:
            if isinstance(said, TidegateError):
                job.state, job.problem = "failed", _problem(said)
            elif isinstance(said, dict) and job.state == "running":
                if job.kind == "frontier":
                    self._kept.keep(job.service, said)
                job.state, job.doing, job.share, job.result = "done", "", 1.0, said
            elif isinstance(said, tuple):
                job.doing, job.share = said


def _work(answers: Connection, dsn: str, service: str, task: Task, home: Path) -> None:
    """The child: requests out of the store, the task, one document."""
    os.nice(NICE)
    try:
        with Store.open(dsn) as store:
            requests = store.request_rows(service, 0.0, IngestOptions().latest_s)
        told = task.play(requests, tables_in(home), lambda *said: answers.send(said))
        answers.send(told)
    except TidegateError as error:
        answers.send(error)


def _problem(error: TidegateError) -> dict[str, str]:
    title = type(error).__name__.removesuffix("Error")
    return {"title": title, "detail": error.problem, "remedy": error.remedy}


def _died() -> ModelError:
    return ModelError("the replay died", "see the log; memory may be short")
