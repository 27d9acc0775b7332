"""Tidegate's side of Dynamo's replay on a real store, and one short run of the replay itself.

The replay is what ``python -m benchmarks.peers.servers`` has installed: without it that test skips loudly.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import dynamo_traces
from benchmarks.dynamo_replay import planner
from benchmarks.dynamo_scores import OURS, scored
from benchmarks.dynamo_steering import MAX_UNITS, Steering, Terms
from benchmarks.dynamo_traces import Case, tide
from benchmarks.dynamo_unit import TPOT_S, TTFT_S, played, question, simulate, unit_type
from benchmarks.peers.servers import installed
from forecaster.capacity.sizing import rounded
from forecaster.config.settings import SloSettings
from forecaster.domain.profile import GenerativeProfile
from forecaster.store import Store
from forecaster.wiring.tables import Tables

PROFILE = GenerativeProfile(
    0.0273, 1.03e-4, 5.25e-8, 1.52e-4, 1.6e-9, 0.0207, 256, 8192, 262_144
)  # as `benchmarks.dynamo_unit.fitted` measures it
STARTUP_S, CYCLE_S = 60.0, 21_600.0
PROMPT, OUTPUT = 1134.0, 209.0


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return Tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(dynamo_traces, "PAST_CYCLES", 5)
    return tide("A", 1, CYCLE_S, 8.0)


def steering(found: Case, store: Store, home: Path, kept: Tables) -> Steering:
    terms = Terms(
        unit_type(PROFILE, STARTUP_S),
        SloSettings(ttft_p99_s=TTFT_S, tpot_p99_s=TPOT_S, attainment=0.975),
        lambda _, asked, units: kept.table(asked, units),
    )
    return Steering(found, terms, store, home)


def asked(made: Steering, now_s: float, ready: int) -> dict[str, Any]:
    """What the planner says after a tick in which the trace's own rate came."""
    at = int(now_s / dynamo_traces.STEP_S)
    seconds = made.ask_s
    rate_rps = made.case.rate_rps[at - round(seconds / dynamo_traces.STEP_S) : at].mean()
    return made.answer({
        "now_s": now_s, "duration_s": seconds, "requests": rate_rps * seconds, "prompt": PROMPT,
        "output": OUTPUT, "ready": ready,
    })  # fmt: skip


def test_units_are_proposed_one_start_ahead_of_a_tide_that_was_only_seen_before(
    found: Case, store: Store, tmp_path: Path, kept: Tables
) -> None:
    made = steering(found, store, tmp_path, kept)
    assert made.ask_s == 15.0  # a minute of a clock that runs four times as fast
    table = kept.table(rounded(question(made.terms.unit, 0.975)), MAX_UNITS)
    ticks = np.arange(1, 601) * made.ask_s  # into the rise
    proposed, ready = [], 2
    for now_s in ticks.tolist():
        before = proposed[-5][1] if len(proposed) >= 5 else ready
        said = asked(made, now_s, min(before, proposed[-1][1]) if proposed else ready)
        proposed.append((now_s, said["units"]))
        assert said["reason"]
    rates = found.rate_rps.reshape(-1, 60).mean(axis=1)  # over five minutes
    late = 0
    for now_s, units in proposed[40:]:
        coming_rps = rates[min(int((now_s + STARTUP_S) / 300.0), rates.size - 1)]
        late += units < int(table.need(np.array(coming_rps))) - 1
    assert late <= 0.02 * len(proposed)
    first, last = proposed[40][1], proposed[-1][1]
    assert last >= 2 * first  # the tide was followed
    changes = sum(a[1] != b[1] for a, b in pairwise(proposed))
    assert changes <= 3 * (last - first)


def test_of_the_trace_nothing_is_read_before_it_comes(
    found: Case, store: Store, tmp_path: Path, kept: Tables
) -> None:
    other = replace(found, rate_rps=found.rate_rps[::-1].copy())
    told = {"now_s": 15.0, "duration_s": 15.0, "requests": 30.0, "prompt": PROMPT, "output": OUTPUT, "ready": 3}  # fmt: skip
    (tmp_path / "one").mkdir()
    made = steering(other, store, tmp_path / "one", kept)
    first = made.answer(told)
    assert 1 <= first["units"] <= MAX_UNITS
    assert made.fleet.wanted("llm") == first["units"]
    assert made.store.demand("llm").arrivals.size == 5 * 288  # five days, and not a slot more


@pytest.mark.skipif(
    not installed("dynamo"), reason="Dynamo is not installed: python -m benchmarks.peers.servers"
)
def test_the_replay_asks_and_does_what_it_is_told(tmp_path: Path) -> None:
    at_s = np.arange(600) * 1.0
    trace = tmp_path / "trace.jsonl"
    dynamo_traces.write(trace, at_s, np.full(600, 500), np.full(600, 50))
    heard: list[dict[str, Any]] = []

    def answer(told: dict[str, Any]) -> dict[str, Any]:
        heard.append(told)
        return {"units": 3 if told["now_s"] >= 240 else 2, "reason": "a test"}

    done = simulate(
        {
            "trace": trace, "startup_s": STARTUP_S, "workers": 1, "ask_s": 60.0,
            "planner": planner(f"{OURS}0.975"),
        },
        answer,
    )  # fmt: skip
    row = scored("x", STARTUP_S, "tidegate-test", done)
    assert [tuple(each) for each in row.targets] == [(60.0, 2), (240.0, 3)]
    assert row.attainment == 1.0
    assert [each["now_s"] for each in heard[:4]] == [60.0, 120.0, 180.0, 240.0]
    assert all(each["requests"] == pytest.approx(60, abs=1) for each in heard[:8])
    assert [each["ready"] for each in heard[:3]] == [1, 2, 2]  # a minute after it was told
    assert heard[-1]["prompt"] == 500
    # 1 unit for a minute, 2 for three, 3 for the rest, starting ones counted
    expected = 4 * (60 + 2 * 180 + 3 * (done["duration_ms"] / 1e3 - 240)) / 3600
    assert row.gpu_hours == pytest.approx(expected, rel=0.02)
    alone = played(np.zeros(1), [1024], [2], workers=1, requests=True)["requests"][0]
    assert alone[0] / 1e3 == pytest.approx(PROFILE.step_s(0, 0, 1, 1024), rel=0.1)
