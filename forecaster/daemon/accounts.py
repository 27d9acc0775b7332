"""Accounts from the store: the bill from unit events, SLO and rivals from the books."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from forecaster.domain.errors import SettingError
from forecaster.domain.money import Tariff
from forecaster.domain.service import Service
from forecaster.planning.account import accounts, day_edges, month_range
from forecaster.planning.billing import bill, total
from forecaster.planning.ledger import lives
from forecaster.planning.statement import Statement
from forecaster.store import Store

MOST_DAYS = 400.0


def statement(
    store: Store, service: Service, tariff: Tariff, from_s: float, to_s: float
) -> Statement:
    """What a service cost and kept in a range.

    Parameters
    ----------
    tariff : Tariff
        Counts where the store knows of none: nothing has run there yet.
    from_s, to_s : float
        Epoch seconds; `to_s` is not in the future.

    Raises
    ------
    SettingError
        For a range that is empty or longer than 400 days.
    """
    if not 0 < to_s - from_s <= MOST_DAYS * 86_400:
        raise SettingError(
            "to_s", to_s, f"after from_s = {from_s:.0f}, by at most {MOST_DAYS:g} days",
            "ask for a shorter range that has begun",
        )  # fmt: skip
    tariffs = store.books.tariffs(service.name) or [tariff]
    tail_s = max(each.longest_tail_s for each in tariffs)
    units = lives(store.books.life_events(service.name, from_s - tail_s, to_s))
    entries = store.books.entries(service.name, from_s, to_s)
    allowed = 1.0 - service.slo.attainment
    edges = day_edges(service.calendar.timezone, from_s, to_s)
    days = accounts(units, tariffs, entries, edges, allowed)
    (whole,) = accounts(units, tariffs, entries, (from_s, to_s), allowed)
    return Statement(service, whole, tuple(days))


def month_of(service: Service, month: str, now_s: float) -> tuple[float, float]:
    """Beginning and end of ``YYYY-MM`` in the service's zone, as far as it is over; empty: this one.

    Raises
    ------
    SettingError
        For what is no month, or one that has not begun.
    """
    timezone = service.calendar.timezone
    here = datetime.fromtimestamp(now_s, ZoneInfo(timezone))
    match = re.fullmatch(r"([12]\d{3})-(0[1-9]|1[0-2])", month or here.strftime("%Y-%m"))
    if match is None:
        raise SettingError("month", month, "YYYY-MM", "write it as in 2026-11")
    begin_s, end_s = month_range(int(match[1]), int(match[2]), timezone)
    if begin_s >= now_s:
        raise SettingError("month", month, "a month that has begun", "ask for an earlier one")
    return begin_s, min(end_s, now_s)


def paid_since(
    store: Store, service: Service, tariff: Tariff, from_s: float, to_s: float
) -> dict[str, float]:
    """The bill of a range in plain values, all unit types together."""
    tariffs = store.books.tariffs(service.name) or [tariff]
    tail_s = max(each.longest_tail_s for each in tariffs)
    units = lives(store.books.life_events(service.name, from_s - tail_s, to_s))
    made = total(bill(units, tariffs, from_s, to_s))
    return {
        "from_s": from_s, "to_s": to_s, "ordered_s": made.ordered_s, "warming_s": made.warming_s,
        "ready_s": made.ready_s, "draining_s": made.draining_s, "unused_s": made.unused_s,
        "paid_s": made.billed_s, "paid_money": made.money,
    }  # fmt: skip
