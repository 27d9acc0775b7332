"""Two pools sized together: what the table promises is kept on traffic it has not seen."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from forecaster.capacity.answer import answered
from forecaster.capacity.kernel import simulate_disaggregated
from forecaster.capacity.kernel.arrivals import chat
from forecaster.capacity.pair_table import build_pair_table, stages
from forecaster.capacity.sizing import Question, size
from forecaster.capacity.sizing_table import SizingTable
from forecaster.capacity.trial import outside
from forecaster.config import load_unit_type
from forecaster.domain.demand import TokenMix
from forecaster.domain.errors import SettingError, SloInfeasibleError
from forecaster.domain.plan import Binding
from forecaster.domain.pools import PAIR, Pool, Split, of_pool, pool_service
from forecaster.domain.service import Slo
from forecaster.wiring.tables import Tables

MODELS = Path(__file__).resolve().parents[2] / "models"
PD = load_unit_type(MODELS, "llama70b-pd")
MIX = (1000.0, 200.0, 1.0)
CHAT = Question(PD, Slo(ttft_p99_s=1.0, tpot_p99_s=0.06), TokenMix.of(*MIX))


@pytest.fixture(scope="module")
def table() -> SizingTable:
    return build_pair_table(CHAT, 4)


@pytest.mark.parametrize("units", [2, 3, 4])
def test_capacity_keeps_the_target_on_fresh_traffic(table: SizingTable, units: int) -> None:
    rate, count = table.capacity_rps(units), 300_000
    trace = chat(np.random.default_rng(77), rate, count, MIX)
    trace = replace(trace, arrival_s=trace.arrival_s * (count / rate / trace.arrival_s[-1]))
    assert PD.pair is not None
    pools = table.split.of(units)
    done = simulate_disaggregated(PD.pair.profile, trace, (pools[Pool.PREFILL], pools[Pool.DECODE]))
    broken, _ = outside(done, CHAT.slo)
    assert broken.mean() == pytest.approx(0.01, abs=0.003)


def test_both_pools_grow_and_neither_ever_shrinks(table: SizingTable) -> None:
    capacities = table.capacities()
    assert capacities[0] < 1e-6  # one unit alone serves nobody
    assert (np.diff(capacities) > 0).all()
    pools = [tuple(table.split.of(units).values()) for units in range(1, 40)]
    assert pools[1] == (1, 1)
    assert all(a <= c and b <= d for (a, b), (c, d) in pairwise(pools))
    assert all(sum(pair) == units for units, pair in enumerate(pools, 1))


def test_the_answer_names_both_pools_and_what_binds(table: SizingTable) -> None:
    none = answered(table, 0.0)
    assert (none.units, none.pools, none.binding) == (2, {"prefill": 1, "decode": 1}, Binding.NONE)
    some = answered(table, 0.98 * table.capacity_rps(4))
    assert sum(some.pools.values()) == some.units == 4
    assert some.binding in (Binding.TTFT, Binding.TPOT)
    assert some.ttft_s[1] < 1.0
    assert some.tpot_s[1] < 0.06
    assert f"{some.pools['prefill']} prefill, {some.pools['decode']} decode" in some.reason


def test_a_part_that_is_loose_gives_its_units_to_the_other_pool(table: SizingTable) -> None:
    patient = build_pair_table(replace(CHAT, slo=replace(CHAT.slo, ttft_p99_s=30.0)), 3)
    assert patient.split.of(3)[Pool.DECODE] > table.split.of(3)[Pool.DECODE]
    assert patient.capacity_rps(3) > table.capacity_rps(3)


def test_it_is_kept_by_content_and_read_back(table: SizingTable, tmp_path: Path) -> None:
    kept = Tables(tmp_path)
    kept._write(kept.key(CHAT, 4), table)
    read = Tables(tmp_path).known(CHAT, 4)
    assert read is not None
    assert read.split == table.split
    assert (read.capacities() == table.capacities()).all()
    assert PD.pair is not None
    slower = replace(PD, pair=replace(PD.pair, handover_s=1.0))
    dearer = replace(PD, pair=replace(PD.pair, decode=replace(PD.pair.decode, price_per_hour=1.0)))
    names = {kept.key(replace(CHAT, unit=each), 4) for each in (PD, slower, dearer)}
    assert len(names) == 3


def test_what_cannot_be_sized_is_refused() -> None:
    for slo in (Slo(ttft_p99_s=1.0), Slo(tpot_p99_s=0.06), Slo(1.0, 0.06, 9.0)):
        with pytest.raises(SettingError, match="p99_s"):
            build_pair_table(replace(CHAT, slo=slo), 4)
    with pytest.raises(SettingError, match="max_units"):
        build_pair_table(CHAT, 1)
    for slo, part in ((Slo(0.02, 0.06), "ttft_p99_s"), (Slo(1.0, 0.02), "tpot_p99_s")):
        with pytest.raises(SloInfeasibleError, match=part):
            build_pair_table(replace(CHAT, slo=slo), 4)
    with pytest.raises(SettingError, match="one pool of one type"):
        size(CHAT, 1.0)


def test_each_pool_is_asked_for_its_own_part() -> None:
    read, generate = stages(CHAT)
    assert (read.slo.tpot_p99_s, generate.slo.ttft_p99_s) == (None, None)
    assert (read.mix.output_mean, generate.mix) == (1.0, CHAT.mix)


def test_splits_and_names_of_pools() -> None:
    split = Split.pair((0, 1, 2, 3))
    assert split.whole({Pool.PREFILL: 1, Pool.DECODE: 2}) == 3
    assert split.whole({Pool.PREFILL: 4, Pool.DECODE: 1}) == 2
    assert split.whole({Pool.DECODE: 7}) == 0
    assert Split(()).whole({Pool.WHOLE: 7}) == 7
    assert split.of(0) == {Pool.PREFILL: 0, Pool.DECODE: 0}
    for pool in (*PAIR, Pool("h100"), Pool.WHOLE):
        assert of_pool(pool_service("chat@2", pool)) == ("chat@2", pool)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "disaggregated"', "go together"),
        ('kind = "disaggregated"\n[disaggregated]\nprefill = "x"\ndecode = "x"\nhandover_s = -1', "handover_s"),
        ('kind = "disaggregated"\n[disaggregated]\nprefill = "mlp"\ndecode = "mlp"\nhandover_s = 0\nhandover_per_token_s = 0', "generative"),
    ],
)  # fmt: skip
def test_unit_files_that_are_no_pair(tmp_path: Path, text: str, said: str) -> None:
    for name, body in (
        ("pd", text),
        ("mlp", (MODELS / "mlp-classifier" / "unit.toml").read_text()),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "unit.toml").write_text(body)
    with pytest.raises(SettingError, match=said):
        load_unit_type(tmp_path, "pd")
