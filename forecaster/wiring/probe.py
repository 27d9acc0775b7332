"""A running engine measured: profile, the check of it, and the file that plans read."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actuators.intake.unit_file import UNIT_NAME, unit_toml
from actuators.probe.engine import Engine, Stream
from actuators.probe.measure import DECODED, Grid, Probed, measure
from forecaster.capacity.kernel import simulate
from forecaster.domain.demand import FloatArray, RequestBatch
from forecaster.domain.errors import SettingError
from forecaster.domain.profile import GenerativeProfile, UnitType
from forecaster.replay.files import write_whole

CHECK_RHO = 0.5
CHECK_LEAST, CHECK_MOST = 40, 400
"""Requests of the check, whatever its time."""
LEVELS = (0.5, 0.99)
WARM_SHARE = 0.1
"""Of the check: the engine fills up."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured, and what nobody can measure.

    Attributes
    ----------
    name : str
        Of the unit type.
    url, model, key : str
        See `Engine`.
    gpus : int
        That one unit holds.
    lead_s, price_per_hour : float
        From order to readiness; money.
    """

    name: str
    url: str
    model: str
    key: str
    gpus: int
    lead_s: float
    price_per_hour: float


def probe(
    target: Target,
    grid: Grid,
    check_s: float,
    models: Path,
    *,
    replace: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure, check, write ``unit.toml``; return the report that `tidegate profile` prints.

    Raises
    ------
    SettingError
        For a name that is none, or is taken.
    DataError
        When the engine cannot be measured; when the check alone fails the file is there.
    """
    if not UNIT_NAME.fullmatch(target.name):
        raise SettingError("--name", target.name, "lower case letters, digits, . _ -")
    path = models / target.name / "unit.toml"
    if path.exists() and not replace:
        raise SettingError("--name", target.name, "a new name", f"{path} exists: add --replace")
    probed = asyncio.run(_measured(target, grid, say))
    unit = UnitType(
        target.name,
        probed.profile,
        lead_time_s=target.lead_s,
        price_per_hour=target.price_per_hour,
        gpus=target.gpus,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, unit_toml(unit, _notes(target, probed)))
    check = None
    if check_s:
        say(f"check: Poisson arrivals at half of what a unit carries, {check_s:.0f} s")
        check = asyncio.run(_checked(target, probed, grid, check_s))
    fit = probed.fit
    return {
        "unit": unit.name,
        "folder": str(path.parent),
        "profile": asdict(probed.profile),
        "fit_error": fit.error,
        "cells": fit.cells,
        "overhead_s": fit.overhead_s,
        "batch_found": probed.batch_found,
        "kv_known": probed.kv_known,
        "check": check,
    }


@asynccontextmanager
async def _opened(target: Target) -> AsyncIterator[Engine]:
    async with Engine(target.url, target.model, target.key, secrets.randbits(32)) as engine:
        await engine.open()
        yield engine


async def _measured(target: Target, grid: Grid, say: Callable[[str], None]) -> Probed:
    async with _opened(target) as engine:
        return await measure(engine, grid, say)


async def _checked(target: Target, probed: Probed, grid: Grid, check_s: float) -> dict[str, Any]:
    """Real requests beside the kernel's: the same arrivals and lengths."""
    rng = np.random.default_rng(0)
    prompt_mean, output_mean = max(grid.longest / 4, 1.0), DECODED / 2
    work_s = float(probed.profile.work_s(np.array([prompt_mean]), np.array([output_mean]))[0])
    rate_rps = CHECK_RHO / work_s
    count = int(np.clip(rate_rps * check_s, CHECK_LEAST, CHECK_MOST))
    at_s = np.cumsum(rng.exponential(1 / rate_rps, count))
    prompt = np.clip(rng.exponential(prompt_mean, count), 1, grid.longest)
    output = np.clip(np.rint(rng.exponential(output_mean, count)), 2, 2 * DECODED).astype(int)
    requests = list(zip(prompt.tolist(), output.tolist(), strict=True))
    async with _opened(target) as engine:
        streams = await engine.play(at_s.tolist(), requests)
    return compared(probed.profile, probed.fit.overhead_s, streams)


def compared(
    profile: GenerativeProfile, overhead_s: float, streams: list[Stream]
) -> dict[str, Any]:
    """Measured times over those of the kernel, which plays the same requests on one unit."""
    streams = sorted(streams, key=lambda each: each.sent_s)
    trace = RequestBatch(
        "check",
        np.array([each.sent_s for each in streams]) - streams[0].sent_s,
        np.array([each.prompt_tokens for each in streams], np.int64),
        np.array([each.output_tokens for each in streams], np.int64),
    )
    played = simulate(profile, trace, 1)
    scored = slice(int(WARM_SHARE * len(streams)), None)
    ttft_s = np.array([each.ttft_s for each in streams])[scored]
    tpot_s = np.array([each.tpot_s for each in streams])[scored]
    found: dict[str, Any] = {
        "requests": len(streams), "rate_rps": len(streams) / float(np.ptp(trace.arrival_s))
    }  # fmt: skip
    for name, seen_s, told_s in (
        ("ttft", ttft_s, played.ttft_s[scored] + overhead_s),
        ("tpot", tpot_s, played.tpot_s[scored]),
    ):
        for level, seen, told in zip(LEVELS, _at(seen_s), _at(told_s), strict=True):
            found[f"{name}_p{100 * level:.0f}_s"] = seen
            found[f"{name}_p{100 * level:.0f}_ratio"] = seen / told if told else None
    return found


def _at(values_s: FloatArray) -> list[float]:
    return [float(each) for each in np.nanquantile(values_s, LEVELS)]


def _notes(target: Target, probed: Probed) -> list[str]:
    batch = "met" if probed.batch_found else "the most that was tried"
    cache = "as told" if probed.kv_known else "not known: it never binds"
    return [
        f"Made by `tidegate profile` from outside of a running engine ({target.model or 'its model'}).",
        f"Fit error {probed.fit.error:.1%} over {probed.fit.cells} cells. max_batch: {batch}; kv_tokens: {cache};",
        "chunk_tokens, lead_time_s, price_per_hour and gpus: as given.",
        f"Beside the steps each request takes {1000 * probed.fit.overhead_s:.1f} ms (network, front end): not in here.",
    ]
