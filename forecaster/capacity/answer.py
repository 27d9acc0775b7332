"""The unit calculator's answer from a sizing table, in numbers and in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from forecaster.capacity.sizing import Sizing, too_few, utilisation
from forecaster.capacity.sizing_table import SizingTable
from forecaster.domain.plan import Binding
from forecaster.domain.profile import GenerativeProfile

NAMES = ("TTFT", "TPOT", "latency")
NOWHERE = (float("nan"), float("nan"))


def answered(table: SizingTable, rate_rps: float) -> Sizing:
    """Fewest units for a load, what to expect of them, and what one unit fewer would do.

    Parameters
    ----------
    rate_rps : float
        Load, requests/s, >= 0.

    Raises
    ------
    SettingError
        When the rate is no rate or more than the largest fleet carries.
    """
    units = int(table.need(rate_rps))
    ttft, tpot, latency = (
        (float(p50), float(p99)) for p50, p99 in table.percentiles_s(units, rate_rps)
    )
    generates = isinstance(table.question.unit.profile, GenerativeProfile)
    slo = table.question.slo
    pools = {str(pool): count for pool, count in table.split.of(units).items() if pool}
    kinds = f" ({said_pools(pools)})" if pools else ""
    return Sizing(
        units=units,
        utilisation=_used(table, max(rate_rps, 1e-9), units),
        attainment=1.0 - float(table.violation_share(units, rate_rps)),
        ttft_s=ttft if generates else NOWHERE,
        tpot_s=tpot if generates else NOWHERE,
        latency_s=latency,
        binding=table.binding(units - 1) if units > table.split.least_units else Binding.NONE,
        reason=f"{units} units{kinds} keep {slo.attainment:.1%} of {rate_rps:g} requests/s inside the SLO;"
        f" {one_fewer(table, units, rate_rps)}",
        pools=pools,
    )


def _used(table: SizingTable, rate_rps: float, units: int) -> float:
    """Share of the units' capacity for work that the load uses; of several types their mean."""
    question, split = table.question, table.split
    if question.unit.mixed is None:
        return utilisation(question, rate_rps, units)
    types, counts = question.unit.by_pool, split.of(units)
    per_carried = rate_rps / split.carried(counts)
    return sum(
        utilisation(replace(question, unit=types[pool]), per_carried * carries * count, count)
        * count
        / units
        for (pool, count), carries in zip(counts.items(), split.carries, strict=True)
        if count
    )


def said_pools(pools: Mapping[str, int]) -> str:
    """The units of each pool, in words."""
    return ", ".join(f"{count} {pool}" for pool, count in pools.items())


def one_fewer(table: SizingTable, units: int, rate_rps: float) -> str:
    """What one unit fewer would do at this load, one clause."""
    if units <= table.split.least_units:
        return "one of each is the least" if units > 1 else "one unit is the least"
    fewer, slo = units - 1, table.question.slo
    if rate_rps >= fewer * table.saturation_rps:
        return f"with {fewer} the queue would grow without end"
    worst = int(np.argmax(table.parts_at(fewer, rate_rps)))
    bound = (slo.ttft_p99_s, slo.tpot_p99_s, slo.latency_p99_s)[worst]
    p99_s = float(table.percentiles_s(fewer, rate_rps)[worst, 1])
    share = float(table.violation_share(fewer, rate_rps))
    return too_few(fewer, NAMES[worst], p99_s, bound, share)
