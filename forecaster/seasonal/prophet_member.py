"""Prophet as a member: local wall-clock time in, so that its seasons survive DST."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray
from forecaster.domain.ports import CalendarFeatures
from forecaster.seasonal.calendar import HOLIDAY, Calendar
from forecaster.seasonal.member import Member


class ProphetMember(Member):
    """Prophet on the z scale without its sampled intervals (the conformal ones replace them)."""

    name = "prophet"
    refit_days = 3

    def _learn(self) -> None:
        # heavy: imported when it is used
        import pandas as pd
        from prophet import Prophet

        hush()
        T, N = self.Z.shape
        slots = np.arange(T)
        local = _local(self.calendar, slots)
        days = T / self.slots_per_day
        self.models = []
        for n in range(N):
            seen = np.isfinite(self.Z[:, n])
            frame = pd.DataFrame({"ds": local[seen], "y": self.Z[seen, n]})
            frame["holiday"] = (self.calendar.day_type(slots[seen]) == HOLIDAY).astype(float)
            model = Prophet(
                daily_seasonality=True,
                weekly_seasonality=days >= 7,
                yearly_seasonality=False,
                uncertainty_samples=0,
            )
            if frame["holiday"].any():
                model.add_regressor("holiday")
            with their_warnings():
                self.models.append(model.fit(frame))

    def _continue(self, slots: npt.NDArray[np.int64]) -> FloatArray:
        import pandas as pd

        frame = pd.DataFrame({"ds": _local(self.calendar, slots)})
        frame["holiday"] = (self.calendar.day_type(slots) == HOLIDAY).astype(float)
        with their_warnings():
            paths = [model.predict(frame)["yhat"].to_numpy() for model in self.models]
        return np.column_stack(paths)


def _local(calendar: CalendarFeatures, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.datetime64]:
    if isinstance(calendar, Calendar):
        return calendar.local(slots)
    return calendar.epoch_s(slots).astype("datetime64[s]")


@contextmanager
def their_warnings() -> Iterator[None]:
    """Prophet's own use of old pandas options is not our user's concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def hush() -> None:
    """Keep the backend's progress off the terminal: it speaks up wherever no handler is set."""
    logging.getLogger("prophet").setLevel(logging.ERROR)
    backend = logging.getLogger("cmdstanpy")
    if not backend.handlers:
        backend.addHandler(logging.NullHandler())
    backend.setLevel(logging.ERROR)
    backend.propagate = False
