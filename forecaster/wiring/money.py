"""What the money commands ask: a statement of one service, from the store alone."""

from __future__ import annotations

import time

from forecaster.config import Settings
from forecaster.daemon.accounts import month_of, statement
from forecaster.domain.books import BOOK_S
from forecaster.domain.money import Tariff
from forecaster.planning.statement import Statement
from forecaster.store import Store
from forecaster.wiring.questions import service_named, unit_of


def month_statement(store: Store, settings: Settings, name: str, month: str) -> Statement:
    """A service's month, as far as it is over.

    Raises
    ------
    SettingError
        For a service that is not configured and a month that has not begun.
    """
    service, tariff = service_named(settings, name), _tariff(settings, name)
    return statement(store, service, tariff, *month_of(service, month, _now_s(store, service.name)))


def last_days(store: Store, settings: Settings, name: str, span_s: float) -> Statement:
    """A service's last seconds, day by day.

    Raises
    ------
    SettingError
        For a service that is not configured.
    """
    service, tariff = service_named(settings, name), _tariff(settings, name)
    now_s = _now_s(store, name)
    return statement(store, service, tariff, now_s - span_s, now_s)


def _tariff(settings: Settings, name: str) -> Tariff:
    unit = unit_of(settings, service_named(settings, name))
    return Tariff(unit.name, unit.price_per_hour, unit.min_billing_s, unit.billing_step_s)


def _now_s(store: Store, service: str) -> float:
    """Now, or the end of the books where an installation's clock runs ahead (the demo's does)."""
    last_s = store.books.last_entry_s(service)
    return max(time.time(), last_s + BOOK_S if last_s is not None else 0.0)
