"""`tidegate plan`: the tide table, with the reason for each slot."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, ServiceArgument, app
from forecaster.cli.durations import LatencyBound, TpotBound, TtftBound, seconds
from forecaster.cli.output import emit, iso, make_table, progress
from forecaster.config import Settings, load_settings
from forecaster.config.settings import ServiceSettings
from forecaster.domain.plan import SlotPlan, TideTable
from forecaster.domain.pools import Split
from forecaster.domain.service import Service
from forecaster.wiring.questions import plan_once, service_named, unit_of
from forecaster.wiring.sizer import now
from forecaster.wiring.stores import ensure_home, open_store

WEEK_S = 7 * 86_400.0


@app.command("plan")
def plan_command(
    service: ServiceArgument,
    horizon: Annotated[str, typer.Option(help="length of the table: 6h, 24h")] = "24h",
    unit: Annotated[str | None, typer.Option(help="unit type [default: configured]")] = None,
    ttft_p99: TtftBound = None,
    tpot_p99: TpotBound = None,
    latency_p99: LatencyBound = None,
    elasticity: Annotated[float | None, typer.Option(help="0 = peak, 1 = tide")] = None,
    min_units: Annotated[int | None, typer.Option(help="never fewer")] = None,
    max_units: Annotated[int | None, typer.Option(help="never more")] = None,
    rate_scale: Annotated[float, typer.Option(help="plan for this many times the load")] = 1.0,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """How many units will be needed, and held, in each coming slot, and why?

    Example: `tidegate plan llm-chat --unit llama70b-h100x8 --ttft-p99 2 --tpot-p99 0.08`
    """
    horizon_s = seconds("--horizon", horizon, 60, WEEK_S)
    settings = load_settings(config)
    asked = {
        "unit": unit,
        "elasticity": elasticity,
        "min_units": min_units,
        "max_units": max_units,
        "ttft_p99_s": ttft_p99,
        "tpot_p99_s": tpot_p99,
        "latency_p99_s": latency_p99,
    }
    named = overridden(settings, service, {k: v for k, v in asked.items() if v is not None})
    unit_of(settings, named)  # refused before anything is started
    with open_store(settings) as store, progress("sizing", total=100) as advance_to:
        folder = ensure_home(settings) / "tables"
        tables = now(folder, store, lambda share: advance_to(100 * share, ""))
        table = plan_once(store, settings, named, tables, horizon_s, rate_scale)
    emit(as_dict(table), form, _table(table))


def overridden(settings: Settings, name: str, asked: dict[str, Any]) -> Service:
    """The configured service with what the command line says instead.

    Every value goes through the settings table, so that a range is refused in one place.
    """
    present = service_named(settings, name)
    slo = {
        key: asked.pop(key, getattr(present.slo, key))
        for key in ("ttft_p99_s", "tpot_p99_s", "latency_p99_s")
    }
    values: dict[str, Any] = {
        "name": name,
        "unit": present.unit or "none",
        "slo": {**slo, "attainment": present.slo.attainment},
        "elasticity": present.elasticity,
        "min_units": present.limits.min_units,
        "max_units": present.limits.max_units,
        "step_units": present.limits.step_units,
        **asked,
    }
    checked = load_settings_of(values).service()
    return replace(
        present,
        unit=asked.get("unit", present.unit),
        slo=checked.slo,
        elasticity=checked.elasticity,
        limits=checked.limits,
    )


def load_settings_of(values: dict[str, Any]) -> ServiceSettings:
    """Validate one service's values; the refusal names the option."""
    from pydantic import ValidationError

    from forecaster.domain.errors import SettingError

    try:
        return ServiceSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        said = said[:1].lower() + said[1:]
        if not first["loc"]:  # two settings that contradict each other
            raise SettingError("service", values["name"], said) from error
        key = "--" + str(first["loc"][-1]).removesuffix("_s").replace("_", "-")
        raise SettingError(key, first["input"], said) from error


def as_dict(table: TideTable) -> dict[str, Any]:
    """What JSON says."""
    return {
        "service": table.service,
        "made": iso(table.made_s),
        "slot_s": table.slot_s,
        "lead_time_s": table.lead_time_s,
        "peak_units": table.peak_units,
        "price_s": table.price_s,
        "unit_hours": sum(slot.hold_units for slot in table.slots) * table.slot_s / 3600,
        "static_peak_unit_hours": table.peak_units * len(table.slots) * table.slot_s / 3600,
        "slots": [
            {
                "start": iso(slot.start_s),
                "arrival_rate_rps": slot.arrival_rate_rps,
                "high_rate_rps": slot.high_rate_rps,
                "offered_load_erl": slot.offered_load_erl,
                "need": slot.need_units,
                "hold": slot.hold_units,
                **in_pools(table.split, slot.hold_units),
                "outside_share": slot.outside_share,
                "reason": slot.reason.value,
                "binding": slot.binding.value,
            }
            for slot in table.slots
        ],
    }


def in_pools(split: Split, units: int) -> dict[str, int]:
    """Units of each pool or type, by name; nothing to say of one."""
    return {str(pool): count for pool, count in split.of(units).items() if pool}


def held_in(split: Split, units: int) -> str:
    """Units to hold, and how many of them are in each pool or of each type."""
    pools = in_pools(split, units)
    said = " + ".join(f"{count} {pool}" for pool, count in pools.items())
    return f"{units} = {said}" if said else str(units)


def _table(table: TideTable) -> Any:
    rows = []
    for _, run in groupby(table.slots, key=lambda slot: (slot.hold_units, slot.reason)):
        slots: list[SlotPlan] = list(run)
        peak = max(slots, key=lambda slot: slot.arrival_rate_rps)
        rows.append(
            (
                iso(slots[0].start_s),
                f"{len(slots) * table.slot_s / 60:.0f} min",
                f"{peak.arrival_rate_rps:.3g}",
                max(slot.need_units for slot in slots),
                held_in(table.split, slots[0].hold_units),
                slots[0].reason.value,
                peak.binding.value,
            )
        )
    held = sum(slot.hold_units for slot in table.slots) * table.slot_s / 3600
    peak_hours = table.peak_units * len(table.slots) * table.slot_s / 3600
    title = (
        f"{table.service}: {held:.1f} unit-hours held, static peak {peak_hours:.1f}"
        f" ({1 - held / peak_hours:.0%} saved)"
    )
    columns = ("from (UTC)", "for", "peak requests/s", "need", "hold", "reason", "binds")
    return make_table(title, columns, rows)
