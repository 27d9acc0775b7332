"""Stopping and killing `tidegate run --demo` at any moment: no process stays."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.run_helpers import (
    DEMO,
    STOPPED_WITHIN_S,
    Tidegate,
    left_by,
    nothing_left,
    ready,
)
from tests.integration.tier_helpers import until


@pytest.fixture(scope="module")
def measured_home(open_folder: Callable[[], Path]) -> Path:
    """One home for every start that is stopped: its units are measured once."""
    return open_folder()


@pytest.mark.parametrize(
    "moment",
    [
        "starting the database",
        "measuring one unit of tiny-llama",
        "measuring one unit of mlp-classifier",
        "ingested ",
        "trained classify",
        "starting the serving tier",
    ],
)
def test_a_stop_at_any_moment_of_the_start_leaves_nothing(moment: str, measured_home: Path) -> None:
    with Tidegate(measured_home, *DEMO) as running:
        running.line(moment)
        began = running.send(signal.SIGTERM)
        assert running.ended() in {0, 130}, running.said
        assert time.monotonic() - began < STOPPED_WITHIN_S
    assert "Traceback" not in running.said
    assert "stopped while starting" in running.said
    nothing_left(measured_home)


def test_a_stop_before_anything_began_leaves_nothing(open_folder: Callable[[], Path]) -> None:
    place = open_folder()
    for number in (signal.SIGTERM, signal.SIGINT):
        with Tidegate(place, *DEMO) as running:
            running.send(number)
            status = running.ended()
            unborn = (
                "Python runtime state: " in running.said
            )  # the interpreter itself was not up yet
            assert unborn or status in {0, 130, -signal.SIGTERM, -signal.SIGINT}, running.said
        nothing_left(place)


def test_after_a_kill_the_next_demo_works_and_leaves_nothing(
    open_folder: Callable[[], Path],
) -> None:
    place = open_folder()
    with Tidegate(place, *DEMO, "--format", "json") as first:
        first.document()
        first.send(signal.SIGKILL)
        assert first.ended() == -signal.SIGKILL
    assert left_by(place), "the database outlives its parent: that is what is cleaned up"
    with Tidegate(place, *DEMO, "--format", "json") as second:
        url = second.document()["url"]
        until(ready(url), "ready units")
        second.send(signal.SIGTERM)
        assert second.ended() == 0, second.said
    assert "Traceback" not in second.said
    nothing_left(place)
