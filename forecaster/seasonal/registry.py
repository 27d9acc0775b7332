"""The members by name: the one place where a new one is added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from forecaster.domain.errors import SettingError
from forecaster.seasonal.boosting import Boosting
from forecaster.seasonal.decomposed import Mstl, Structural
from forecaster.seasonal.holt_winters import HoltWinters
from forecaster.seasonal.member import DAY_S, WEEK_S, Member
from forecaster.seasonal.naive import SeasonalNaive
from forecaster.seasonal.names import MEMBER_NAMES
from forecaster.seasonal.pool import Ensemble, Pool
from forecaster.seasonal.profile import SlotProfile
from forecaster.seasonal.prophet_member import ProphetMember
from forecaster.seasonal.ridge import CalendarRidge

MEMBERS: Mapping[str, Callable[[], Member]] = MappingProxyType(
    {
        "naive-day": lambda: SeasonalNaive(DAY_S),
        "naive-week": lambda: SeasonalNaive(WEEK_S),
        "pool": Pool,
        "profile": SlotProfile,
        "ridge": CalendarRidge,
        "holt-winters": HoltWinters,
        "boosting": Boosting,
        "prophet": ProphetMember,
        "mstl": Mstl,
        "structural": Structural,
        "ensemble": Ensemble,
    }
)
assert tuple(MEMBERS) == MEMBER_NAMES


def make(name: str) -> Member:
    """Return a new, unfitted member.

    Raises
    ------
    SettingError
        For an unknown name.
    """
    if name not in MEMBERS:
        raise SettingError("members", name, f"one of {', '.join(MEMBERS)}", "check the spelling")
    return MEMBERS[name]()
