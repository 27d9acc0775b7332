"""Training beside the daemon: a process of its own at low priority, so that ticks are never late."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

from forecaster.domain.demand import DemandSeries
from forecaster.domain.errors import ModelError, TidegateError
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.selection import Verdict
from forecaster.seasonal.training import train

NICE = 10
LIMIT_S = 1800.0
"""A training that takes longer is given up; the live champion stays."""


class BackgroundTrainer:
    """`forecaster.seasonal.training.train` in a child process; one at a time."""

    def __init__(self) -> None:
        self._child: multiprocessing.process.BaseProcess | None = None
        self._stopped = threading.Event()

    def __call__(
        self,
        series: DemandSeries,
        spec: CalendarSpec,
        members: Sequence[str],
        _on_member: Callable[[str], None] = lambda member: None,
    ) -> Verdict:
        """Train and wait for the verdict.

        Raises
        ------
        TidegateError
            What `train` raised.
        ModelError
            When the child was stopped, died, or took too long.
        """
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(there, series, spec, members), daemon=True)
        self._child = child
        child.start()
        there.close()
        try:
            if self._stopped.is_set() or not here.poll(LIMIT_S):
                raise ModelError(f"training {series.service!r} was given up", "it is tried again")
            answer = here.recv()
        except EOFError as error:
            raise ModelError(f"training {series.service!r} died", "see the log") from error
        finally:
            child.terminate()
            child.join()
            here.close()
            self._child = None
        if isinstance(answer, TidegateError):
            raise answer
        assert isinstance(answer, Verdict)
        return answer

    def stop(self) -> None:
        """End a training under way; none starts afterwards."""
        self._stopped.set()
        child = self._child
        if child is not None and child.is_alive():
            child.terminate()


def _work(
    answers: Connection, series: DemandSeries, spec: CalendarSpec, members: Sequence[str]
) -> None:
    os.nice(NICE)
    try:
        answers.send(train(series, spec, members))
    except TidegateError as error:
        answers.send(error)
