"""What is scaled under others' engines: services, and each pool or type of those that have several, by a name of its own."""

from __future__ import annotations

from collections.abc import Mapping

from forecaster.config import Settings, load_unit_type
from forecaster.config.places import PlaceSettings
from forecaster.config.settings import ServiceSettings
from forecaster.domain.errors import ModelError, SettingError
from forecaster.domain.pools import MARK, Pool, pool_service
from forecaster.domain.profile import UnitType


def lanes(settings: Settings) -> dict[str, PlaceSettings]:
    """Where the units of each service, or of each of its pools or types, run.

    Raises
    ------
    SettingError
        For a place of a type that the service has not, and for one of a service of several pools.
    """
    found: dict[str, PlaceSettings] = {}
    for each in settings.service:
        unit = known_unit(settings, each.unit)
        types = tuple(unit.by_pool) if unit is not None and unit.mixed is not None else ()
        for name in each.type:
            if name not in types:
                raise SettingError(
                    f"service {each.name!r}: type", name, f"one of: {', '.join(types) or 'none'}",
                    "name types of its unit.toml, [mixed] types",
                )  # fmt: skip
        if unit is None or not unit.pooled:
            found[each.name] = each
            continue
        _no_place_of_its_own(each, unit)
        places = {Pool.PREFILL: each.prefill, Pool.DECODE: each.decode}
        for pool in unit.by_pool:
            own = each.type.get(pool, PlaceSettings()) if types else places[pool]
            found[pool_service(each.name, pool)] = own
    return found


def _no_place_of_its_own(service: ServiceSettings, unit: UnitType) -> None:
    for key in PlaceSettings.model_fields:
        if getattr(service, key) != PlaceSettings.model_fields[key].get_default(
            call_default_factory=True
        ):
            where = "[service.prefill] and [service.decode]" if unit.pair else "[service.type.NAME]"
            raise SettingError(
                f"service {service.name!r}: {key}", str(getattr(service, key)),
                "left out: each pool or type runs in a place of its own", f"say it in {where}",
            )  # fmt: skip


def known_unit(settings: Settings, unit: str) -> UnitType | None:
    """The type; one that is missing is told of where it is needed."""
    try:
        return load_unit_type(settings.models, unit)
    except ModelError:
        return None


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
