"""The gate between a decision and the tier: mode, freeze, failures, and the order that waits."""

from __future__ import annotations

from dataclasses import dataclass

from forecaster.domain.errors import DataError
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.plan import Decision, Verb
from forecaster.domain.service import Mode, Service
from forecaster.domain.units import Fleet

FAILURES_BEFORE_HOLD = 3
HOLD_AFTER_FAILURES_S = 600.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """An order that waits for somebody's word.

    Attributes
    ----------
    order_id : str
        Names what was proposed: a click on something older approves nothing.
    decision : Decision
        As it stands now.
    since_s : float
        When it was proposed first, epoch seconds.
    declined : bool
        Somebody said no: it is proposed again only when it changes.
    """

    order_id: str
    decision: Decision
    since_s: float
    declined: bool = False


class Gate:
    """Lets orders of one service pass, or says why not.

    Parameters
    ----------
    service : Service
        Its mode is in force until an operator switches it.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.mode = service.mode
        self.frozen = False
        self.waiting: Waiting | None = None
        self._approved = ""
        self._answered_by = ""
        self.approved_by = ""

    def switch(self, mode: str | None, frozen: bool) -> None:
        """Take over what an operator switched; None leaves the configured mode."""
        self.mode = self.service.mode if mode is None else Mode(mode)
        self.frozen = frozen

    @property
    def obeyed(self) -> bool:
        """Whether what runs is what was decided: nothing is frozen, observed only, or waits for a word."""
        return self.mode is not Mode.OBSERVE and not self.frozen and self.waiting is None

    def permit(self, decision: Decision, fleet: Fleet, now_s: float) -> tuple[bool, str]:
        """Whether the order may go out now, and why not; `approved_by` says on whose word, if on any."""
        self.approved_by = ""
        if decision.verb is Verb.HOLD:
            self.waiting = None
            return False, "frozen: nothing is ordered" if self.frozen else ""
        if self.frozen:
            return False, "frozen: nothing is ordered"
        if self.mode is Mode.OBSERVE:
            return False, "mode is observe: nothing is ordered"
        failed = [unit for unit in fleet.units if unit.state is UnitState.FAILED]
        recent = [u for u in failed if now_s - u.since_s < HOLD_AFTER_FAILURES_S]
        if decision.verb is Verb.PREWARM and len(recent) >= FAILURES_BEFORE_HOLD:
            return False, f"{len(recent)} units failed lately ({recent[-1].reason}): waiting"
        if self.mode is Mode.ACT:
            self.waiting = None
            return True, ""
        return self._approval(decision, now_s)

    def approve(self, order_id: str, by: str = "") -> Waiting:
        """Let the waiting order pass at the next tick.

        Raises
        ------
        DataError
            When another order waits, or none.
        """
        found = self._named(order_id)
        self._approved, self._answered_by = order_id, by
        return found

    def decline(self, order_id: str) -> Waiting:
        """Hold the fleet as it is until something else is proposed.

        Raises
        ------
        DataError
            When another order waits, or none.
        """
        found = self._named(order_id)
        self.waiting = Waiting(found.order_id, found.decision, found.since_s, declined=True)
        return self.waiting

    def _approval(self, decision: Decision, now_s: float) -> tuple[bool, str]:
        before = self.waiting
        same = before is not None and (
            before.decision.verb is decision.verb
            and before.decision.target_units == decision.target_units
        )
        if before is None or not same:
            order_id = (
                f"{decision.service}-{now_s:.0f}-{decision.verb.value}-{decision.target_units}"
            )
            before = Waiting(order_id, decision, now_s)
        self.waiting = Waiting(before.order_id, decision, before.since_s, before.declined)
        if self._approved == before.order_id:
            self.waiting, self.approved_by = None, self._answered_by
            return True, ""
        if before.declined:
            return False, f"declined: {decision.verb.value} {decision.units}"
        limit_s = self.service.approve_after_s
        if 0 < limit_s <= now_s - before.since_s:
            self.waiting = None
            return True, f"nobody answered for {limit_s / 60:.0f} min"
        rule = f", by itself after {limit_s / 60:.0f} min" if limit_s > 0 else ""
        return False, f"waits for approval: {decision.verb.value} {decision.units}{rule}"

    def _named(self, order_id: str) -> Waiting:
        if self.waiting is None or self.waiting.order_id != order_id:
            now = f"{self.waiting.order_id} does" if self.waiting else "nothing does"
            raise DataError(
                f"order {order_id!r} does not wait for approval", f"{now}; look again and decide"
            )
        return self.waiting
