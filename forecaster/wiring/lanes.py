"""What is scaled under others' engines: services, and each pool of those that have two, by a name of its own."""

from __future__ import annotations

from collections.abc import Mapping

from forecaster.config import Settings, load_unit_type
from forecaster.config.places import PlaceSettings
from forecaster.domain.pools import MARK, Pool, pool_service
from forecaster.domain.profile import UnitType


def lanes(settings: Settings) -> dict[str, PlaceSettings]:
    """Where the units of each service, or of each of its pools, run."""
    found: dict[str, PlaceSettings] = {}
    for each in settings.service:
        if load_unit_type(settings.models, each.unit).pair is None:
            found[each.name] = each
        else:
            found[pool_service(each.name, Pool.PREFILL)] = each.prefill
            found[pool_service(each.name, Pool.DECODE)] = each.decode
    return found


def lane_units(settings: Settings, units: Mapping[str, UnitType]) -> dict[str, UnitType]:
    """The unit type of each of them."""
    return {
        pool_service(each.name, pool): unit
        for each in settings.service
        for pool, unit in units[each.name].by_pool.items()
    }


def written(lane: str) -> str:
    """The name as other engines may write it: chat-decode."""
    return lane.replace(MARK, "-")
