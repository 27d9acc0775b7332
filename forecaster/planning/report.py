"""The shadow report: what Tidegate would have saved and violated, against what the fleet really did."""

from __future__ import annotations

import math
from typing import Any

from forecaster.domain.books import BOOK_S, SHADOW
from forecaster.planning.account import Account, Compared
from forecaster.planning.statement import Statement, kept_dict, rival_dict

WEEK_S = 7 * 86_400.0
MONTHS = 730.0 * 3600.0
"""Seconds of a month: what is saved is said by the month as well."""


def report(statement: Statement, mode: str) -> dict[str, Any]:
    """The range as a whole and by day, with one sentence.

    Both sides are held to the same sizing table over the same minutes; what the fleet really kept of
    the SLO, as measured, stands beside.

    Parameters
    ----------
    mode : str
        The rung of the trust ladder that the service stands on now.
    """
    whole = statement.total
    shadow = whole.rivals.get(SHADOW)
    return {
        "service": statement.service.name,
        "mode": mode,
        "from_s": whole.from_s,
        "to_s": whole.to_s,
        "attainment_target": statement.service.slo.attainment,
        "measured": kept_dict(whole.kept),
        "compared_s": shadow.seconds if shadow else 0.0,
        "would_have": None if shadow is None else _would_have(shadow),
        "rivals": {n: rival_dict(each) for n, each in whole.rivals.items() if n != SHADOW},
        "days": [{"from_s": day.from_s, "to_s": day.to_s, **_day(day)} for day in statement.days],
        "says": says(statement),
    }


def says(statement: Statement) -> str:
    """The report in a sentence.

    It speaks of saving only where the target would have been kept; where the fleet would have been
    larger, it says so.
    """
    name, target = statement.service.name, statement.service.slo.attainment
    found = statement.total.rivals.get(SHADOW)
    if found is None or found.seconds < 4 * BOOK_S:
        return (
            f"{name}: nothing to compare yet, the books begin with the daemon's first day of demand"
        )
    days = found.seconds / 86_400
    spared = found.fleet_unit_s - found.unit_s
    share = spared / found.fleet_unit_s if found.fleet_unit_s > 0 else math.nan
    hours = f"{found.unit_s / 3600:.0f} unit-hours instead of {found.fleet_unit_s / 3600:.0f}"
    kept = (
        f"{found.attainment:.2%} of the requests inside the SLO where the fleet as it was"
        f" would have kept {found.fleet_attainment:.2%} (target {target:.1%})"
    )
    verdict = "saved" if spared >= 0 else "added"
    amount = f"{abs(share):.0%}" if math.isfinite(share) else "all"
    money = abs(found.fleet_money - found.money)
    short = "" if found.attainment >= target else ": the target would have been missed"
    return (
        f"{name}: over {days:.1f} days Tidegate would have {verdict} {amount} ({hours},"
        f" {money:.2f} in money) and kept {kept}{short}"
    )


def _would_have(shadow: Compared) -> dict[str, float]:
    spared_s = shadow.fleet_unit_s - shadow.unit_s
    return {
        "unit_s": shadow.unit_s,
        "fleet_unit_s": shadow.fleet_unit_s,
        "saved_unit_s": spared_s,
        "saved_share": spared_s / shadow.fleet_unit_s if shadow.fleet_unit_s > 0 else math.nan,
        "saved_money": shadow.fleet_money - shadow.money,
        "saved_money_per_month": (shadow.fleet_money - shadow.money)
        * (MONTHS / shadow.seconds if shadow.seconds else 0.0),
        "outside": shadow.outside,
        "fleet_outside": shadow.fleet_outside,
        "attainment": shadow.attainment,
        "fleet_attainment": shadow.fleet_attainment,
    }


def _day(day: Account) -> dict[str, Any]:
    shadow = day.rivals.get(SHADOW)
    return {
        "measured": kept_dict(day.kept),
        "would_have": None if shadow is None else _would_have(shadow),
    }
