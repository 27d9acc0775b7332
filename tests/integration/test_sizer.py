"""Sizing beside the daemon: answers at once, builds in a real child, and survives what can go wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecaster.capacity.sizing import Question, rounded
from forecaster.config import load_unit_type
from forecaster.daemon.beside import Beside, ChildLostError
from forecaster.demand import offered_work_s, token_mix
from forecaster.domain.demand import LogSource, RequestBatch, TokenMix
from forecaster.domain.errors import SloInfeasibleError
from forecaster.domain.profile import ClassicProfile, UnitType
from forecaster.domain.service import Slo
from forecaster.store import Store
from forecaster.wiring.sizer import BackgroundSizer, now, sizing

UNIT = UnitType("mlp", ClassicProfile(((1, 0.002), (8, 0.006))))
NO_TOKENS = TokenMix(0, 0, 0, 0, 0)
MODELS = Path(__file__).parents[2] / "models"
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
    assert sizer("s", asked(), 3) is None
    assert sizer.settle(WITHIN_S)
    table = sizer("s", asked(), 3)
    assert table is not None
    assert table.capacity_rps(3) > table.capacity_rps(1) > 0
    with sizing(tmp_path) as after:
        assert after("s", asked(), 3) is not None


def test_a_table_is_built_on_the_lengths_that_came_and_not_on_their_moments(
    store: Store, tmp_path: Path
) -> None:
    """One prompt in fifty is read for five seconds: a lognormal of these moments has none that long."""
    rng = np.random.default_rng(3)
    prompt = np.where(np.arange(4000) % 50 == 0, 20_000, 100)
    output = np.full(4000, 20)
    at_s = np.sort(rng.uniform(0.0, 86_400.0, 4000)) + 1_750_000_000.0
    batch = RequestBatch("chat", at_s, prompt, output)
    log = LogSource(0, 1, "head", "chat", "log")
    store.append_requests(log, replace(log, offset=1, lines=4000, accepted=4000), [batch])
    mix = token_mix(store.slots("chat"))
    question = Question(load_unit_type(MODELS, "llama70b-h100x8"), Slo(ttft_p99_s=1.0), mix)
    asked = now(tmp_path, store)
    with pytest.raises(SloInfeasibleError, match="ttft_p99_s"):
        asked("chat", question, 4)
    assert asked("chat", replace(question, slo=Slo(ttft_p99_s=4.0)), 4).capacity_rps(4) > 0
    prompts, outputs = store.lengths("chat", 7.0, 1000)
    assert prompts.size == outputs.size == 1000
    assert np.unique(outputs).tolist() == [20]


def test_a_table_of_a_mix_that_was_rounded_up_promises_no_more_work_than_one_of_the_mix_itself(
    store: Store, tmp_path: Path
) -> None:
    rng = np.random.default_rng(4)
    prompt, output = (
        np.rint(rng.lognormal(np.log(mean) - 0.32, 0.8, 5000)).astype(np.int64) + 1
        for mean in (1009.0, 101.0)
    )
    at_s = np.sort(rng.uniform(0.0, 86_400.0, 5000)) + 1_750_000_000.0
    batch = RequestBatch("chat", at_s, prompt, output)
    log = LogSource(0, 1, "head", "chat", "log")
    store.append_requests(log, replace(log, offset=1, lines=5000, accepted=5000), [batch])
    unit = load_unit_type(MODELS, "llama70b-h100x8")
    exact = Question(unit, Slo(ttft_p99_s=2.0, tpot_p99_s=0.08), token_mix(store.slots("chat")))
    coarse = rounded(exact)
    assert offered_work_s(coarse.mix, unit.profile) > 1.04 * offered_work_s(exact.mix, unit.profile)
    asked = now(tmp_path, store)
    carried_erl = [
        asked("chat", each, 4).capacity_rps(4) * offered_work_s(each.mix, unit.profile)
        for each in (exact, coarse)
    ]
    assert carried_erl[1] < 1.01 * carried_erl[0]


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("a file where the folder should be")
    with sizing(tmp_path) as sizer:
        assert sizer("s", asked(), 2) is None
        assert sizer.settle(WITHIN_S)
        assert sizer("s", asked(), 2) is not None


def test_an_slo_that_no_unit_keeps_is_refused_every_time(sizer: BackgroundSizer) -> None:
    assert sizer("s", asked(0.0005), 2) is None
    assert sizer.settle(WITHIN_S)
    for _ in range(2):
        with pytest.raises(SloInfeasibleError):
            sizer("s", asked(0.0005), 2)


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
