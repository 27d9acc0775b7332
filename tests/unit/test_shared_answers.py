"""Answers that many ask for: worked out once at a time, figures within a bound of time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from forecaster.api import shared
from forecaster.api.shared import Shared
from forecaster.daemon.figures import Figures
from forecaster.domain.errors import StoreUnavailableError


def test_a_hundred_who_ask_at_once_ask_once() -> None:
    asked: list[int] = []

    async def many() -> list[int]:
        question = Shared(lambda: asked.append(1) or len(asked), least_s=60.0)
        return await asyncio.gather(*(question.ask() for _ in range(100)))

    assert asyncio.run(many()) == [1] * 100


def test_a_slow_answer_is_given_while_it_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "QUICK_S", -1.0)  # everything is slow
    monkeypatch.setattr(shared, "REST", 0.0)
    go, asked = threading.Event(), iter(range(1, 9))

    def work() -> int:
        number = next(asked)
        assert number == 1 or go.wait(30.0)
        return number

    async def story() -> None:
        question = Shared(work, least_s=0.0)
        assert await question.ask() == 1
        assert [await question.ask() for _ in range(3)] == [1, 1, 1]  # one of them asks anew
        go.set()
        while await question.ask() == 1:
            await asyncio.sleep(0)

    asyncio.run(story())


def test_what_failed_is_said_to_who_asks_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "REST", 0.0)  # no answer is kept
    away = True

    def work() -> str:
        if away:
            raise StoreUnavailableError("the database is away", "wait")
        return "here"

    async def story() -> None:
        nonlocal away
        question = Shared(work, least_s=0.0)
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await question.ask()
        away = False
        assert await question.ask() == "here"
        away = True
        with pytest.raises(StoreUnavailableError):
            await question.ask()

    asyncio.run(story())


def test_figures_of_many_are_worked_out_in_turn() -> None:
    worked: list[str] = []

    def work(name: str) -> dict[str, int]:
        worked.append(name)
        return {"turn": worked.count(name)}

    names = ["a", "b", "c"]
    hurried = Figures(work, budget_s=-1.0)
    assert hurried.of(names) == {name: {"turn": 1} for name in names}  # nobody is left out
    for _ in range(3):
        hurried.of(names)
    assert worked == [*names, *names]
    assert hurried.of([*names, "d"])["d"] == {"turn": 1}
    assert set(hurried.of(["b"])) == {"b"}  # who left is not shown
    calm = Figures(work, budget_s=60.0)
    worked.clear()
    assert calm.of(names) == calm.of([]) | {name: {"turn": 1} for name in names}
    assert calm.of(names) == {name: {"turn": 2} for name in names}
