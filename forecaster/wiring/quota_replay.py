"""Would one quota do for several services? Their logs, the configured services, one play."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.config import Settings, load_unit_type
from forecaster.domain.demand import RequestBatch
from forecaster.domain.errors import SettingError, TooLittleHistoryError
from forecaster.domain.service import Quota, Service
from forecaster.replay.contest import Terms
from forecaster.replay.scorecard import rows_of
from forecaster.replay.together import Member, Together, play_together
from forecaster.wiring.replays import Order, set_court, too_little
from forecaster.wiring.tables import Tables

Progress = Callable[[str, float], None]
_SETTING_SHARE = 0.2


@dataclass(frozen=True)
class QuotaOrder:
    """What is to be played.

    Attributes
    ----------
    quota : Quota
        Who shares it is in the settings.
    gpus : tuple of int
        Sizes of the quota to try.
    days : float
        Days that are scored, the end of the logs.
    rate_scale : float
        Copies of every log.
    clairvoyant : bool
        Whether each service is compared with one that knows the load to come.
    """

    quota: Quota
    gpus: tuple[int, ...]
    days: float = 7.0
    rate_scale: float = 1.0
    seed: int = 0
    clairvoyant: bool = True


@dataclass(frozen=True)
class QuotaPlay:
    """What became of the services under each size of the quota.

    Attributes
    ----------
    members : tuple of Member
        The higher priority first.
    plays : tuple of Together
        One for each size.
    """

    members: tuple[Member, ...]
    plays: tuple[Together, ...]

    @property
    def apart_gpus(self) -> int:
        """GPUs that the services would hold if each had its own for its busiest five minutes."""
        return sum(each.peak_units * each.court.scene.unit.gpus for each in self.members)


def quota_named(settings: Settings, name: str) -> Quota:
    """The quota of this name; the only one, where none is named.

    Raises
    ------
    SettingError
        When there is no such quota, or several and none is named.
    """
    known = {each.name: each.quota() for each in settings.quota}
    if not name and len(known) == 1:
        return next(iter(known.values()))
    if name not in known:
        names = ", ".join(known) or "none"
        raise SettingError(
            "--quota", name, f"configured: {names}", "add a [[quota]] table to tidegate.toml"
        )
    return known[name]


def sharers(settings: Settings, quota: Quota) -> list[Service]:
    """The services that share a quota.

    Raises
    ------
    SettingError
        When none does, or their floors alone are more than it has.
    """
    found = [each.service() for each in settings.service if each.quota == quota.name]
    if not found:
        raise SettingError(
            "service.quota", "", f"no service shares the quota {quota.name!r}",
            f'set quota = "{quota.name}" in a [[service]] table',
        )  # fmt: skip
    return found


def play_quota(
    logs: Mapping[str, RequestBatch],
    settings: Settings,
    order: QuotaOrder,
    tables: Tables,
    batch: Mapping[str, tuple[RequestBatch, float]] | None = None,
    progress: Progress = lambda name, share: None,
) -> QuotaPlay:
    """Play the services of a quota on their logs.

    Parameters
    ----------
    logs : mapping of str to RequestBatch
        Requests of each service in order of arrival.
    batch : mapping of str to (RequestBatch, float) or None
        Batch requests of a service and their deadline, seconds after arrival.

    Raises
    ------
    SettingError
        When the floors of the services do not fit into a size.
    DataError
        As `wiring.replays.play` does.
    """
    services = sharers(settings, order.quota)
    units = {each.name: load_unit_type(settings.models, each.unit) for each in services}
    floor = sum(each.limits.min_units * units[each.name].gpus for each in services)
    for gpus in order.gpus:
        if gpus < floor:
            raise SettingError(
                "--gpus", gpus, f"the services' min_units alone hold {floor} GPUs",
                f"give {floor} or more, or lower min_units",
            )  # fmt: skip
    until_s = min(float(each.arrival_s[-1]) for each in logs.values())
    members = []
    for i, each in enumerate(services):
        terms = Terms(
            units[each.name], each.slo, units[each.name].lead_time_s, order.days, each.limits,
            each.calendar, each.elasticity, order.seed,
        )  # fmt: skip
        log = logs[each.name]
        rows = slice(0, int(np.searchsorted(log.arrival_s, until_s, "right")))

        def told(name: str, share: float, i: int = i) -> None:
            progress(name, _SETTING_SHARE * (i + min(share, 1.0)) / len(services))

        court = set_court(rows_of(log, rows), Order(terms, order.rate_scale), tables, told, told)
        waiting, deadline_s = (batch or {}).get(each.name, (None, 0.0))
        if waiting is not None:
            first = int(np.searchsorted(waiting.arrival_s, court.scene.start_s))
            waiting = rows_of(waiting, slice(first, None))
        try:
            _ = court.autopilot
        except TooLittleHistoryError as error:
            raise too_little(error, court.scene.trace, order.days) from error
        members.append(Member(each.name, court, each.priority, waiting, deadline_s))
    members.sort(key=lambda each: -each.priority)
    return QuotaPlay(tuple(members), tuple(_plays(members, order, progress)))


def _plays(members: Sequence[Member], order: QuotaOrder, progress: Progress) -> list[Together]:
    found = []
    for i, gpus in enumerate(order.gpus):

        def told(name: str, share: float, i: int = i, gpus: int = gpus) -> None:
            done = (i + share) / len(order.gpus)
            progress(f"{gpus} GPUs, {name}", _SETTING_SHARE + (1 - _SETTING_SHARE) * done)

        found.append(play_together(members, gpus, told, order.clairvoyant))
    return found
