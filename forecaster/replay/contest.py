"""The contest: the same trace, tier and target for every policy, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from forecaster.capacity.sizing import Question
from forecaster.capacity.tables import SizingTable
from forecaster.demand import request_work_s
from forecaster.domain.demand import FloatArray, IntArray, RequestBatch
from forecaster.domain.errors import SettingError
from forecaster.domain.profile import UnitType
from forecaster.domain.service import CalendarSpec, Limits, Slo
from forecaster.replay import rules
from forecaster.replay.autopilot import Autopilot, record
from forecaster.replay.burn_in import learnt, requests_per_minute
from forecaster.replay.live import steered
from forecaster.replay.match import HOPELESS, Matched, foreseen, match, money, unit_seconds
from forecaster.replay.mean_planner import mean_planner
from forecaster.replay.scene import (
    Scene,
    dispersion_of,
    lengths_of,
    measure_loads,
    mix_of,
    scored_window,
    training_rows,
)
from forecaster.replay.scorecard import Score, judge
from forecaster.replay.timeline import Timeline
from forecaster.replay.trace import Trace

POLICIES = (
    "static-peak",
    "last-value",
    "smoothed",
    "seasonal-naive",
    "hpa",
    "knative",
    "mean-planner",
    "tidegate",
    "tide-clairvoyant",
    "clairvoyant",
)
HALF_LIVES_S = (300.0, 600.0, 1200.0, 2400.0, 3600.0)
HOLDS_S = (0.0, 600.0, 1800.0, 3600.0)
KNOBS = (0.2, 20.0)
"""Range of a rule's factor on the load."""
USUAL = 0.98
"""Work beyond this quantile of the requests counts as at it: giants come by chance, one at a time,
and load a unit, not the fleet. As a measure of the tide their work is noise."""
_KEEP_ROWS = 30_000_000
"""A scored window up to this many requests is kept in memory between runs of the kernel."""

Lengths = tuple[IntArray, IntArray]
TableOf = Callable[[Question, int, Lengths], SizingTable]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Terms:
    """What is replayed.

    Attributes
    ----------
    days : float
        Length of the scored window, the end of the log; what lies before is for training.
    lead_s : float
        From order to readiness: what nine starts in ten keep.
    lead_sigma : float
        Standard deviation of the logarithm of leads; 0: every start takes `lead_s`.
    """

    unit: UnitType
    slo: Slo
    lead_s: float
    days: float = 3.0
    limits: Limits = field(default_factory=lambda: Limits(1, 4096, 1))
    calendar: CalendarSpec = field(default_factory=CalendarSpec)
    elasticity: float = 1.0
    seed: int = 0
    lead_sigma: float = 0.0


@dataclass(frozen=True)
class Entry:
    """One policy's result."""

    name: str
    knob: float
    settings: dict[str, Any]
    fleet: Timeline
    score: Score
    reached: bool
    unit_s: float
    cost: float

    def to_dict(self, peak_s: float, clairvoyant_s: float, tide_s: float) -> dict[str, Any]:
        """What JSON says; ratios are NaN where their base was not played."""
        score = self.score
        return {
            "unit_hours": self.unit_s / 3600,
            "ready_hours": self.fleet.ready_s / 3600,
            "warming_hours": self.fleet.warming_s / 3600,
            "draining_hours": score.draining_s / 3600,
            "attainment": score.attainment,
            "reached": self.reached,
            "violation_minutes": score.violation_minutes,
            "ttft_s": score.ttft_s,
            "tpot_s": score.tpot_s,
            "latency_s": score.latency_s,
            "actions": self.fleet.actions,
            "units_moved": self.fleet.moved,
            "cost": self.cost,
            "vs_static_peak": self.unit_s / peak_s,
            "vs_clairvoyant": self.unit_s / clairvoyant_s,
            "vs_tide_clairvoyant": self.unit_s / tide_s,
            "knob": self.knob,
            **self.settings,
        }


