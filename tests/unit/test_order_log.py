"""The tier's own record of orders: whose, under which key, and what became of each."""

from __future__ import annotations

import pytest

from actuators.onnx_tier.order_log import OrderLog
from forecaster.domain.errors import CapacityDeniedError, FencedError


class Clock:
    speed = 1.0

    def now_s(self) -> float:
        return 7.0


def test_what_was_carried_out_and_what_was_refused_is_written_down_in_order() -> None:
    log = OrderLog(Clock())

    def denied() -> tuple[str, ...]:
        raise CapacityDeniedError("no room", "wait")

    log.lead(2)
    assert log.carry_out("prewarm", ("chat", 2, "a", 2), lambda: ("u1", "u2")) == ("u1", "u2")
    with pytest.raises(CapacityDeniedError):
        log.carry_out("prewarm", ("chat", 9, "b", 2), denied)
    with pytest.raises(FencedError):
        log.carry_out("drain", ("chat", 1, "c", 1), lambda: pytest.fail("a late leader acts"))
    with pytest.raises(FencedError):
        log.lead(1)
    seen = [
        (o.seq, o.verb, o.order_key, o.fence, o.unit_ids, o.refused) for o in log.heard.after(0, 10)
    ]
    late = "leader 1 is late: leader 2 is in charge"
    assert seen == [
        (1, "lead", "", 2, (), ""),
        (2, "prewarm", "a", 2, ("u1", "u2"), ""),
        (3, "prewarm", "b", 2, (), "no room"),
        (4, "drain", "c", 1, (), late),
        (5, "lead", "", 1, (), late),
    ]
    assert {o.at_s for o in log.heard.after(0, 10)} == {7.0}
