"""Sizing beside the daemon: answers at once, builds in a real child, and survives what can go wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from forecaster.capacity.sizing import Question
from forecaster.daemon.beside import Beside, ChildLostError
from forecaster.domain.demand import TokenMix
from forecaster.domain.errors import SloInfeasibleError
from forecaster.domain.profile import ClassicProfile, UnitType
from forecaster.domain.service import Slo
from forecaster.wiring.sizer import BackgroundSizer, sizing

UNIT = UnitType("mlp", ClassicProfile(((1, 0.002), (8, 0.006))))
NO_TOKENS = TokenMix(0, 0, 0, 0, 0)
WITHIN_S = 120.0


def asked(latency_s: float = 0.05) -> Question:
    return Question(UNIT, Slo(latency_p99_s=latency_s), NO_TOKENS)


@pytest.fixture
def sizer(tmp_path: Path) -> Iterator[BackgroundSizer]:
    with sizing(tmp_path) as found:
        yield found


def test_a_table_is_built_once_and_known_to_the_next_process(
    sizer: BackgroundSizer, tmp_path: Path
) -> None:
    assert sizer(asked(), 3) is None
    assert sizer.settle(WITHIN_S)
    table = sizer(asked(), 3)
    assert table is not None
    assert table.capacity_rps(3) > table.capacity_rps(1) > 0
    with sizing(tmp_path) as after:
        assert after(asked(), 3) is not None


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("a file where the folder should be")
    with sizing(tmp_path) as sizer:
        assert sizer(asked(), 2) is None
        assert sizer.settle(WITHIN_S)
        assert sizer(asked(), 2) is not None


def test_an_slo_that_no_unit_keeps_is_refused_every_time(sizer: BackgroundSizer) -> None:
    assert sizer(asked(0.0005), 2) is None
    assert sizer.settle(WITHIN_S)
    for _ in range(2):
        with pytest.raises(SloInfeasibleError):
            sizer(asked(0.0005), 2)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_child_that_died_is_said_and_the_next_one_works() -> None:
    beside = Beside(60.0)
    with pytest.raises(ChildLostError, match="the work died"):
        beside("the work", killed)
    assert beside("the work", len, (1, 2, 3)) == 3
    beside.stop()
    with pytest.raises(ChildLostError, match="given up"):
        beside("the work", len, ())
