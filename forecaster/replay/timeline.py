"""From what a policy wants to what there is: orders, warming, ready units, and their cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecaster.capacity.kernel import UnitEvent, follow
from forecaster.domain.demand import FloatArray

UnitArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A fleet over the scored window, on the grid of ticks.

    Attributes
    ----------
    start_s, tick_s : float
        First tick, epoch seconds, and the distance of two.
    wanted : int64[T]
        Ready and warming units after each tick's order.
    ready : int64[T]
        Units that answer from each tick on.
    warming_s : float
        Unit-seconds of warming, cancelled starts included.
    actions : int
        Ticks at which an order went out.
    moved : int
        Units ordered or given back, all orders together.
    """

    start_s: float
    tick_s: float
    wanted: UnitArray
    ready: UnitArray
    warming_s: float
    actions: int
    moved: int

    @property
    def ready_s(self) -> float:
        """Unit-seconds ready (draining is what the requests in flight make of it)."""
        return float(self.ready.sum() * self.tick_s)

    @property
    def events(self) -> list[UnitEvent]:
        """What happens to the fleet after the first tick."""
        times = self.start_s + self.tick_s * np.arange(self.ready.size)
        return follow(zip(times.tolist(), self.ready.tolist(), strict=True), int(self.ready[0]))


def timeline(
    wanted: UnitArray, start_s: float, tick_s: float, lead_s: float | FloatArray
) -> Timeline:
    """Carry out orders: a unit answers one lead after its order; giving back takes effect at once.

    Starts that are under way are cancelled first, the youngest first, as the actuators do. The
    fleet of the first tick is ready.

    Parameters
    ----------
    wanted : int64[T]
        Ready and warming units after each tick's order.
    lead_s : float or float64[T]
        From order to readiness; by the tick of the order where starts differ.

    Examples
    --------
    >>> done = timeline(np.array([1, 3, 3, 2, 2]), 0.0, 60.0, 120.0)
    >>> done.ready.tolist(), done.warming_s, done.actions, done.moved
    ([1, 1, 1, 2, 2], 240.0, 2, 3)
    """
    leads = np.broadcast_to(np.ceil(np.asarray(lead_s) / tick_s - 1e-9), wanted.shape)
    lead_of = np.maximum(leads, 0).astype(np.int64).tolist()
    ready = np.empty_like(wanted)
    warming_ticks = 0
    present = int(wanted[0])
    starts: list[list[int]] = []  # [tick of readiness, units], in the order of their orders
    for t, want in enumerate(wanted.tolist()):
        if starts:
            present += sum(units for due, units in starts if due <= t)
            starts = [each for each in starts if each[0] > t]
        under_way = sum(units for _, units in starts)
        more = want - present - under_way
        if more > 0:
            if lead_of[t]:
                starts.append([t + lead_of[t], more])
            else:
                present += more
        while more < 0 and starts:
            cut = min(-more, starts[-1][1])
            starts[-1][1] -= cut
            more += cut
            if not starts[-1][1]:
                starts.pop()
        present += min(more, 0)
        ready[t] = present
        warming_ticks += sum(units for _, units in starts)
    change = np.diff(wanted)
    return Timeline(
        start_s=start_s,
        tick_s=tick_s,
        wanted=wanted,
        ready=ready,
        warming_s=float(warming_ticks * tick_s),
        actions=int((change != 0).sum()),
        moved=int(np.abs(change).sum()),
    )