@dataclass(frozen=True)
class Contest:
    """Every policy's result on one trace.

    Attributes
    ----------
    entries : dict of str to Entry
        By policy, in the order of `POLICIES`.
    untuned : Entry or None
        Tidegate as it would have run live, aiming at the target without hindsight.
    """

    scene: Scene
    entries: dict[str, Entry]
    untuned: Entry | None

    def to_dict(self) -> dict[str, Any]:
        """What JSON says."""
        bases = [self._base(n) for n in ("static-peak", "clairvoyant", "tide-clairvoyant")]
        policies = {name: entry.to_dict(*bases) for name, entry in self.entries.items()}
        if self.untuned is not None:
            policies["tidegate"]["untuned"] = self.untuned.to_dict(*bases)
        return {
            "from_s": self.scene.start_s,
            "to_s": self.scene.end_s,
            "lead_s": self.scene.lead_s,
            "lead_p50_s": self.scene.lead_p50_s,
            "requests": int(self.scene_requests),
            "target": self.scene.table.question.slo.attainment,
            "policies": policies,
        }

    @property
    def scene_requests(self) -> int:
        """Requests of the scored window."""
        first = next(iter(self.entries.values()))
        return first.score.requests

    def _base(self, name: str) -> float:
        entry = self.entries.get(name)
        return entry.unit_s if entry is not None else float("nan")


def check_policies(names: Sequence[str]) -> tuple[str, ...]:
    """The known names, in the order of `POLICIES`.

    Raises
    ------
    SettingError
        For an unknown one.
    """
    for name in names:
        if name not in POLICIES:
            raise SettingError("--policies", name, f"among {', '.join(POLICIES)}", "check the name")
    return tuple(name for name in POLICIES if name in names)


def set_scene(trace: Trace, terms: Terms, table_of: TableOf) -> Scene:
    """Measure the trace and size the tier on what lies before the scored window."""
    first, ticks, start_s = scored_window(trace, terms.days)
    lengths = lengths_of(trace, training_rows(trace, start_s))
    work_s = request_work_s(*lengths, terms.unit.profile)
    usual_s = float(np.quantile(work_s, USUAL))
    loads = measure_loads(trace, terms.unit, usual_s)
    question = Question(
        terms.unit, terms.slo, mix_of(lengths), round(dispersion_of(trace, start_s), 2)
    )
    if terms.unit.mixed is not None and first:
        seen = np.quantile(loads.minute_erl[:first] / work_s.mean(), np.linspace(0, 1, 11))
        question = replace(question, seen_rps=tuple(seen.tolist()))
    busiest = float(loads.minute_erl.max())
    if terms.unit.mixed is not None:  # in units of the slowest of the types
        slowest = max(
            request_work_s(*lengths, each.profile).mean() for each in terms.unit.mixed.types
        )
        busiest *= float(slowest / work_s.mean())
    units = int(np.clip(np.ceil(busiest * 4) + 8, 16, terms.limits.max_units))
    table = table_of(question, units, lengths)
    mean_s = float(np.minimum(work_s, usual_s).mean())
    scene = Scene(
        loads, first, ticks, table, mean_s, terms.lead_s,
        terms.limits.at_least(table.split.least_units).at_most(table.split.most_units),
        terms.lead_sigma, terms.seed,
        trace=trace, unit=terms.unit, calendar=terms.calendar,
        elasticity=terms.elasticity,
    )  # fmt: skip
    return learnt(scene, lambda past, fleet: Court(past, terms).candidate(fleet))


