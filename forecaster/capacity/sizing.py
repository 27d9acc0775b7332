"""The unit calculator: fewest units that keep an SLO at a load, and what binds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from forecaster.capacity import classic, generative
from forecaster.capacity.generative import Load
from forecaster.capacity.tails import WEIGHTS, lengths
from forecaster.domain.demand import TokenMix
from forecaster.domain.errors import SettingError, SloInfeasibleError
from forecaster.domain.plan import Binding
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, Profile, UnitType
from forecaster.domain.service import Slo

MAX_UNITS = 4096
EMPTY_RPS = 1e-9


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be carried, on what, inside which SLO.

    Attributes
    ----------
    dispersion : float
        Index of dispersion of arrivals, 1 = Poisson.
    seen_rps : tuple of float
        Loads that the service sees, rising, each as likely as the next, requests/s: those for which
        a ladder of several types is to cost least; empty: all alike.
    """

    unit: UnitType
    slo: Slo
    mix: TokenMix
    dispersion: float = 1.0
    seen_rps: tuple[float, ...] = ()


def rounded(question: Question) -> Question:
    """The question with its moments rounded to two digits, so that equal ones share a table.

    Rounds up: a coarser mix is never lighter.
    """
    mix = question.mix
    moments = {name: _up(getattr(mix, name)) for name in mix.__dataclass_fields__}
    return replace(
        question, mix=replace(mix, **moments), dispersion=max(_up(question.dispersion), 0.1),
        seen_rps=tuple(map(_up, question.seen_rps)),
    )  # fmt: skip


def _up(value: float) -> float:
    if value <= 0 or not math.isfinite(value):
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit - 1e-9) * unit


@dataclass(frozen=True, slots=True)
class Sizing:
    """The answer of the unit calculator.

    Attributes
    ----------
    units : int
        Fewest units that keep the SLO.
    utilisation : float
        Share of a unit's capacity for work that the load uses, 0..1.
    attainment : float
        Predicted share of requests inside the SLO.
    ttft_s, tpot_s, latency_s : tuple of (float, float)
        Predicted (p50, p99), seconds; NaN where it has no meaning.
    binding : Binding
        The part that one unit fewer would break.
    reason : str
        One sentence for people.
    pools : mapping
        Of two pools: the units in each, by name.
    """

    units: int
    utilisation: float
    attainment: float
    ttft_s: tuple[float, float]
    tpot_s: tuple[float, float]
    latency_s: tuple[float, float]
    binding: Binding
    reason: str
    pools: Mapping[str, int] = field(default_factory=dict)


def violations(question: Question, rate_rps: float, units: int) -> dict[Binding, float]:
    """Share of requests outside each part of the SLO; {STABILITY: 1} for a queue without end."""
    profile, slo = question.unit.profile, question.slo
    load = Load(rate_rps / units, units, question.mix, question.dispersion)
    if isinstance(profile, ClassicProfile):
        return _classic_violations(profile, slo, load)
    if not generative.stable(profile, load):
        return {Binding.STABILITY: 1.0}
    parts: dict[Binding, float] = {}
    if slo.ttft_p99_s is not None:
        parts[Binding.TTFT] = float(
            generative.ttft_exceeds(profile, load, np.array([slo.ttft_p99_s]))[0]
        )
    if slo.tpot_p99_s is not None:
        parts[Binding.TPOT] = float(
            generative.tpot_exceeds(profile, load, np.array([slo.tpot_p99_s]))[0]
        )
    if slo.latency_p99_s is not None:
        parts[Binding.LATENCY] = _answer_exceeds(profile, load, slo.latency_p99_s)
    return parts


def _answer_exceeds(profile: GenerativeProfile, load: Load, latency_s: float) -> float:
    """P(whole answer > t): a long one has less time left for its first token, lengths averaged."""
    steps = np.maximum(lengths(load.mix.output_mean, load.mix.output_sq) - 1.0, 0.0)
    slack = latency_s - steps * generative.mean_state(profile, load).step_s
    late = np.where(slack > 0, generative.ttft_exceeds(profile, load, slack), 1.0)
    return float(WEIGHTS @ late)


