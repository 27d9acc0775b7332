"""Orders by their keys: one that comes again is answered as it was, not carried out again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

ORDERS_KEPT = 10_000

Key = tuple[str, str, str]
"""Verb, service and order key: keys of different verbs never meet."""


class OrderBook:
    """The latest `ORDERS_KEPT` orders and the units that each one concerned."""

    def __init__(self) -> None:
        self._orders: OrderedDict[Key, tuple[str, ...]] = OrderedDict()

    def once(self, key: Key, carry_out: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """Return what the order of this `key` gave, carrying it out if it is new.

        An order that raises is not remembered: it may be repeated.
        """
        if key not in self._orders:
            self._orders[key] = carry_out()
            if len(self._orders) > ORDERS_KEPT:
                self._orders.popitem(last=False)
        return self._orders[key]
