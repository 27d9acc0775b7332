"""Logs that the daemon follows as they grow, beside the counters that it reads."""

from __future__ import annotations

import glob
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

from forecaster.config import Settings
from forecaster.config.load import state_home
from forecaster.daemon.service import Daemon
from forecaster.domain.errors import DataError
from forecaster.ingest import ColumnMap, IngestOptions
from forecaster.ingest.follow import LOOK_S, Follower, lately
from forecaster.store import Store
from forecaster.wiring.checks import Check, Health
from forecaster.wiring.meters import reading, told

STOP_S = 10.0


@contextmanager
def fed(settings: Settings, store: Store, daemon: Daemon) -> Iterator[None]:
    """Take in load from elsewhere while the block runs: counters by the leader, logs where they lie.

    A log is followed whether this daemon leads or not: others may not see its files, and two who do
    count each line once.
    """
    with reading(settings, store, daemon), ExitStack() as stack:
        followers = {
            name: stack.enter_context(closing(_follower(settings, store, name, patterns)))
            for name, patterns in tailed(settings).items()
        }
        if followers:
            stop = threading.Event()
            thread = threading.Thread(
                target=_follow_on, args=(followers, daemon, stop), name="tails", daemon=True
            )
            thread.start()
            stack.callback(thread.join, STOP_S)
            stack.callback(stop.set)
        yield


def tailed(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Patterns by service; those of logs that name their services under the empty name."""
    found = {"": settings.ingest.tail} | {each.name: each.tail for each in settings.service}
    return {name: patterns for name, patterns in found.items() if patterns}


def examine_tails(settings: Settings) -> Iterator[Check]:
    """Whether there is something to follow, and whether it can be read."""
    for name, patterns in tailed(settings).items():
        for pattern in patterns:
            found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - absolute ones too
            closed = [each for each in found if not os.access(each, os.R_OK)]
            says = f"{name or 'any service'}: {pattern}: {len(found)} files"
            if closed:
                yield Check("tail", Health.FAIL, f"{closed[0]} cannot be read", "let us read it")
            elif found:
                yield Check("tail", Health.OK, says)
            else:
                yield Check("tail", Health.WARN, says, "check the pattern, if it should be there")


def _follower(
    settings: Settings, store: Store, service: str, patterns: tuple[str, ...]
) -> Follower:
    named = {role: names for role, names in settings.ingest.columns().items() if names}
    options = IngestOptions(
        service=service,
        columns=replace(ColumnMap(), **named),
        rejects_dir=state_home(settings) / "rejects",
    )
    return Follower(patterns, store, lambda: lately(options))


def _follow_on(followers: dict[str, Follower], daemon: Daemon, stop: threading.Event) -> None:
    while not stop.is_set():
        for name, follower in followers.items():
            with told(daemon, f"tail {name}".strip()):
                follower.look(stop.is_set)
                for problem in follower.failures.values():
                    raise DataError(problem)
        stop.wait(LOOK_S)
