"""`tidegate size` with several unit types: the cheapest mix that carries the load."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forecaster.capacity.sizing import MAX_UNITS, Question, Sizing
from forecaster.cli.app import Format
from forecaster.cli.output import emit, make_table
from forecaster.config import load_unit_type
from forecaster.domain.errors import SettingError, SloInfeasibleError
from forecaster.domain.pools import Pool as Named
from forecaster.planning.mix import Mix, Pool, cheapest
from forecaster.wiring.tables import Tables

MOST = 64
"""Units of one type, where nothing else is said."""
LONGEST = 256
"""Units of one type beside which a ladder is held."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One `--unit`: a type, and how many there are of it at most."""

    name: str
    most: int


def wishes(texts: list[str]) -> list[Wish]:
    """The types of ``--unit NAME`` or ``--unit NAME:MOST``.

    Raises
    ------
    SettingError
        For a count that is none, and for a type that is named twice.

    Examples
    --------
    >>> wishes(["h100:4", "l40"])
    [Wish(name='h100', most=4), Wish(name='l40', most=64)]
    """
    found = []
    for text in texts:
        name, _, count = text.partition(":")
        if count and not (count.isdigit() and 1 <= int(count) <= MAX_UNITS):
            raise SettingError("--unit", text, f"NAME or NAME:MOST with 1..{MAX_UNITS} units")
        found.append(Wish(name, int(count) if count else MOST))
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise SettingError("--unit", name, "each type once", "write NAME:MOST for its ceiling")
    return found


def size_mix(
    asked: Question, wanted: list[Wish], rate_rps: float, models: Path, tables: Tables, form: Format
) -> None:
    """Print the cheapest mix, and what one type alone would cost.

    Parameters
    ----------
    asked : Question
        SLO, mix and dispersion; its unit is replaced by each type.
    """
    pools: list[Pool] = []
    left_out: dict[str, str] = {}
    for each in wanted:
        unit = load_unit_type(models, each.name)
        if unit.pooled:
            said = "types of one pool: a type that stands for others is sized alone"
            raise SettingError("--unit", each.name, said)
        try:
            table = tables.table(replace(asked, unit=unit), each.most)
        except SloInfeasibleError as error:
            left_out[each.name] = str(error)
            continue
        pools.append(Pool(each.name, table.capacities(), unit.price_per_hour))
    if not pools:
        name, why = next(iter(left_out.items()))
        raise SettingError("--unit", name, why, "loosen the SLO or name another type")
    best = cheapest(pools, rate_rps)
    alone = {pool.name: _alone(pool, rate_rps) for pool in pools}
    emit(as_dict(pools, best, alone, left_out), form, _table(pools, best, alone, left_out))


def prices(question: Question, answer: Sizing, rate_rps: float, tables: Tables) -> dict[str, Any]:
    """What a fleet of several types costs an hour, and the cheapest mix beside it; empty for one type."""
    mixed, types = question.unit.mixed, question.unit.by_pool
    if mixed is None:
        return {}
    pools = []
    for unit, most in zip(mixed.types, mixed.most, strict=True):
        try:
            table = tables.table(replace(question, unit=unit), min(most, LONGEST))
        except SloInfeasibleError:
            continue
        pools.append(Pool(unit.name, table.capacities(), unit.price_per_hour))
    paid = sum(count * types[Named(name)].price_per_hour for name, count in answer.pools.items())
    best = cheapest(pools, rate_rps)
    units = {pool.name: count for pool, count in zip(pools, best.units, strict=True) if count}
    return {
        "price_per_hour": paid,
        "cheapest": {"price_per_hour": best.price_per_hour, "units": units},
    }


def as_dict(
    pools: list[Pool], best: Mix, alone: dict[str, Mix | None], left_out: dict[str, str]
) -> dict[str, Any]:
    """What JSON says."""
    return {
        "feasible": True,
        "price_per_hour": best.price_per_hour,
        "capacity_rps": best.capacity_rps,
        "mix": [
            {"unit": pool.name, "units": units, "share": share, "price_per_hour": units * pool.price_per_hour}
            for pool, units, share in zip(pools, best.units, best.share, strict=True)
        ],
        "alone": {
            name: None if mix is None else {"units": mix.units[0], "price_per_hour": mix.price_per_hour}
            for name, mix in alone.items()
        },
        "infeasible": left_out,
    }  # fmt: skip


def _alone(pool: Pool, rate_rps: float) -> Mix | None:
    try:
        return cheapest([pool], rate_rps)
    except SettingError:
        return None


def _table(
    pools: list[Pool], best: Mix, alone: dict[str, Mix | None], left_out: dict[str, str]
) -> Any:
    rows: list[tuple[object, ...]] = []
    for pool, units, share in zip(pools, best.units, best.share, strict=True):
        single = alone[pool.name]
        cost = f"{single.units[0]} for {single.price_per_hour:.2f}" if single else "not enough"
        rows.append((pool.name, units, f"{share:.0%}", f"{units * pool.price_per_hour:.2f}", cost))
    rows += [(name, "-", "-", "-", "infeasible") for name in left_out]
    title = f"{best.price_per_hour:.2f} an hour carry {best.capacity_rps:.4g} requests/s"
    title += "".join(f"\n{name}: {why}" for name, why in left_out.items())
    return make_table(title, ("unit", "units", "of the load", "an hour", "alone"), rows)
