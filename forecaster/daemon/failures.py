"""What keeps failing: one service's job never stops the others, and is said once."""

from __future__ import annotations

import logging
from collections.abc import Callable

from forecaster.daemon.pilot import Pilot
from forecaster.domain.errors import PendingError, StoreError, TidegateError

log = logging.getLogger(__name__)


class Failures(dict[str, str]):
    """By job and service, why it failed the last time; what went well is not in it."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[str, str] = {}

    def guard(self, job: str, pilot: Pilot, work: Callable[[], object]) -> None:
        """Run one job of one service; its failure is said once and holds only that service."""
        key = f"{job} {pilot.service.name}"
        try:
            work()
        except TidegateError as error:
            if self.get(key) != str(error):
                level = logging.INFO if isinstance(error, PendingError) else logging.WARNING
                log.log(level, "%s: %s", key, error)
            self[key] = pilot.state.note = str(error)
        except Exception as error:  # a defect in one service's job: the others go on
            log.exception("%s", key)
            self[key] = pilot.state.note = f"defect: {error!r}"
        else:
            self.pop(key, None)

    def wait(self, what: str, work: Callable[[], object]) -> None:
        """Do what belongs to no service; while the database is away it waits, and that is said once."""
        try:
            work()
        except StoreError as error:
            if self._waiting.get(what) != str(error):
                log.warning("%s waits: %s", what, error)
            self._waiting[what] = str(error)
        else:
            self._waiting.pop(what, None)

    def remind(self, pilot: Pilot) -> None:
        """A plan that cannot be made again stays in the note of every tick."""
        why = self.get(f"replan {pilot.service.name}", "")
        if why:
            pilot.state.note = "; ".join(filter(None, (pilot.state.note, f"no new plan: {why}")))