class Court:
    """Runs policies on one scene; keeps what they share."""

    def __init__(self, scene: Scene, terms: Terms, progress: Progress = lambda name, share: None):
        self.scene, self.terms, self.progress = scene, terms, progress
        self._kept: list[RequestBatch] | None = None
        self.minute_requests: FloatArray = requests_per_minute(scene)
        self._autopilot: Autopilot | None = None

    def play(self, names: Sequence[str], untuned: bool = True) -> Contest:
        """Play the policies, one after the other."""
        entries: dict[str, Entry] = {}
        names = check_policies(names)
        live = None
        with threadpool_limits(
            limits=1
        ):  # many small products: threads would only wait for each other
            for i, name in enumerate(names):
                self.progress(name, i / len(names))
                entries[name] = self._entry(name)
            if untuned and "tidegate" in names:
                self.progress("tidegate, untuned", (len(names) - 0.5) / len(names))
                live = self.untuned()
        self.progress("done", 1.0)
        return Contest(self.scene, entries, live)

    def untuned(self) -> Entry:
        """Tidegate without hindsight: its price of a violation, steered by its own attainment."""
        fleet = steered(self.autopilot, self.chunks(), self.terms.seed)
        score = self.judge(fleet)
        reached = score.attainment >= self.terms.slo.attainment
        return self.priced("tidegate", 1.0, {}, Matched(1.0, fleet, score, reached, 2))

    @property
    def autopilot(self) -> Autopilot:
        """Forecasts and risks, made once."""
        if self._autopilot is None:
            self._autopilot = Autopilot(self.scene, record(self.scene))
        return self._autopilot

    def judge(self, fleet: Timeline, hopeless: float = np.inf) -> Score:
        """The kernel's verdict."""
        return judge(
            self.chunks(),
            self.scene.unit,
            self.terms.slo,
            fleet,
            self.terms.seed,
            hopeless,
            self.scene.table.split,
        )

    def candidate(self, fleet: Timeline) -> Score:
        """The verdict on a fleet that is only tried: given up once it is hopeless."""
        allowed = (1 - self.terms.slo.attainment) * float(self.minute_requests.sum())
        return self.judge(fleet, max(HOPELESS * allowed, 100.0))

    def chunks(self) -> Iterable[RequestBatch]:
        """The scored window's requests."""
        chunks = self.scene.trace.chunks(self.scene.start_s, self.scene.end_s)
        if self.minute_requests.sum() > _KEEP_ROWS:
            return chunks
        if self._kept is None:
            self._kept = list(chunks)
        return self._kept

    def _entry(self, name: str) -> Entry:
        scene = self.scene
        settings: dict[str, Any] = {}
        units: Callable[[float], IntArray]
        if name == "tidegate":
            units = self.autopilot.units
        elif name == "smoothed":
            half_life_s, hold_s = self._tuned()
            settings = {"half_life_s": half_life_s, "hold_s": hold_s}
            units = partial(_smoothed, scene, half_life_s, hold_s)
        elif name == "mean-planner":
            units, settings = mean_planner(scene, self._foreseen_cost)
        else:
            units = partial(getattr(rules, name.replace("-", "_")), scene)
        found = match(units, KNOBS, scene, self.minute_requests, self.candidate)
        return self.priced(name, found.knob, settings, found)

    def _tuned(self) -> tuple[float, float]:
        """Half-life and hold of the smoothed last value that cost least, in hindsight."""
        found = {
            (half, hold): self._foreseen_cost(partial(_smoothed, self.scene, half, hold))
            for half in HALF_LIVES_S
            for hold in HOLDS_S
        }
        return min(found, key=lambda key: found[key])

    def _foreseen_cost(self, units: Callable[[float], IntArray]) -> float:
        """Unit-seconds at the knob that keeps the target, by the table alone."""
        fleet = foreseen(units, KNOBS, self.scene, self.minute_requests)
        return fleet.ready_s + fleet.warming_s

    def priced(self, name: str, knob: float, settings: dict[str, Any], found: Matched) -> Entry:
        """An entry with what it cost."""
        unit_s = unit_seconds(found.fleet, found.score)
        return Entry(
            name, knob, settings, found.fleet, found.score, found.reached, unit_s,
            money(self.scene, found.fleet, found.score),
        )  # fmt: skip


def _smoothed(scene: Scene, half_life_s: float, hold_s: float, knob: float) -> IntArray:
    return rules.smoothed(scene, knob, half_life_s, hold_s)
