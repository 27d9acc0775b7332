"""Training beside the daemon, see `forecaster.daemon.beside`."""

from __future__ import annotations

from collections.abc import Sequence

from forecaster.daemon.beside import Beside
from forecaster.domain.demand import DemandSeries
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.selection import Incumbent, Verdict
from forecaster.seasonal.training import train

LIMIT_S = 1800.0
"""A training that takes longer is given up; the live champion stays."""


class BackgroundTrainer:
    """`forecaster.seasonal.training.train` in a child process; one at a time."""

    def __init__(self) -> None:
        self._beside = Beside(LIMIT_S)

    def __call__(
        self,
        series: DemandSeries,
        spec: CalendarSpec,
        members: Sequence[str],
        incumbent: Incumbent | None = None,
    ) -> Verdict:
        """Train and wait for the verdict.

        Raises
        ------
        TidegateError
            What `train` raised.
        ChildLostError
            When the child was stopped, died, or took too long.
        """
        verdict = self._beside(
            f"training {series.service!r}", train, series, spec, members, incumbent
        )
        assert isinstance(verdict, Verdict)
        return verdict

    def stop(self) -> None:
        """End a training under way; none starts afterwards."""
        self._beside.stop()
