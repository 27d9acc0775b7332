"""The gate: observe, approve, act, freeze; a word counts for what was proposed and for nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forecaster.daemon.gate import Gate
from forecaster.domain.errors import DataError
from forecaster.domain.plan import Decision, Reason, Verb
from forecaster.domain.service import Mode, Service, Slo
from forecaster.domain.units import Fleet

SERVICE = Service("chat", "u", Slo(ttft_p99_s=1.0), mode=Mode.APPROVE)
FLEET = Fleet("chat", 0.0)


def order(units: int = 2, at_s: float = 0.0, verb: Verb = Verb.PREWARM) -> Decision:
    return Decision("chat", at_s, verb, units, 3 + units, at_s, Reason.LOAD, "because")


def test_an_order_waits_until_it_is_approved_and_passes_once() -> None:
    gate = Gate(SERVICE)
    assert gate.permit(order(), FLEET, 0.0) == (False, "waits for approval: prewarm 2")
    assert gate.waiting is not None
    waiting = gate.waiting.order_id
    assert gate.permit(order(at_s=60), FLEET, 60.0)[0] is False
    assert gate.waiting.order_id == waiting
    assert gate.waiting.since_s == 0.0
    gate.approve(waiting)
    assert gate.permit(order(at_s=120), FLEET, 120.0) == (True, "")
    assert gate.waiting is None
    assert gate.permit(order(units=4, at_s=180), FLEET, 180.0)[0] is False


def test_a_word_on_what_was_proposed_before_counts_for_nothing_else() -> None:
    gate = Gate(SERVICE)
    gate.permit(order(), FLEET, 0.0)
    assert gate.waiting is not None
    old = gate.waiting.order_id
    gate.permit(order(units=5), FLEET, 60.0)
    with pytest.raises(DataError, match="does not wait"):
        gate.approve(old)
    gate.approve(gate.waiting.order_id)
    gate.permit(Decision("chat", 90.0, Verb.HOLD, 0, 3, 90.0, Reason.LOAD, ""), FLEET, 90.0)
    assert gate.waiting is None
    assert gate.permit(order(units=5, at_s=99), FLEET, 99.0)[0] is False


def test_what_was_declined_is_proposed_again_only_when_it_changes() -> None:
    gate = Gate(SERVICE)
    gate.permit(order(), FLEET, 0.0)
    assert gate.waiting is not None
    gate.decline(gate.waiting.order_id)
    assert gate.permit(order(), FLEET, 60.0) == (False, "declined: prewarm 2")
    assert gate.permit(order(units=3), FLEET, 120.0) == (False, "waits for approval: prewarm 3")


def test_the_timeout_rule_lets_an_order_pass_by_itself() -> None:
    gate = Gate(replace(SERVICE, approve_after_s=600.0))
    assert gate.permit(order(), FLEET, 0.0)[1].endswith("by itself after 10 min")
    assert gate.permit(order(), FLEET, 599.0)[0] is False
    assert gate.permit(order(), FLEET, 600.0) == (True, "nobody answered for 10 min")


def test_a_freeze_is_above_every_mode_and_a_switch_above_the_file() -> None:
    gate = Gate(replace(SERVICE, mode=Mode.ACT))
    assert gate.permit(order(), FLEET, 0.0) == (True, "")
    gate.switch(None, frozen=True)
    assert gate.permit(order(), FLEET, 0.0) == (False, "frozen: nothing is ordered")
    gate.switch("observe", frozen=False)
    assert gate.permit(order(), FLEET, 0.0) == (False, "mode is observe: nothing is ordered")
    gate.switch(None, frozen=False)
    assert gate.permit(order(), FLEET, 0.0) == (True, "")