def _classic_violations(profile: ClassicProfile, slo: Slo, load: Load) -> dict[Binding, float]:
    if not classic.stable(profile, load.rate_rps):
        return {Binding.STABILITY: 1.0}
    bound = slo.latency_p99_s if slo.latency_p99_s is not None else slo.ttft_p99_s
    if bound is None:
        return {}
    share = classic.latency_exceeds(
        profile, load.rate_rps, load.units, load.dispersion, np.array([bound])
    )
    return {Binding.LATENCY: float(share[0])}


def attainment(question: Question, rate_rps: float, units: int) -> float:
    """Share of requests inside every part of the SLO (union bound: never optimistic)."""
    return max(0.0, 1.0 - sum(violations(question, rate_rps, units).values()))


def check_feasible(question: Question) -> None:
    """Raise when one request alone on an idle unit already breaks the SLO.

    Raises
    ------
    SloInfeasibleError
        Naming the part, the target and what would be feasible.
    SettingError
        When the SLO has no part that applies.
    """
    slo, profile = question.slo, question.unit.profile
    check_slo(slo, profile)
    # of the parts together, the allowance goes to the one that needs it most
    for part, share in violations(question, EMPTY_RPS, 1).items():
        if share > 1 - slo.attainment:
            key = {Binding.TTFT: "ttft_p99_s", Binding.TPOT: "tpot_p99_s"}.get(
                part, "latency_p99_s"
            )
            target = getattr(slo, key)
            if target is None:
                key, target = "ttft_p99_s", slo.ttft_p99_s
            best = _quantile(question, EMPTY_RPS, 1, part, slo.attainment)
            raise SloInfeasibleError(key, float(target), best)


def check_slo(slo: Slo, profile: Profile) -> None:
    """Raise `SettingError` when no part of the SLO applies to the unit."""
    bounds = (slo.ttft_p99_s, slo.tpot_p99_s, slo.latency_p99_s)
    if all(bound is None for bound in bounds):
        raise SettingError("slo", "empty", "at least one bound", "set ttft_p99_s or latency_p99_s")
    if isinstance(profile, ClassicProfile) and slo.latency_p99_s is None and slo.ttft_p99_s is None:
        raise SettingError("slo", "tpot only", "a classic model has no TPOT", "set latency_p99_s")


def units_for(question: Question, rate_rps: float) -> int:
    """Fewest units that carry `rate_rps` inside the SLO, at least 1.

    Raises
    ------
    SloInfeasibleError
        When no number of units does.
    """
    check_feasible(question)
    if not np.isfinite(rate_rps) or rate_rps < 0:
        raise SettingError("rate", rate_rps, "a finite rate of 0 or more requests/s")
    if rate_rps <= EMPTY_RPS:
        return 1
    high = 1
    while attainment(question, rate_rps, high) < question.slo.attainment:
        high *= 2
        if high > MAX_UNITS:
            raise SettingError("rate", rate_rps, f"at most {MAX_UNITS} units", "use a larger unit")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if attainment(question, rate_rps, middle) >= question.slo.attainment:
            high = middle
        else:
            low = middle
    return high


@lru_cache(maxsize=4096)
def capacity_rps(question: Question, units: int) -> float:
    """Largest rate that `units` carry inside the SLO, requests/s (bisection to 0.1 %)."""
    target = question.slo.attainment
    low, high = _bracket(question, units)
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        if attainment(question, middle, units) >= target:
            low = middle
        else:
            high = middle
    return low


def _bracket(question: Question, units: int) -> tuple[float, float]:
    """Return a rate that `units` carry and one that they do not, starting from half the fleet's."""

    def carries(rate_rps: float) -> bool:
        return attainment(question, rate_rps, units) >= question.slo.attainment

    half = units // 2
    guess = capacity_rps(question, half) * units / half if half else 0.0
    low, high = guess * 0.99, guess * 1.03 if guess > 0 else 1.0
    if guess > 0 and not carries(low):
        low, high = 0.0, low
    while carries(high):
        low, high = high, high * (1.03 if guess > 0 else 2.0)
    return low, high


