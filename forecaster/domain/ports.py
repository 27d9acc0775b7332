"""Ports: what the core asks of the world, as protocols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray
from forecaster.domain.units import Fleet, RequestRecord, UnitEvent


class Clock(Protocol):
    """The installation's clock. Speed 1 in production; the demo compresses the tide."""

    def now_s(self) -> float:
        """Epoch seconds."""
        ...

    @property
    def speed(self) -> float:
        """Clock seconds per real second."""
        ...


class Actuator(Protocol):
    """A tier that runs units. Few verbs, each idempotent under its `order_key`.

    All methods raise `ActuatorUnavailableError` when the tier cannot be reached: hold and retry.
    """

    def observe(self, service: str) -> Fleet:
        """Return every unit of `service` that is alive or failed in the last hour."""
        ...

    def lead(self, fence: int) -> None:
        """Refuse, from now on, the orders of every leader with a lower number than `fence`.

        Raises
        ------
        FencedError
            When a later leader was here already.
        """
        ...

    def prewarm(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Order `units` more units; return the ids (the same ids for the same `order_key`).

        Raises
        ------
        CapacityDeniedError
            When the tier has no room: nothing was ordered.
        FencedError
            When a leader with a higher number than `fence` was here (0: nobody leads, never refused).
        """
        ...

    def drain(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Drain the `units` emptiest units (warming ones first); return their ids."""
        ...

    def drain_unit(self, unit_id: str, *, reason: str) -> None:
        """Drain one unit by name.

        Raises
        ------
        UnitGoneError
            When it is already gone: the order is done.
        """
        ...

    def events_after(self, seq: int, limit: int = 1000) -> Sequence[UnitEvent]:
        """Unit events numbered above `seq`, in order."""
        ...

    def requests_after(self, seq: int, limit: int = 10000) -> Sequence[RequestRecord]:
        """Logged requests numbered above `seq`, in order."""
        ...

    @property
    def tier(self) -> str:
        """Identity of this tier's numbering; changes when the numbering starts again."""
        ...


@runtime_checkable
class TakesBatchWork(Protocol):
    """A tier that keeps batch work back until its units have room: `Fleet.backlog` says what waits."""

    def let_in(self, service: str, busy_units: float) -> None:
        """Answer batch work with at most so many busy units' worth of the service, until told otherwise.

        Raises
        ------
        ActuatorUnavailableError
            When the tier cannot be reached.
        """
        ...


class Forecaster(Protocol):
    """One model over N series at once, on one regular grid.

    The contract (one test suite over every member): `quantiles` before `fit` raises; output is
    finite, non-negative, float64[H, N, Q] and never falls along Q; `fit` leaves its input alone;
    two fits on the same data agree.
    """

    name: str

    def fit(self, Y: FloatArray, calendar: CalendarFeatures, mask: npt.NDArray[np.bool_]) -> Self:
        """Learn from `Y`.

        Parameters
        ----------
        Y : float64[T, N]
            Demand per slot, any value where `mask` is False.
        calendar : CalendarFeatures
            Local time of each of the T slots and of the slots to come.
        mask : bool[T, N]
            True where `Y` was measured and may train the season.
        """
        ...

    def update(self, y: FloatArray) -> Self:
        """Append one slot, float64[N] (NaN = missing), without refitting."""
        ...

    def quantiles(self, horizons: Sequence[int], levels: Sequence[float]) -> FloatArray:
        """Return demand `h` slots ahead (h >= 1), float64[H, N, Q], same unit as `Y`."""
        ...


class CalendarFeatures(Protocol):
    """Local-time features of slot `t` (0 = first training slot; beyond T = future)."""

    @property
    def slot_s(self) -> float:
        """Slot length, seconds."""
        ...

    def minute_of_day(self, slots: npt.NDArray[np.int64]) -> FloatArray:
        """Local minutes since midnight, 0 <= m < 1440."""
        ...

    def day_type(self, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """0..6 = Monday..Sunday, 7 = public holiday."""
        ...

    def epoch_s(self, slots: npt.NDArray[np.int64]) -> FloatArray:
        """Start of the slots, epoch seconds."""
        ...
