"""Heavy work beside the daemon: a child process of low priority, so that ticks are never late."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from forecaster.domain.errors import ModelError, TidegateError

NICE = 10


class Beside:
    """Runs one function at a time in a process of its own and waits for what it returns.

    Parameters
    ----------
    limit_s : float
        A child that takes longer is given up.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._child: multiprocessing.process.BaseProcess | None = None
        self._stopped = threading.Event()

    def __call__(self, what: str, work: Callable[..., Any], *args: Any) -> Any:
        """Return ``work(*args)``, computed in the child; everything must be picklable.

        Parameters
        ----------
        what : str
            What is done, for refusals.

        Raises
        ------
        TidegateError
            What the work raised.
        ChildLostError
            When the child was stopped, died, or took too long.
        """
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(there, work, args), daemon=True)
        self._child = child
        child.start()
        there.close()
        try:
            if self._stopped.is_set() or not here.poll(self.limit_s):
                raise ChildLostError(f"{what} was given up", "it is tried again")
            answer = here.recv()
        except EOFError as error:
            raise ChildLostError(f"{what} died", "see the log") from error
        finally:
            child.terminate()
            child.join()
            here.close()
            self._child = None
        if isinstance(answer, TidegateError):
            raise answer
        return answer

    @property
    def stopped(self) -> bool:
        """Whether nothing starts any more."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End the work under way; none starts afterwards."""
        self._stopped.set()
        child = self._child
        if child is not None and child.is_alive():
            child.terminate()


class ChildLostError(ModelError):
    """The child came to no answer: the same work may succeed the next time."""


def _work(answers: Connection, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    os.nice(NICE)
    answer: Any
    try:
        answer = work(*args)
    except TidegateError as error:
        answer = error
    with suppress(OSError):  # nobody waits any more
        answers.send(answer)
