"""Sizing tables beside the daemon: known ones at once, others built by a child of low priority."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from forecaster.capacity.sizing import Question
from forecaster.capacity.sizing_table import SizingTable
from forecaster.daemon.beside import Beside, ChildLostError
from forecaster.domain.demand import IntArray, TokenMix
from forecaster.domain.errors import StoreUnavailableError, TidegateError
from forecaster.domain.profile import GenerativeProfile
from forecaster.store import Store
from forecaster.wiring.tables import Tables

log = logging.getLogger(__name__)
LIMIT_S = 600.0
"""A table that takes longer is given up; the one in force serves on."""
AT_ONCE = min(2, os.cpu_count() or 1)
"""Tables that are built at a time."""
DRAWN_DAYS, DRAWN_MOST = 7.0, 50_000
"""A table is built on the token lengths of at most so many requests of the last week."""
DRAWN_LEAST = 1_000
"""Fewer requests say less of their lengths than the moments of the mix do."""

Lengths = tuple[IntArray, IntArray]


class BackgroundSizer:
    """Answers a planner at once: with a table, with None while it is built, or with why there is none.

    Builds each table in a process of its own, so that neither ticks nor the API wait.

    Parameters
    ----------
    folder : Path
        Where tables are kept.
    store : Store or None
        Where the services' own token lengths are; None: tables are built on the moments alone.
    """

    def __init__(self, folder: Path, store: Store | None = None) -> None:
        self._folder, self._store = folder, store
        self._tables = Tables(folder)
        self._wanted: SimpleQueue[tuple[str, Question, int] | None] = SimpleQueue()
        self._building: set[str] = set()
        self._refused: dict[str, TidegateError] = {}
        self._idle = threading.Condition()
        self._builders = [Beside(LIMIT_S) for _ in range(AT_ONCE)]
        self._threads = [
            threading.Thread(target=self._work, args=(builder,), name="sizer", daemon=True)
            for builder in self._builders
        ]
        for thread in self._threads:
            thread.start()

    def __call__(self, service: str, question: Question, max_units: int) -> SizingTable | None:
        """The service's table, or None while it is being built.

        Raises
        ------
        TidegateError
            Why it cannot be built.
        """
        key = self._tables.key(question, max_units, service=service)
        if key in self._refused:
            raise self._refused[key]
        found = self._tables.known(question, max_units, service=service)
        if found is None and key not in self._building:
            self._building.add(key)
            self._wanted.put((service, question, max_units))
        return found

    def settle(self, limit_s: float) -> bool:
        """Wait until nothing is being built; whether that came about in time."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._building, limit_s)

    def stop(self) -> None:
        """End the builds under way; none starts afterwards."""
        for builder in self._builders:
            builder.stop()
            self._wanted.put(None)
        for thread in self._threads:
            thread.join(5.0)

    def _work(self, builder: Beside) -> None:
        while not builder.stopped:
            asked = self._wanted.get()
            if asked is None:
                return
            service, question, max_units = asked
            name = question.unit.name
            key = self._tables.key(question, max_units, service=service)
            try:
                lengths = drawn(self._store, service, question)
                built = builder(f"sizing {name}", build, self._folder, *asked, lengths)
                self._tables.keep(question, max_units, built, service)
            except (ChildLostError, StoreUnavailableError) as error:  # the next plan asks again
                if not builder.stopped:
                    log.warning("%s", error)
            except TidegateError as error:
                log.warning("no sizing table for %s: %s", name, error)
                self._refused[key] = error
            with self._idle:
                self._building.discard(key)
                self._idle.notify_all()


@contextmanager
def sizing(home: Path, store: Store | None = None) -> Iterator[BackgroundSizer]:
    """The background sizer of an installation, stopped at the end."""
    sizer = BackgroundSizer(home / "tables", store)
    try:
        yield sizer
    finally:
        sizer.stop()


def build(
    folder: Path, service: str, question: Question, max_units: int, lengths: Lengths | None
) -> SizingTable:
    """Build a table and keep it in `folder`; where that cannot be written, the answer is all there is."""
    return Tables(folder).table(question, max_units, lengths, service=service)


def now(
    folder: Path, store: Store, progress: Callable[[float], None] | None = None
) -> Callable[[str, Question, int], SizingTable]:
    """Tables for a one-shot command: built while it waits."""
    tables = Tables(folder)

    def table(service: str, question: Question, max_units: int) -> SizingTable:
        known = tables.known(question, max_units, service=service)
        if known is not None:
            return known
        lengths = drawn(store, service, question)
        return tables.table(question, max_units, lengths, progress, service)

    return table


def drawn(store: Store | None, service: str, question: Question) -> Lengths | None:
    """Token lengths of the service's newest requests at the means of the question; None where the moments have to do."""
    if store is None or not isinstance(question.unit.profile, GenerativeProfile):
        return None
    prompt, output = store.lengths(service, DRAWN_DAYS, DRAWN_MOST)
    return of_mix((prompt, output), question.mix) if prompt.size >= DRAWN_LEAST else None


def of_mix(lengths: Lengths, mix: TokenMix) -> Lengths:
    """The lengths scaled to the means of a mix.

    A table is asked for loads in requests of its question's mix. A mix is rounded up, and the last day's is not that
    of the week: a table built on lighter requests would promise to carry as many of the heavier ones.

    Examples
    --------
    >>> prompt, output = of_mix((np.array([100, 300]), np.array([5, 15])), TokenMix.of(220, 10))
    >>> prompt.tolist(), output.tolist()
    ([110, 330], [5, 15])
    """
    prompt, output = lengths
    return _to_mean(prompt, mix.prompt_mean), _to_mean(output, mix.output_mean)


def _to_mean(tokens: IntArray, mean: float) -> IntArray:
    known = float(tokens.mean())
    if not (mean > 0 and known > 0):
        return tokens
    return np.where(tokens > 0, np.maximum(np.rint(tokens * (mean / known)), 1), 0).astype(np.int64)
