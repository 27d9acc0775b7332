"""A small world for replays: one sizing table for the session, scenes of any load on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from forecaster.capacity.sizing import Question
from forecaster.capacity.sizing_table import SizingTable
from forecaster.domain.demand import FloatArray, RequestBatch, TokenMix
from forecaster.domain.profile import GenerativeProfile, UnitType
from forecaster.domain.service import CalendarSpec, Limits, Slo
from forecaster.replay.contest import Contest, Terms
from forecaster.replay.sample import Sample, between
from forecaster.replay.scene import FINE_S, TICK_S, Loads, Scene
from forecaster.replay.trace import Trace
from forecaster.wiring.replays import Order, play
from forecaster.wiring.tables import Tables

UNIT = UnitType(
    "little", GenerativeProfile(0.02, 2e-3, 1e-6, 5e-4, max_batch=16, chunk_tokens=256),
    lead_time_s=180.0, price_per_hour=2.0,
)  # fmt: skip
SLO = Slo(ttft_p99_s=1.0, tpot_p99_s=0.15)
MONDAY_S = 1_767_571_200.0

MakeScene = Callable[..., Scene]


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return Tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="session")
def table(tables: Tables) -> SizingTable:
    return tables.table(Question(UNIT, SLO, TokenMix.of(60, 40), 1.0), 16)


@pytest.fixture(scope="session")
def scene_of(table: SizingTable) -> MakeScene:
    """A scene whose load by the minute is given, whatever requests would make it."""

    def make(minute_erl: FloatArray, first: int, lead_s: float = 180.0, **limits: int) -> Scene:
        ticks = (minute_erl.size - first) // 5 * 5
        per_tick = round(TICK_S / FINE_S)
        fine = np.repeat(minute_erl, per_tick)
        nothing = np.ones(1, np.int64)
        log = RequestBatch("made", np.array([MONDAY_S]), nothing, nothing)
        return Scene(
            Loads(MONDAY_S, fine, np.ones(fine.size) * 10), first, ticks, table, 0.1, lead_s,
            Limits(**{"min_units": 1, "max_units": 64, "step_units": 1, **limits}),
            trace=Trace(log), unit=UNIT, calendar=CalendarSpec(),
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def log() -> RequestBatch:
    """Four and a half days of a service with a strong tide, 5,000 requests."""
    return between(Sample("chat", 0.025, 60, 40, seed=5), MONDAY_S, MONDAY_S + 4.5 * 86400)


@pytest.fixture(scope="session")
def order() -> Order:
    return Order(Terms(UNIT, SLO, 180.0, days=0.5), rate_scale=200.0)


@pytest.fixture(scope="session")
def contest(log: RequestBatch, order: Order, tables: Tables) -> Contest:
    """A whole contest of four policies and the live Tidegate."""
    few = ("static-peak", "smoothed", "tidegate", "tide-clairvoyant")
    return play(log, Order(order.terms, order.rate_scale, few), tables)


@pytest.fixture
def html(tmp_path: Path) -> Path:
    return tmp_path / "report.html"
