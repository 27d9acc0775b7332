"""The desk: money, units' lives and shadow reports of any range, for the API."""

from __future__ import annotations

import math
from typing import Any

from forecaster.daemon.accounts import month_of, statement
from forecaster.daemon.bookkeeper import tariff_of
from forecaster.daemon.notifier import alert_dict
from forecaster.daemon.quotas import quotas
from forecaster.daemon.service import Daemon
from forecaster.domain.errors import SettingError
from forecaster.domain.ports import Clock
from forecaster.planning.ledger import Life, lives
from forecaster.planning.report import report
from forecaster.planning.statement import account_dict, to_csv, to_dict
from forecaster.store import Store

DAY_S = 86_400.0
LEDGER_S, REPORT_S, LIVES_S = 30 * DAY_S, 7 * DAY_S, DAY_S
"""What is shown where no range is asked for."""
LIVES_MOST_S = 31 * DAY_S


class Desk:
    """Answers every question about money over the API."""

    def __init__(self, daemon: Daemon, store: Store, clock: Clock) -> None:
        self.daemon, self.store, self.clock = daemon, store, clock

    def ledger(self, name: str, from_s: float | None, to_s: float | None) -> dict[str, Any]:
        """A service's accounts day by day."""
        begin_s, end_s = self._range(from_s, to_s, LEDGER_S)
        pilot = self.daemon.pilot(name)
        tariff = tariff_of(pilot, self.clock.now_s())
        return to_dict(statement(self.store, pilot.service, tariff, begin_s, end_s))

    def statement(self, name: str, month: str) -> tuple[dict[str, Any], str]:
        """A service's month, and the same as CSV."""
        pilot, now_s = self.daemon.pilot(name), self.clock.now_s()
        span = month_of(pilot.service, month, now_s)
        found = statement(self.store, pilot.service, tariff_of(pilot, now_s), *span)
        return to_dict(found), to_csv(found)

    def money(self, month: str) -> dict[str, Any]:
        """Every service's month in a line each, and all of them together."""
        now_s, services = self.clock.now_s(), []
        for name, pilot in self.daemon.pilots.items():
            span = month_of(pilot.service, month, now_s)
            found = statement(self.store, pilot.service, tariff_of(pilot, now_s), *span)
            services.append({"service": name, **account_dict(found.total)})
        return {
            "now_s": now_s,
            "money": sum(each["money"] for each in services),
            "saved_money": sum(
                each["rivals"]["static-peak"]["saved_money"]
                for each in services
                if "static-peak" in each["rivals"]
            ),
            "services": services,
        }

    def quotas(self) -> dict[str, Any]:
        """GPUs that services share: who holds how many, who is refused some, what that costs."""
        return quotas(self.daemon.sharing, self.store, self.clock.now_s())

    def lives(self, name: str, from_s: float | None, to_s: float | None) -> dict[str, Any]:
        """Each unit's life as stays in states, cut to the range."""
        begin_s, end_s = self._range(from_s, to_s, LIVES_S)
        if end_s - begin_s > LIVES_MOST_S:
            raise SettingError("from_s", begin_s, "at most 31 days before to_s", "ask for less")
        service = self.daemon.pilot(name).service.name
        units = lives(self.store.books.life_events(service, begin_s, end_s))
        return {
            "service": service,
            "from_s": begin_s,
            "to_s": end_s,
            "units": [_life_dict(life, begin_s, end_s) for life in units],
        }

    def report(self, name: str, from_s: float | None, to_s: float | None) -> dict[str, Any]:
        """What Tidegate would have saved and violated against what the fleet did."""
        begin_s, end_s = self._range(from_s, to_s, REPORT_S)
        pilot = self.daemon.pilot(name)
        tariff = tariff_of(pilot, self.clock.now_s())
        found = statement(self.store, pilot.service, tariff, begin_s, end_s)
        return report(found, pilot.gate.mode.value)

    def alerts(self, limit: int, before_id: int | None, open_only: bool) -> dict[str, Any]:
        """Alerts, newest first."""
        rows = [alert_dict(each) for each in self.store.alerts.newest(limit, before_id, open_only)]
        following = rows[-1]["alert_id"] if len(rows) == limit else None
        return {"alerts": rows, "before_id": following}

    def _range(
        self, from_s: float | None, to_s: float | None, length_s: float
    ) -> tuple[float, float]:
        end_s = min(self.clock.now_s(), math.inf if to_s is None else to_s)
        begin_s = end_s - length_s if from_s is None else from_s
        if not begin_s < end_s:
            raise SettingError("from_s", begin_s, f"before {end_s:.0f}", "ask for an earlier one")
        return begin_s, end_s


def _life_dict(life: Life, begin_s: float, end_s: float) -> dict[str, Any]:
    stays = [stay for stay in life.stays if stay.to_s > begin_s and stay.from_s < end_s]
    return {
        "unit_id": life.unit_id,
        "born_s": life.born_s,
        "ended_s": life.ended_s if math.isfinite(life.ended_s) else None,
        "stays": [[stay.state, max(stay.from_s, begin_s), min(stay.to_s, end_s)] for stay in stays],
        "reasons": [stay.reason for stay in stays],
        "ending": life.ending,
        "ending_reason": life.ending_reason,
    }
