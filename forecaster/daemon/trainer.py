"""Training beside the daemon, see `forecaster.daemon.beside`."""

from __future__ import annotations

from forecaster.daemon.beside import Beside
from forecaster.seasonal.training import Learnt, Lesson, train_one

LIMIT_S = 1800.0
"""A training that takes longer is given up; the live champion stays."""


class BackgroundTrainer:
    """`forecaster.seasonal.training.train_one` in a child process; one at a time."""

    def __init__(self) -> None:
        self._beside = Beside(LIMIT_S)

    def __call__(self, lesson: Lesson) -> Learnt:
        """Train and wait for what was learnt.

        Raises
        ------
        TidegateError
            What `train_one` raised.
        ChildLostError
            When the child was stopped, died, or took too long.
        """
        learnt = self._beside(f"training {lesson.series.service!r}", train_one, lesson)
        assert isinstance(learnt, Learnt)
        return learnt

    def stop(self) -> None:
        """End a training under way; none starts afterwards."""
        self._beside.stop()
