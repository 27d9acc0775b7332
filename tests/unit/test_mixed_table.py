"""Several types sized together: what the table promises is kept on traffic it has not seen."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from forecaster.capacity.answer import answered
from forecaster.capacity.kernel import fleet_of
from forecaster.capacity.kernel.arrivals import chat
from forecaster.capacity.sizing import Question, size
from forecaster.capacity.sizing_table import SizingTable
from forecaster.capacity.trial import outside
from forecaster.config import load_unit_type
from forecaster.domain.demand import TokenMix
from forecaster.domain.errors import SettingError, SloInfeasibleError
from forecaster.domain.pools import Pool
from forecaster.domain.profile import Mixed
from forecaster.domain.service import Slo
from forecaster.wiring.tables import Tables

MODELS = Path(__file__).resolve().parents[2] / "models"
MIX = load_unit_type(MODELS, "llama70b-mix")
H100, A100 = (Pool(name) for name in ("llama70b-h100x8", "llama70b-a100x8"))
WORDS = (1000.0, 200.0, 1.0)
CHAT = Question(MIX, Slo(ttft_p99_s=4.0, tpot_p99_s=0.15), TokenMix.of(*WORDS))
UNITS = 6


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return Tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def table(tables: Tables) -> SizingTable:
    return tables.table(CHAT, UNITS)


def carried_outside(table: SizingTable, units: int, seed: int) -> float:
    """Share outside on fresh traffic at the load that the table says is carried."""
    rate, count = table.capacity_rps(units), 200_000
    trace = chat(np.random.default_rng(seed), rate, count, WORDS)
    trace = replace(trace, arrival_s=trace.arrival_s * (count / rate / trace.arrival_s[-1]))
    done = fleet_of(MIX, table.split, units, seed=seed).run(trace, last=True)
    broken, _ = outside(done.in_order, CHAT.slo)
    return float(broken.mean())


@pytest.mark.parametrize("units", [2, 4, 6])
def test_capacity_keeps_the_target_on_fresh_traffic(table: SizingTable, units: int) -> None:
    assert carried_outside(table, units, 77) == pytest.approx(0.01, abs=0.004)


def test_capacities_are_those_of_the_types_together(table: SizingTable, tables: Tables) -> None:
    alone = {
        pool: tables.table(replace(CHAT, unit=kind), UNITS) for pool, kind in MIX.by_pool.items()
    }
    for units in range(1, UNITS + 1):
        parts = table.split.of(units)
        together = sum(alone[pool].capacity_rps(count) for pool, count in parts.items())
        assert table.capacity_rps(units) == pytest.approx(together, rel=0.01)
    assert (np.diff(table.capacities()) > 0).all()
    fleets = [table.split.of(units) for units in range(1, UNITS + 1)]
    assert all(all(b[p] >= a[p] for p in a) for a, b in pairwise(fleets))
    assert set(table.split.path) == {0, 1}  # both types are worth their price


def test_the_answer_names_the_types_and_what_binds(table: SizingTable) -> None:
    some = answered(table, 0.98 * table.capacity_rps(5))
    assert sum(some.pools.values()) == some.units == 5
    assert 0.2 < some.utilisation <= 1
    assert some.ttft_s[1] < 8
    assert f"{some.pools[H100]} {H100}, {some.pools[A100]} {A100}" in some.reason
    assert answered(table, 0.0).units == 1


def test_it_is_kept_by_content_and_read_back(table: SizingTable, tables: Tables) -> None:
    read = Tables(tables._folder).known(CHAT, UNITS)
    assert read is not None
    assert read.split == table.split
    assert (read.capacities() == table.capacities()).all()
    assert MIX.mixed is not None
    few = replace(MIX, mixed=Mixed(MIX.mixed.types, (1, 9)))
    names = {tables.key(replace(CHAT, unit=each), UNITS) for each in (MIX, few)}
    assert len(names) == 2
    short = tables.table(replace(CHAT, unit=few), UNITS)
    assert short.split.path.count(0) == 1
    assert tables.key(CHAT, UNITS) != tables.key(CHAT, UNITS + 1)  # a ladder has its length


def test_a_type_that_cannot_keep_the_slo_is_left_out(tables: Tables) -> None:
    tight = replace(CHAT, slo=Slo(ttft_p99_s=4.0, tpot_p99_s=0.04))
    found = tables.table(tight, 3)
    assert found.split.pools == (H100,)
    assert found.split.whole({A100: 5, H100: 1}) == 1
    with pytest.raises(SloInfeasibleError, match="tpot_p99_s"):
        tables.table(replace(CHAT, slo=Slo(ttft_p99_s=4.0, tpot_p99_s=0.02)), 3)
    with pytest.raises(SettingError, match="one pool of one type"):
        size(CHAT, 1.0)
