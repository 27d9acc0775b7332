"""Every order as the tier heard it: whose, under which key, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actuators.fence import Fence
from actuators.onnx_tier.rings import NumberedRing
from forecaster.domain.errors import TidegateError
from forecaster.domain.ports import Clock

ORDERS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class HeardOrder:
    """One order to the tier.

    Attributes
    ----------
    fence : int
        Number of the leader that ordered; 0 for whoever leads nothing.
    unit_ids : tuple of str
        What it concerned; the same again where an order is repeated under its key.
    refused : str
        Why it was not carried out; empty where it was.
    """

    seq: int
    at_s: float
    verb: str
    service: str
    units: int
    order_key: str
    fence: int
    unit_ids: tuple[str, ...] = ()
    refused: str = ""


class OrderLog:
    """Checks who orders, carries out, and writes down what became of it; the oldest give way.

    Parameters
    ----------
    clock : Clock
        Stamps the orders.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._fence = Fence()
        self.heard: NumberedRing[HeardOrder] = NumberedRing(ORDERS_KEPT)

    def lead(self, fence: int) -> None:
        """Refuse the orders of earlier leaders from now on.

        Raises
        ------
        FencedError
            When a later leader was here already.
        """
        self.carry_out("lead", ("", 0, "", fence), tuple)

    def carry_out(
        self, verb: str, order: tuple[str, int, str, int], work: Callable[[], tuple[str, ...]]
    ) -> tuple[str, ...]:
        """Return what `work` returns, unless the leader that orders was replaced.

        Parameters
        ----------
        order : tuple
            Service, units, order key and the leader's number.

        Raises
        ------
        FencedError
            When a later leader was here already.
        TidegateError
            What the work raised.
        """
        try:
            self._fence.check(order[3])
            unit_ids = work()
        except TidegateError as error:
            self._note(verb, order, refused=error.problem)
            raise
        self._note(verb, order, unit_ids)
        return unit_ids

    def _note(
        self,
        verb: str,
        order: tuple[str, int, str, int],
        unit_ids: tuple[str, ...] = (),
        refused: str = "",
    ) -> None:
        at_s = self._clock.now_s()
        self.heard.append(lambda seq: HeardOrder(seq, at_s, verb, *order, unit_ids, refused))
