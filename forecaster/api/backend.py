"""What the API reads: a port, so that the API knows neither the daemon nor the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from forecaster.domain.word import Word


class Desk(Protocol):
    """Money, units' lives and the SLO over any range; times in epoch seconds."""

    def ledger(self, name: str, from_s: float | None, to_s: float | None) -> dict[str, Any]:
        """A service's accounts day by day; the last 30 days where nothing is said."""
        ...

    def statement(self, name: str, month: str) -> tuple[dict[str, Any], str]:
        """A service's month, and the same as CSV; an empty month is this one."""
        ...

    def money(self, month: str) -> dict[str, Any]:
        """Every service's month in a line each."""
        ...

    def quotas(self) -> dict[str, Any]:
        """GPUs that services share: who holds how many, who is refused some, what that costs."""
        ...

    def lives(self, name: str, from_s: float | None, to_s: float | None) -> dict[str, Any]:
        """Each unit's life as stays in states; the last day where nothing is said."""
        ...

    def report(self, name: str, from_s: float | None, to_s: float | None) -> dict[str, Any]:
        """What Tidegate would have saved and violated against what the fleet did; default: a week."""
        ...

    def alerts(self, limit: int, before_id: int | None, open_only: bool) -> dict[str, Any]:
        """Alerts, newest first."""
        ...


class Backend(Protocol):
    """Answers in plain values; times in epoch seconds."""

    @property
    def desk(self) -> Desk:
        """Money and lives."""
        ...

    def overview(self) -> dict[str, Any]:
        """Every service in a line each, and facts of the installation."""
        ...

    def service(self, name: str) -> dict[str, Any]:
        """One service."""
        ...

    def forecast(self, name: str, horizon_s: float, levels: Sequence[float]) -> dict[str, Any]:
        """Quantiles of the coming load."""
        ...

    def accuracy(self, name: str) -> dict[str, Any]:
        """How the forecasts did: error and coverage by lead, drift."""
        ...

    def anomalies(self, name: str) -> dict[str, Any]:
        """What of the history is no tide, and why."""
        ...

    def champions(self, name: str) -> dict[str, Any]:
        """Versions of the forecaster, newest first."""
        ...

    def plan(self, name: str) -> dict[str, Any]:
        """The tide table in force."""
        ...

    def units(self, name: str) -> dict[str, Any]:
        """Units alive, and those that failed lately."""
        ...

    def explain(self, name: str, at_s: float | None) -> dict[str, Any]:
        """The decision in force at a moment."""
        ...

    def decisions(self, name: str, limit: int, before_id: int | None) -> dict[str, Any]:
        """Decisions that changed something, newest first."""
        ...

    def activity(self, name: str, kinds: Sequence[str], limit: int, before: str) -> dict[str, Any]:
        """Alerts, changes by hand and orders, newest first; an empty name is every service.

        Raises
        ------
        SettingError
            For a cursor that no page gave.
        """
        ...

    def tide(self, name: str) -> dict[str, Any]:
        """Load and units on one time axis."""
        ...

    def pin(self, name: str, units: int, seconds: float, word: Word) -> dict[str, Any]:
        """Hold `units` for `seconds` from now on; the pin in force.

        Raises
        ------
        SettingError
            When the service's limits do not allow for it.
        """
        ...

    def unpin(self, name: str, word: Word) -> dict[str, Any]:
        """Let the plan decide again."""
        ...

    def set_mode(self, name: str, mode: str, word: Word) -> dict[str, Any]:
        """Climb or descend the trust ladder."""
        ...

    def freeze(self, on: bool, word: Word) -> dict[str, Any]:
        """Stop every order of every service, or let them go again."""
        ...

    def answer(self, name: str, order_id: str, approved: bool, word: Word) -> dict[str, Any]:
        """Say yes or no to the order that waits.

        Raises
        ------
        DataError
            When another order waits, or none.
        """
        ...

    def audit(self, limit: int, before_id: int | None) -> dict[str, Any]:
        """What operators changed, newest first."""
        ...
