"""Tables on disk: built once, read after, a broken file is no table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecaster.capacity.answer import answered
from forecaster.capacity.sizing import Question
from forecaster.capacity.sizing_table import SizingTable
from forecaster.domain.demand import TokenMix
from forecaster.domain.errors import SettingError, SloInfeasibleError
from forecaster.domain.plan import Binding
from forecaster.domain.profile import ClassicProfile, UnitType
from forecaster.domain.service import Slo
from forecaster.wiring import tables
from forecaster.wiring.tables import Tables

MLP = UnitType("mlp", ClassicProfile(((1, 0.010), (4, 0.016))))
QUESTION = Question(MLP, Slo(latency_p99_s=0.06), TokenMix.of(0, 0))


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the tables that were built, not read."""
    sizes: list[int] = []
    real = tables._built

    def counted(question: Question, max_units: int, *rest: object) -> SizingTable:
        sizes.append(max_units)
        return real(question, min(max_units, 3), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(tables, "_built", counted)
    return sizes


def same(a: SizingTable, b: SizingTable) -> bool:
    return bool(np.array_equal(a.ladder_rps, b.ladder_rps)) and a.bindings == b.bindings


def test_built_once_then_from_memory_then_from_disk(tmp_path: Path, built: list[int]) -> None:
    kept = Tables(tmp_path)
    first = kept.table(QUESTION, 3)
    assert same(first, kept.table(QUESTION, 3))
    assert same(first, Tables(tmp_path).table(QUESTION, 3))
    assert Tables(tmp_path).table(QUESTION, 5).max_units == 5
    assert built == [16]
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_another_question_is_another_table(tmp_path: Path, built: list[int]) -> None:
    kept = Tables(tmp_path)
    kept.table(QUESTION, 3)
    kept.table(replace(QUESTION, slo=Slo(latency_p99_s=0.07)), 3)
    kept.table(replace(QUESTION, dispersion=1.0 + 1e-9), 3)
    lengths = (np.zeros(5, np.int64), np.zeros(5, np.int64))
    kept.table(QUESTION, 3, lengths)
    assert len(built) == 3


@pytest.mark.parametrize("damage", [b"", b"not a table", None])
def test_a_broken_file_is_built_anew(
    tmp_path: Path, built: list[int], damage: bytes | None
) -> None:
    first = Tables(tmp_path).table(QUESTION, 3)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage is None else damage)
    assert same(first, Tables(tmp_path).table(QUESTION, 3))
    assert len(built) == 2
    assert same(first, Tables(tmp_path).table(QUESTION, 3))
    assert len(built) == 2


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path, built: list[int]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert Tables(blocked / "below").table(QUESTION, 3).capacity_rps(3) > 0
    assert built == [16]


def test_as_large_as_the_rate_takes(tmp_path: Path, built: list[int]) -> None:
    kept = Tables(tmp_path)
    one = kept.for_rate(QUESTION, 10.0).capacity_rps(1)
    assert kept.for_rate(QUESTION, 10.0).max_units == 16
    many = answered(kept.for_rate(QUESTION, 500 * one), 500 * one)
    assert 300 < many.units <= 501
    with pytest.raises(SettingError, match="4096 units carry"):
        answered(kept.for_rate(QUESTION, 1e9), 1e9)
    for rate in (float("nan"), -1.0):
        with pytest.raises(SettingError, match="rate"):
            kept.for_rate(QUESTION, rate)
    with pytest.raises(SettingError, match="max_units"):
        kept.table(QUESTION, 0)
    assert built == [16, 64]


@pytest.mark.usefixtures("built")
def test_the_answer_says_what_one_unit_fewer_would_do(tmp_path: Path) -> None:
    table = Tables(tmp_path).table(QUESTION, 8)
    answer = answered(table, table.capacity_rps(2) * 1.02)
    assert answer.units == 3
    assert answer.binding is Binding.LATENCY
    assert answer.attainment >= 0.99
    assert "with 2 the p99 latency would be 0.06" in answer.reason
    assert "SLO 0.06 s" in answer.reason
    far = answered(table, table.saturation_rps * 4.05)
    assert "with 4 the queue would grow without end" in far.reason
    none = answered(table, 0.0)
    assert (none.units, none.binding, none.attainment) == (1, Binding.NONE, 1.0)


def test_infeasible_is_told_before_anything_is_kept(tmp_path: Path) -> None:
    with pytest.raises(SloInfeasibleError, match="latency_p99_s"):
        Tables(tmp_path).for_rate(replace(QUESTION, slo=Slo(latency_p99_s=0.005)), 5.0)
    assert not list(tmp_path.iterdir())
