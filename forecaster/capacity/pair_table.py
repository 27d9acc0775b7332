"""Sizing tables of two pools: a table of each pool on the kernel, and the fleets that they make up.

Nothing flows back from decode to prefill units, so a request is outside the SLO where the prefill pool
breaks its first token or the decode pool the gaps between the others. A fleet of n units is split
between the pools by a path on which no larger fleet has fewer units of either kind: each unit that is
added goes where the pair then carries more for the money. A prefill pool that is well filled hands over
more evenly than requests arrive, which no table of one pool knows: trials of both pools together move
each fleet's curve to where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.special import logit

from forecaster.capacity.curve import ENDLESS, LEVELS, STEADY_BELOW, curve, explored, rising
from forecaster.capacity.kernel import Finished, simulate_decode, simulate_disaggregated
from forecaster.capacity.sizing import Question
from forecaster.capacity.sizing_table import FLEETS, SizingTable
from forecaster.capacity.tables import (
    OVERLOAD_LEAST,
    RELATIVE,
    STEADY_MOST,
    build_table,
    measured,
)
from forecaster.capacity.traffic import Lengths, Traffic, check_lengths
from forecaster.capacity.trial import WINDOW_S, Trial, overload, steady
from forecaster.domain.demand import FloatArray, IntArray, RequestBatch
from forecaster.domain.errors import SettingError
from forecaster.domain.plan import Binding
from forecaster.domain.pools import Split
from forecaster.domain.profile import Pair, PdProfile
from forecaster.domain.service import Slo

FINE = 1500
"""Loads at which the shares of the pools are put together."""
EACH = 16
"""Up to here every fleet is tried with both pools, above only those that every table has."""
TURN = (0.004, 0.01, 0.04)
"""Shares outside around which the pools are tried together."""
OVERLOADS = (1.0, 1.05)
"""Loads over the most that the pools complete: no curve goes on beyond it as it began."""
MORE = 3
"""Trials beyond those, where the curve is not known yet."""


def build_pair_table(
    question: Question,
    max_units: int,
    lengths: Lengths | None = None,
    progress: Callable[[float], None] | None = None,
) -> SizingTable:
    """Build the table of 1..`max_units` units of both pools together; see `build_table`.

    Raises
    ------
    SettingError
        When a part of the SLO is missing that sizes a pool, or one is there that sizes none.
    SloInfeasibleError
        When idle units already break the SLO.
    """
    pair = question.unit.pair
    assert pair is not None
    if max_units < 2:
        raise SettingError("max_units", max_units, "2 or more units: one reads, one generates")
    _check(question.slo)
    if lengths is not None:
        check_lengths(lengths)
    read, generate = stages(question)
    ones = None if lengths is None else (lengths[0], np.ones_like(lengths[1]))
    prefill = build_table(read, max_units - 1, ones, _half(progress, 0.0))
    play = partial(_decoded, pair.profile)
    decode = measured(generate, play, max_units - 1, lengths, _half(progress, 0.5))
    return _Pools(question, lengths, prefill, decode).table(max_units)


def stages(question: Question) -> tuple[Question, Question]:
    """What is asked of the prefill pool, and of the decode pool.

    The prefill pool answers with one token, inside the bound on the first; the decode pool begins
    with prompts that are read, inside the bound on the gaps.
    """
    pair, slo, mix = question.unit.pair, question.slo, question.mix
    assert pair is not None
    first = replace(mix, output_mean=1.0, output_sq=1.0, prompt_output=mix.prompt_mean)
    return (
        replace(question, unit=pair.prefill, slo=replace(slo, tpot_p99_s=None), mix=first),
        replace(
            question,
            unit=replace(pair.decode, profile=pair.profile.decoding),
            slo=replace(slo, ttft_p99_s=None),
        ),
    )


def _check(slo: Slo) -> None:
    for key, bound in (("ttft_p99_s", slo.ttft_p99_s), ("tpot_p99_s", slo.tpot_p99_s)):
        if bound is None:
            raise SettingError(key, None, "a bound: each of two pools is sized by its own",
                               f"set {key}")  # fmt: skip
    if slo.latency_p99_s is not None:
        raise SettingError(
            "latency_p99_s", slo.latency_p99_s, "left out: two pools are sized by TTFT and TPOT",
            "bound the gaps instead",
        )  # fmt: skip


def _half(progress: Callable[[float], None] | None, done: float) -> Callable[[float], None] | None:
    return None if progress is None else lambda share: progress(done + share / 2)


def _decoded(profile: PdProfile, trace: RequestBatch, factor: FloatArray, units: int) -> Finished:
    return simulate_decode(profile, trace, units)


@dataclass(frozen=True, slots=True)
class _Pools:
    """Two tables, and what they say of any pair of pools."""

    question: Question
    lengths: Lengths | None
    prefill: SizingTable
    decode: SizingTable

    @property
    def pair(self) -> Pair:
        """What the units of the pools are."""
        assert self.question.unit.pair is not None
        return self.question.unit.pair

    def outside(self, read: int, generate: int, rates: FloatArray) -> FloatArray:
        """Share outside with these pools: either breaks, as if by chance of its own."""
        late = self.prefill.violation_share(read, rates)
        slow = self.decode.violation_share(generate, rates)
        return np.asarray(1 - (1 - late) * (1 - slow))

    def rates(self, units: int) -> FloatArray:
        """Loads over which a fleet's curve runs, rising."""
        most = units * max(self.prefill.saturation_rps, self.decode.saturation_rps)
        return np.concatenate([[0.0], np.geomspace(1e-4, ENDLESS, FINE)]) * most

    def carried_rps(self, read: int, generate: int) -> float:
        """Load that these pools carry inside the target."""
        if not read or not generate:
            return 0.0
        rates = self.rates(read + generate)
        share = self.outside(read, generate, rates)
        return float(np.interp(1 - self.question.slo.attainment, share, rates))

    def path(self, max_units: int) -> IntArray:
        """Units that generate in fleets of 1..`max_units`."""
        split = [0, 1]
        read, generate = 1, 1
        carried = self.carried_rps(read, generate)
        prices = [max(each.price_per_hour, 1e-9) for each in (self.pair.prefill, self.pair.decode)]
        while len(split) < max_units:
            more = (self.carried_rps(read + 1, generate), self.carried_rps(read, generate + 1))
            gains = [(each - carried) / price for each, price in zip(more, prices, strict=True)]
            if gains[0] > gains[1]:
                read, carried = read + 1, more[0]
            else:
                generate, carried = generate + 1, more[1]
            split.append(generate)
        return np.array(split)

    def table(self, max_units: int) -> SizingTable:
        """The curve of every fleet along the path, and what it is like at each load."""
        generate = self.path(max_units)
        fleets = np.arange(1, max_units + 1)
        most = self._most_rps(fleets[-1] - generate[-1], generate[-1])
        at = RELATIVE * most
        rates = np.empty((max_units, LEVELS.size))
        parts = np.zeros((max_units, at.size, 3))
        times_s = np.full((max_units, at.size, 3, 2), np.nan)
        bindings = []
        moved = self._moved(generate)
        for i, units in enumerate(fleets.tolist()):
            pools = (units - int(generate[i]), int(generate[i]))
            rates[i] = rising(self._curve(pools) * moved[i])
            for r, load in enumerate((at * units / moved[i].mean()).tolist()):
                parts[i, r], times_s[i, r] = self._at(pools, load)
            bindings.append(self._binding(pools))
        return SizingTable(
            self.question, fleets, rates, np.broadcast_to(LEVELS, rates.shape).copy(), max_units,
            most, at, parts, times_s, tuple(bindings), Split.pair(generate.tolist()),
        )  # fmt: skip

    def _most_rps(self, read: int, generate: int) -> float:
        """What a unit completes at most where the pools are as these."""
        most = min(read * self.prefill.saturation_rps, generate * self.decode.saturation_rps)
        return float(most / (read + generate))

    def _curve(self, pools: tuple[int, int]) -> FloatArray:
        units = sum(pools)
        if not all(pools):
            return np.asarray(1e-12 * np.arange(1.0, LEVELS.size + 1), np.float64)
        loads = self.rates(units)
        share = np.maximum.accumulate(self.outside(*pools, loads))
        share = share + np.arange(share.size) * 1e-15
        return rising(np.interp(LEVELS, share, loads) / units)

    def _moved(self, generate: IntArray) -> FloatArray:
        """What fleets carry in trials of both pools over what their tables say, float64[U, levels]."""
        fleets = np.arange(1, generate.size + 1)
        tried = sorted({*range(2, min(EACH, generate.size) + 1), *(n for n in FLEETS if 2 <= n <= generate.size)})  # fmt: skip
        turns = [self._turn((n - int(generate[n - 1]), int(generate[n - 1]))) for n in tried]
        known = np.array([np.interp(fleets, tried, column) for column in np.transpose(turns)]).T
        at, heights = logit(np.array(TURN)), logit(LEVELS[:-1])
        inner = np.array([np.interp(heights, at, row) for row in known])
        return np.concatenate([inner, inner[:, -1:]], axis=1)

    def _turn(self, pools: tuple[int, int]) -> FloatArray:
        """The same at the shares of `TURN`, for one fleet."""
        units, slo = sum(pools), self.question.slo
        traffic = Traffic(self.question, self.lengths, units)

        def play(trace: RequestBatch, factor: FloatArray, fleet: int) -> Finished:
            return simulate_disaggregated(self.pair.profile, trace, pools)

        def trial(rate: float) -> Trial:
            return steady(play, slo, traffic, units, rate, STEADY_MOST)

        said, most = self._curve(pools), self._most_rps(*pools)
        tried = explored(trial, np.interp(TURN, LEVELS, said), STEADY_BELOW * most, MORE)
        calm = tried[0].rate_per_unit_rps
        windows = max(int(OVERLOAD_LEAST / (most * units * WINDOW_S)), 1)
        over = [
            overload(play, slo, traffic, units, (calm, factor * most), windows)
            for factor in OVERLOADS
        ]
        found = curve(tried, over, 0.0, most)
        return np.interp(TURN, LEVELS, found.rate_per_unit_rps) / np.interp(TURN, LEVELS, said)

    def _at(self, pools: tuple[int, int], load: float) -> tuple[FloatArray, FloatArray]:
        """Share outside each part and its percentiles at a load."""
        parts, times_s = np.zeros(3), np.full((3, 2), np.nan)
        for part, (pool, units) in enumerate(zip((self.prefill, self.decode), pools, strict=True)):
            parts[part] = 1.0
            if units:
                parts[part] = pool.parts_at(units, load)[part]
                times_s[part] = pool.percentiles_s(units, load)[part]
        return parts, times_s

    def _binding(self, pools: tuple[int, int]) -> Binding:
        """What breaks first: what the pool that breaks first says."""
        if not all(pools):
            return Binding.STABILITY
        above = np.array([1.05 * self.carried_rps(*pools)])
        late = float(self.prefill.violation_share(pools[0], above)[0])
        slow = float(self.decode.violation_share(pools[1], above)[0])
        if late > slow:
            found = self.prefill.binding(pools[0])
            return Binding.TTFT if found is Binding.STABILITY else found
        found = self.decode.binding(pools[1])
        return Binding.TPOT if found is Binding.STABILITY else found
