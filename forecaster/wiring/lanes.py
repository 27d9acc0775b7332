"""What is scaled under others' engines: services, and each pool of those that have two, by a name of its own."""

from __future__ import annotations

from collections.abc import Mapping

from forecaster.config import Settings, load_unit_type
from forecaster.config.places import PlaceSettings
from forecaster.domain.errors import ModelError
from forecaster.domain.pools import MARK, Pool, pool_service
from forecaster.domain.profile import UnitType


def lanes(settings: Settings) -> dict[str, PlaceSettings]:
    """Where the units of each service, or of each of its pools, run."""
    found: dict[str, PlaceSettings] = {}
    for each in settings.service:
        if _paired(settings, each.unit):
            found[pool_service(each.name, Pool.PREFILL)] = each.prefill
            found[pool_service(each.name, Pool.DECODE)] = each.decode
        else:
            found[each.name] = each
    return found


def _paired(settings: Settings, unit: str) -> bool:
    """Whether a type has two pools; one that is missing is told of where it is needed."""
    try:
        return load_unit_type(settings.models, unit).pair is not None
    except ModelError:
        return False


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