def size(question: Question, rate_rps: float) -> Sizing:
    """Answer the unit calculator's question, with predicted percentiles and the binding part.

    Raises
    ------
    SettingError
        For two pools or several types: no closed form tells what they carry.
    """
    if question.unit.pooled:
        said = "one pool of one type"
        raise SettingError("formula", question.unit.name, said, "size it on the kernel")
    units = units_for(question, rate_rps)
    rate = max(rate_rps, EMPTY_RPS)
    binding = binding_part(question, rate, units)
    generates = isinstance(question.unit.profile, GenerativeProfile)
    nan = (float("nan"), float("nan"))
    ttft = _percentiles(question, rate, units, Binding.TTFT) if generates else nan
    tpot = _percentiles(question, rate, units, Binding.TPOT) if generates else nan
    latency = nan if generates else _percentiles(question, rate, units, Binding.LATENCY)
    fewer = f"{units - 1} would break {binding.value}" if units > 1 else "one unit is the least"
    return Sizing(
        units=units,
        utilisation=utilisation(question, rate, units),
        attainment=attainment(question, rate, units),
        ttft_s=ttft,
        tpot_s=tpot,
        latency_s=latency,
        binding=binding,
        reason=f"{units} units keep {question.slo.attainment:.1%} of {rate_rps:g} requests/s inside the SLO; {fewer}",
    )


def binding_part(question: Question, rate_rps: float, units: int) -> Binding:
    """The part that one unit fewer breaks most; NONE for a single unit."""
    if units <= 1:
        return Binding.NONE
    profile = question.unit.profile
    parts = violations(question, rate_rps, units - 1)
    worst = max(parts, key=lambda part: parts[part])
    if worst is not Binding.STABILITY or isinstance(profile, ClassicProfile):
        return worst
    state = generative.mean_state(profile, Load(rate_rps / (units - 1), units - 1, question.mix))
    if state.rho >= 1:
        return Binding.STABILITY
    return Binding.KV if state.kv_bound else Binding.BATCH


def utilisation(question: Question, rate_rps: float, units: int) -> float:
    """Share of the units' capacity for work that the load uses, 0..1."""
    profile = question.unit.profile
    per_unit = rate_rps / units
    if isinstance(profile, ClassicProfile):
        return min(1.0, classic.utilisation(profile, per_unit))
    load = Load(per_unit, units, question.mix)
    state = generative.mean_state(profile, load)
    busy, _ = generative.slot_load(profile, load, state)
    return min(1.0, max(state.rho, busy / (units * state.slots)))


def _percentiles(
    question: Question, rate_rps: float, units: int, part: Binding
) -> tuple[float, float]:
    return (
        _quantile(question, rate_rps, units, part, 0.5),
        _quantile(question, rate_rps, units, part, 0.99),
    )


def _quantile(
    question: Question, rate_rps: float, units: int, part: Binding, level: float
) -> float:
    """Smallest t with P(part > t) <= 1 - level, by bisection on the tail formula, seconds."""
    profile = question.unit.profile
    load = Load(rate_rps / units, units, question.mix, question.dispersion)

    def exceeds(t: float) -> float:
        at = np.array([t])
        if isinstance(profile, ClassicProfile):
            return float(
                classic.latency_exceeds(profile, load.rate_rps, units, load.dispersion, at)[0]
            )
        if part is Binding.TPOT:
            return float(generative.tpot_exceeds(profile, load, at)[0])
        if part is Binding.LATENCY:
            return _answer_exceeds(profile, load, t)
        return float(generative.ttft_exceeds(profile, load, at)[0])

    low, high = 0.0, 1e-3
    while exceeds(high) > 1 - level and high < 1e6:
        low, high = high, high * 2
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        if exceeds(middle) > 1 - level:
            low = middle
        else:
            high = middle
    return high


def too_few(units: int, name: str, p99_s: float, bound_s: float | None, share: float) -> str:
    """What so few units would do to the part of the SLO called `name`, one clause."""
    if bound_s is not None and p99_s > bound_s:
        return f"with {units} the p99 {name} would be {p99_s:.3g} s, SLO {bound_s:g} s"
    return f"with {units} {share:.2%} of them would be outside, most by their {name}"
