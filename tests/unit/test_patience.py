"""How long a tick may plan: whoever had to wait comes first in the next one."""

from __future__ import annotations

import pytest

from forecaster.daemon.patience import Patience


def test_who_waits_is_first_the_next_time_and_one_plan_is_always_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [100.0]
    monkeypatch.setattr("forecaster.daemon.patience.time.monotonic", lambda: now_s[0])
    patience = Patience(limit_s=2.0)
    made: list[list[str]] = []
    for _ in range(3):
        made.append([])
        for name in patience.begin(["a", "b", "c", "d"]):
            if patience.allows(name):
                now_s[0] += 1.5
                patience.spend(now_s[0] - 1.5)
                made[-1].append(name)
    assert made == [["a", "b"], ["c", "d"], ["a", "b"]]


def test_one_plan_that_takes_longer_than_all_is_made_all_the_same() -> None:
    patience = Patience(limit_s=0.0)
    patience.begin(["a"])
    assert not patience.allows("a"), "nothing is planned where nothing may be"
    patience = Patience(limit_s=1e-9)
    patience.begin(["a", "b"])
    assert patience.allows("a")
    patience.spend(0.0)
    assert not patience.allows("b")
    assert patience.waiting == ["b"]
