"""Plans and decisions as plain values: what the journal keeps, and the way back.

A decision replayed from its journal entry is the same decision, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from forecaster.domain.lifecycle import UnitState
from forecaster.domain.plan import Binding, Decision, Reason, SlotPlan, TideTable, Verb
from forecaster.domain.pools import EVEN, ONE_POOL, Pool, Split
from forecaster.domain.service import Limits, Pin, Window
from forecaster.domain.units import Fleet, UnitView
from forecaster.planning.decide import decide
from forecaster.planning.policy import Policy

COLUMNS = (
    "start_s", "arrival_rate_rps", "high_rate_rps", "offered_load_erl", "need_units", "hold_units",
    "outside_share", "wanted_units", "refused_rps",
)  # fmt: skip


NESTED = ("slots", "split")


def table_to_dict(table: TideTable) -> dict[str, Any]:
    """A tide table in columns."""
    values: dict[str, Any] = {
        name: getattr(table, name) for name in table.__dataclass_fields__ if name not in NESTED
    }
    values |= _split_to_dict(table.split)
    for name in COLUMNS:
        values[name] = [getattr(slot, name) for slot in table.slots]
    values["reason"] = [slot.reason.value for slot in table.slots]
    values["binding"] = [slot.binding.value for slot in table.slots]
    return values


def table_from_dict(values: Mapping[str, Any]) -> TideTable:
    """Inverse of `table_to_dict`."""
    rest = {name: values[name] for name in TideTable.__dataclass_fields__ if name not in NESTED}
    columns = [name for name in COLUMNS if name in values]  # older journals know no quota
    names = (*columns, "reason", "binding")
    slots = tuple(
        SlotPlan(
            **dict(zip(columns, row[:-2], strict=True)),
            reason=Reason(row[-2]),
            binding=Binding(row[-1]),
        )
        for row in zip(*(values[name] for name in names), strict=True)
    )
    return TideTable(slots=slots, split=_split_from_dict(values), **rest)


def _split_to_dict(split: Split) -> dict[str, Any]:
    if not split.pools:
        return {}
    if not split.either:
        return {"decode_units": list(split.decode_units)}
    return {"ladder": {name: list(getattr(split, name)) for name in split.__dataclass_fields__}}


def _split_from_dict(values: Mapping[str, Any]) -> Split:
    ladder = values.get("ladder")
    if ladder is None:
        return Split.pair(values["decode_units"]) if values.get("decode_units") else ONE_POOL
    return Split.of_values(ladder)


def fleet_to_dict(fleet: Fleet) -> dict[str, Any]:
    """A fleet as JSON values."""
    return asdict(fleet)


def fleet_from_dict(values: Mapping[str, Any]) -> Fleet:
    """Inverse of `fleet_to_dict`."""
    units = tuple(
        UnitView(**{**unit, "state": UnitState(unit["state"]), "pool": Pool(unit.get("pool", ""))})
        for unit in values["units"]
    )
    return Fleet(values["service"], values["observed_s"], units)


def policy_from_dict(values: Mapping[str, Any]) -> Policy:
    """Inverse of `dataclasses.asdict` on a policy."""
    pin = values["pin"]
    known = {name: each for name, each in values.items() if name not in ("paired", "split")}
    split = values.get("split")
    if split is None:  # older journals knew two pools only
        start = EVEN if values.get("paired") else ONE_POOL
    else:
        start = Split.of_values(split)
    return Policy(
        **{
            **known,
            "split": start,
            "denied_pools": tuple(Pool(name) for name in values.get("denied_pools", ())),
            "limits": Limits(**values["limits"]),
            "windows": tuple(
                Window(**{**each, "days": tuple(each["days"])}) for each in values["windows"]
            ),
            "pin": None if pin is None else Pin(**pin),
        }
    )


def decision_to_dict(decision: Decision) -> dict[str, Any]:
    """A decision as JSON values."""
    values = asdict(decision)
    values["verb"], values["reason"] = decision.verb.value, decision.reason.value
    if values.pop("pools"):
        values["pools"] = {str(pool): units for pool, units in decision.pools}
    return values


def decision_from_dict(values: Mapping[str, Any]) -> Decision:
    """Inverse of `decision_to_dict`."""
    pools = tuple((Pool(name), units) for name, units in values.get("pools", {}).items())
    verb, reason = Verb(values["verb"]), Reason(values["reason"])
    return Decision(**{**values, "verb": verb, "reason": reason, "pools": pools})


def replay_decision(inputs: Mapping[str, Any], table: TideTable) -> Decision:
    """Decide again from a journal entry's inputs and the table that was in force."""
    return decide(
        table, fleet_from_dict(inputs["fleet"]), policy_from_dict(inputs["policy"]), inputs["now_s"]
    )
