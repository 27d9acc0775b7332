"""Orders: one that comes again under its key is answered as it was; one that makes no sense is refused."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeVar

from forecaster.domain.errors import ActuatorError

T = TypeVar("T")

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


def check_units(units: int) -> None:
    """Refuse an order of nothing.

    Raises
    ------
    ActuatorError
        When `units` is below 1.
    """
    if units < 1:
        raise ActuatorError(f"units = {units} must be 1 or more", "order at least one unit")


def of_service(served: Mapping[str, T], service: str) -> T:
    """What a tier knows of a service that it serves.

    Raises
    ------
    ActuatorError
        When it does not serve it.
    """
    if service not in served:
        names = ", ".join(sorted(served))
        raise ActuatorError(f"service {service!r} is not served here", f"served are: {names}")
    return served[service]
