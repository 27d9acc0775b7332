"""A statement: the accounts of a range and of its days, as plain values for every surface."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from forecaster.domain.service import Service
from forecaster.planning.account import Account, Compared, Kept
from forecaster.planning.billing import Bill

ALL = "all"
"""The row of all unit types together."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a service cost and kept, day by day in its own time zone.

    Attributes
    ----------
    total : Account
        The whole range.
    days : tuple of Account
        Its days; their bills add up to the total's.
    """

    service: Service
    total: Account
    days: tuple[Account, ...]


def to_dict(statement: Statement) -> dict[str, Any]:
    """What JSON says; NaN where there is nothing to say."""
    zone = ZoneInfo(statement.service.calendar.timezone)
    return {
        "service": statement.service.name,
        "timezone": zone.key,
        "attainment_target": statement.service.slo.attainment,
        **account_dict(statement.total),
        "days": [
            {"day": _day(account, zone), **account_dict(account)} for account in statement.days
        ],
    }


def account_dict(account: Account) -> dict[str, Any]:
    """One account."""
    return {
        "from_s": account.from_s,
        "to_s": account.to_s,
        **bill_dict(account.bill),
        "units": {unit: bill_dict(each) for unit, each in sorted(account.by_unit.items())},
        "slo": kept_dict(account.kept),
        "rivals": {name: rival_dict(each) for name, each in sorted(account.rivals.items())},
    }


def bill_dict(bill: Bill) -> dict[str, float]:
    """One bill with its sums."""
    return {**asdict(bill), "lived_s": bill.lived_s, "billed_s": bill.billed_s}


def kept_dict(kept: Kept) -> dict[str, float]:
    """What was kept of the SLO."""
    return {
        "requests": kept.requests,
        "outside": kept.outside,
        "refused": kept.refused,
        "attainment": kept.attainment,
        "error_budget": kept.budget,
        "error_budget_left_share": kept.budget_left_share,
    }


def rival_dict(rival: Compared) -> dict[str, float]:
    """One policy against the fleet."""
    return {
        **asdict(rival),
        "saved_money": rival.saved_money,
        "saved_share": rival.saved_share,
        "attainment": rival.attainment,
        "fleet_attainment": rival.fleet_attainment,
    }


def to_csv(statement: Statement) -> str:
    """One line for each day and unit type, and for all types together with SLO and rivals."""
    zone = ZoneInfo(statement.service.calendar.timezone)
    rivals = sorted(statement.total.rivals)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([
        "service", "day", "unit", "ordered_s", "warming_s", "ready_s", "draining_s", "unused_s",
        "billed_s", "money", "requests", "outside", "refused", "attainment",
        *(f"{name} {what}" for name in rivals for what in ("money", "saved_money")),
    ])  # fmt: skip
    rows = [*((_day(each, zone), each) for each in statement.days), ("total", statement.total)]
    for day, account in rows:
        lines = sorted(account.by_unit.items())
        for unit, bill in [*lines, (ALL, account.bill)]:
            more = _slo_cells(account, rivals) if unit == ALL else [""] * (4 + 2 * len(rivals))
            writer.writerow([statement.service.name, day, unit, *_bill_cells(bill), *more])
    return out.getvalue()


def plain_rows(days: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Cells of a table for people: day, unit-hours by state, billed, money, SLO, saved."""
    for each in days:
        hours = (each[f"{state}_s"] / 3600 for state in ("warming", "ready", "draining", "unused"))
        peak = each["rivals"].get("static-peak")
        yield (
            str(each.get("day", "total")),
            f"{(each['ordered_s'] / 3600):.2f}",
            *(f"{value:.2f}" for value in hours),
            f"{each['billed_s'] / 3600:.2f}",
            f"{each['money']:.2f}",
            str(each["slo"]["requests"]),
            percent(each["slo"]["attainment"], 2),
            percent(peak["saved_share"] if peak else math.nan, 0),
        )


def percent(share: float | None, digits: int) -> str:
    """A share for people; a dash where there is none."""
    return f"{share:.{digits}%}" if share is not None and math.isfinite(share) else "-"


def _bill_cells(bill: Bill) -> list[str]:
    seconds = (
        bill.ordered_s, bill.warming_s, bill.ready_s, bill.draining_s, bill.unused_s, bill.billed_s,
    )  # fmt: skip
    return [*(f"{value:.3f}" for value in seconds), f"{bill.money:.6f}"]


def _slo_cells(account: Account, rivals: Sequence[str]) -> list[str]:
    kept = account.kept
    share = f"{kept.attainment:.6f}" if kept.requests else ""
    cells = [str(kept.requests), str(kept.outside), str(kept.refused), share]
    for name in rivals:
        rival = account.rivals.get(name)
        cells += [f"{rival.money:.6f}", f"{rival.saved_money:.6f}"] if rival else ["", ""]
    return cells


def _day(account: Account, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(account.from_s, zone).date().isoformat()
