"""Which sizing table is in force while others are being built."""

from __future__ import annotations

from typing import Any

from forecaster.capacity.belief import Belief
from forecaster.capacity.sizing import Question
from forecaster.config.settings import ServiceSettings
from forecaster.daemon.carrying import Carrying
from forecaster.domain.demand import TokenMix
from tests.integration.tier_helpers import LLAMA_TYPE


class Builder:
    """Tables are there when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.there: list[Question] = []

    def __call__(self, service: str, question: Question, max_units: int) -> Any:
        if question not in self.asked:
            self.asked.append(question)
        return question if question in self.there else None


def test_the_first_table_that_is_there_serves_while_the_mix_moves() -> None:
    builder = Builder()
    service = ServiceSettings(name="chat", unit=LLAMA_TYPE.name).service()
    carrying = Carrying(service, LLAMA_TYPE, builder, Belief())
    mixes = [TokenMix.of(48 * grown, 24) for grown in (1, 2, 4, 8)]
    carrying.follow(mixes[0], 1.0)
    carrying.follow(mixes[1], 1.0)
    assert carrying.table is None
    builder.there.append(builder.asked[0])
    carrying.follow(mixes[2], 1.0)
    assert carrying.table == builder.asked[0]
    carrying.follow(mixes[3], 1.0)
    assert carrying.table == builder.asked[0]
    builder.there.append(builder.asked[-1])
    carrying.follow(mixes[3], 1.0)
    assert carrying.table == builder.asked[-1]
