"""Measures a running engine over a small grid of batches and prompts, then holds the fit to it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from actuators.probe.engine import Engine, Stream
from actuators.probe.step_time import (
    Cell,
    StepFit,
    decoding,
    disturbed,
    fitted,
    reading,
    together,
)
from forecaster.domain.errors import DataError
from forecaster.domain.profile import GenerativeProfile

DECODED = 48
"""Tokens of each decoding stream."""
SHORT = 32
LONG_DECODED = 160
"""Tokens of the stream beside which others are read."""
ENDLESS_KV = 1 << 30
LONGEST_CONTEXT = 1 << 17
"""Tokens of a stream at most, where nobody says what the cache holds."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Grid:
    """What is asked of the engine.

    Attributes
    ----------
    most : int
        Streams at once, at most.
    longest : int
        Prompt tokens, at most.
    chunk_tokens : int
        Prompt tokens that a step of the engine reads at most: its setting, it cannot be seen.
    kv_tokens : int
        Tokens that its cache holds; 0: what it says itself.
    rounds : int
        Times that each cell is measured; the median counts.
    """

    most: int
    longest: int
    chunk_tokens: int
    kv_tokens: int
    rounds: int

    def batches(self) -> list[int]:
        """1, 2, 4, ... and the most."""
        return sorted({min(1 << n, self.most) for n in range(self.most.bit_length() + 1)})


@dataclass(frozen=True, slots=True)
class Probed:
    """What was measured.

    Attributes
    ----------
    profile : GenerativeProfile
        With the limits that were found or given.
    fit : StepFit
        How well it fits, and what lies outside of it.
    batch_found : bool
        The engine's own batch limit was met; else it takes as many as were tried, or more.
    kv_known : bool
        The engine or the user says what its cache holds; else it is taken never to bind.
    """

    profile: GenerativeProfile
    fit: StepFit
    batch_found: bool
    kv_known: bool


async def measure(engine: Engine, grid: Grid, say: Say) -> Probed:
    """Measure an idle engine.

    Raises
    ------
    DataError
        When it answers nothing that can be measured.
    """
    kv_tokens = grid.kv_tokens or await engine.kv_tokens()
    room = kv_tokens or ENDLESS_KV
    read = _Cells()
    for prompt in _lengths(grid, room):
        say(f"reading {prompt} tokens")
        for _ in range(grid.rounds):
            read.add((1, prompt), reading(await engine.stream(prompt, 1), grid.chunk_tokens))
    say("reading beside a stream")
    beside = [await _beside(engine, min(SHORT, grid.longest)) for _ in range(grid.rounds)]
    decode, limit = await _decoding(engine, grid, room, say)
    if len(decode.medians()) < 2:
        raise DataError(
            "the engine's streams end before a step can be timed",
            "it must generate as many tokens as it is asked for (ignore_eos)",
        )
    fit = fitted(decode.medians(), read.medians(), [each for each in beside if each is not None])
    most = limit or decode.most
    profile = GenerativeProfile(
        fit.alpha_s, fit.beta_s, fit.kappa_s, fit.gamma_s, fit.gamma2_s, fit.delta_s,
        max_batch=most, chunk_tokens=grid.chunk_tokens,
        kv_tokens=kv_tokens or most * LONGEST_CONTEXT,
    )  # fmt: skip
    return Probed(profile, fit, bool(limit), bool(kv_tokens))


async def _decoding(engine: Engine, grid: Grid, room: int, say: Say) -> tuple[_Cells, int]:
    """Cells of decoding, up to the engine's own batch limit; the limit, 0 where it was not met."""
    cells, limit = _Cells(), 0
    batches = grid.batches()
    while batches:
        batch = batches.pop(0)
        for prompt in sorted({min(SHORT, grid.longest), grid.longest}):
            if batch * (prompt + DECODED) > room:
                continue
            say(f"decoding {batch} streams behind {prompt} tokens")
            for _ in range(grid.rounds):
                streams = await engine.burst([(prompt, DECODED)] * batch)
                cell = decoding(streams)
                if cell is not None:
                    cells.add((batch, prompt), cell)
                elif prompt <= SHORT and not limit and _full(streams, batch):
                    # Short streams of a fast engine may have ended before the last was sent.
                    longer = max(min(LONG_DECODED, room // batch - prompt), DECODED)
                    found = together(await engine.burst([(prompt, longer)] * batch))
                    limit = found if found < batch else 0
            if limit and limit < batch:  # measure the full batch itself, and no more
                batches = [limit] if limit > cells.most else []
                break
    return cells, limit


class _Cells:
    """Repeated cells by what was asked; the one of median time counts."""

    def __init__(self) -> None:
        self._found: defaultdict[tuple[int, int], list[Cell]] = defaultdict(list)

    def add(self, asked: tuple[int, int], cell: Cell) -> None:
        """Take one measurement."""
        self._found[asked].append(cell)

    @property
    def most(self) -> int:
        """The largest batch that was measured."""
        return max((batch for batch, _ in self._found), default=0)

    def medians(self) -> list[Cell]:
        """One cell for each that was asked."""
        return [
            (np.mean([cell for cell, _ in each], axis=0), median(seconds for _, seconds in each))
            for each in self._found.values()
        ]


async def _beside(engine: Engine, prompt: int) -> Cell | None:
    """One stream, and others read beside it one after the other until it ends."""
    going = asyncio.create_task(engine.stream(prompt, LONG_DECODED))
    read: list[Stream] = []
    while not going.done():
        read.append(await engine.stream(prompt, 1))
    return disturbed(await going, read)


def _lengths(grid: Grid, room: int) -> list[int]:
    longest = min(grid.longest, room)
    return sorted({min(SHORT, longest), max(longest // 4, 1), max(longest // 2, 1), longest})


def _full(streams: Sequence[Stream], batch: int) -> bool:
    """Whether streams waited for a place, rather than end too soon to be seen together."""
    return min(each.output_tokens for each in streams) >= DECODED // 2 and together(streams) < batch
