"""What a policy may see, and the facts that judge it: loads on a minute grid, the tier, the lead."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from forecaster.capacity.tables import SizingTable
from forecaster.demand import bin_requests, dispersion, merge_all, request_work_s
from forecaster.demand.gaps import missing_slots
from forecaster.domain.demand import FloatArray, IntArray, RequestBatch, TokenMix
from forecaster.domain.errors import DataError, SettingError
from forecaster.domain.profile import UnitType
from forecaster.domain.service import CalendarSpec, Limits
from forecaster.replay.timeline import Timeline, timeline
from forecaster.replay.trace import Trace

TICK_S = 60.0
SLOT_S = 300.0
FINE_S = 10.0
DAY_S = 86_400.0
MIX_DAYS = 7.0
"""Token lengths of this many days before the scored window make the sizing table."""
LENGTHS_MOST = 50_000
SCORE_P90 = 1.2815515655446004
"""Normal score of the 90th percentile."""
LEAD_DICE = 0x1EAD


@dataclass(frozen=True)
class Loads:
    """Offered load of a trace in busy units, on the grid of 10 s.

    Attributes
    ----------
    start_s : float
        A whole slot, epoch seconds.
    fine_erl : float64[F]
        Offered load per 10 s: busy seconds of a well-filled unit that arrive each second.
    arrivals : float64[F]
        Requests per 10 s.
    """

    start_s: float
    fine_erl: FloatArray
    arrivals: FloatArray

    @cached_property
    def minute_erl(self) -> FloatArray:
        """Offered load per minute, float64[M]."""
        return np.asarray(self.fine_erl.reshape(-1, round(TICK_S / FINE_S)).mean(axis=1))

    @cached_property
    def slot_erl(self) -> FloatArray:
        """Offered load per slot of five minutes, float64[S]; NaN where the log was silent."""
        return self.known(self.fine_erl.size)

    def known(self, slots: int) -> FloatArray:
        """Offered load of the first slots as it was known at their end: silence by their own habit."""
        per_slot = round(SLOT_S / FINE_S)
        fine = slice(0, slots * per_slot)
        load = self.fine_erl[fine].reshape(-1, per_slot).mean(axis=1)
        arrivals = self.arrivals[fine].reshape(-1, per_slot).sum(axis=1)
        return np.where(missing_slots(arrivals, self.start_s, SLOT_S), np.nan, load)


@dataclass(frozen=True)
class Sight:
    """What a rule plays on: loads, the scored window, and what units carry.

    Attributes
    ----------
    loads : Loads
        From the beginning on; a policy at tick t sees what lies before t.
    first : int
        First scored minute.
    ticks : int
        Scored minutes.
    work_s : float
        Mean work of one request before the scored window: the table's rates are loads / work_s.
    lead_s : float
        From the order to a unit that answers: what nine starts in ten keep, and what is planned for.
    lead_sigma : float
        Standard deviation of the logarithm of leads; 0: every start takes `lead_s`.
    seed : int
        Of the leads.
    """

    loads: Loads
    first: int
    ticks: int
    table: SizingTable
    work_s: float
    lead_s: float
    limits: Limits
    lead_sigma: float = 0.0
    seed: int = 0

    @cached_property
    def leads_s(self) -> FloatArray:
        """How long a start takes that is ordered at each scored minute, float64[ticks].

        The same for every policy: lognormal, nine in ten take `lead_s` or less.
        """
        score = np.random.default_rng([self.seed, LEAD_DICE]).standard_normal(self.ticks)
        return np.asarray(self.lead_s * np.exp(self.lead_sigma * (score - SCORE_P90)))

    @property
    def lead_p50_s(self) -> float:
        """Median of the leads."""
        return float(self.lead_s * np.exp(-self.lead_sigma * SCORE_P90))

    def carried_out(self, wanted: IntArray) -> Timeline:
        """The fleet that follows from orders, from the first scored minute on."""
        return timeline(wanted, self.start_s, TICK_S, self.leads_s[: wanted.size])

    @property
    def start_s(self) -> float:
        """First scored moment, epoch seconds."""
        return self.loads.start_s + self.first * TICK_S

    @property
    def end_s(self) -> float:
        """End of the scored window, epoch seconds."""
        return self.start_s + self.ticks * TICK_S

    @property
    def lead_ticks(self) -> int:
        """Ticks from an order to a ready unit."""
        return int(np.ceil(self.lead_s / TICK_S - 1e-9))

    @property
    def actual_erl(self) -> FloatArray:
        """Offered load of each scored minute, float64[ticks]."""
        return self.loads.minute_erl[self.first : self.first + self.ticks]

    def need(self, load_erl: FloatArray) -> IntArray:
        """Units that a load needs, inside the limits; NaN needs the least.

        Beyond the largest fleet of the table each unit carries what that fleet's units do.
        """
        carried = self.capacities_rps
        rate = np.nan_to_num(load_erl) / self.work_s
        wanted = np.searchsorted(carried, rate * (1 - 1e-9)) + 1
        more = np.ceil(rate / (carried[-1] / carried.size) - 1e-9).astype(np.int64)
        return self.within(np.where(wanted > carried.size, more, wanted))

    @cached_property
    def capacities_rps(self) -> FloatArray:
        """Rates that 1, 2, ... units carry, as far as the table reaches."""
        return self.table.capacities()

    def within(self, units: IntArray) -> IntArray:
        """Units rounded up to the purchase step and held inside the limits."""
        step = self.limits.step_units
        stepped = -(-units // step) * step
        return np.asarray(np.clip(stepped, self.limits.min_units, self.limits.max_units), np.int64)


@dataclass(frozen=True)
class Scene(Sight):
    """One replay's world: what is seen, the trace that judges it, and the unit.

    Attributes
    ----------
    elasticity : float
        Of Tidegate's plans, 0..1; the rivals have none.
    """

    trace: Trace = field(kw_only=True)
    unit: UnitType = field(kw_only=True)
    calendar: CalendarSpec = field(kw_only=True)
    elasticity: float = 1.0


def measure_loads(trace: Trace, unit: UnitType, most_work_s: float = np.inf) -> Loads:
    """Bin the whole trace; memory is that of one piece. A request counts `most_work_s` at most."""
    start_s, slots = grid_of(trace)
    bins = slots * round(SLOT_S / FINE_S)
    work, arrivals = np.zeros(bins), np.zeros(bins)
    for piece in trace.unsorted(-np.inf, np.inf):
        at = np.clip(((piece.arrival_s - start_s) / FINE_S).astype(np.int64), 0, bins - 1)
        each = request_work_s(piece.prompt_tokens, piece.output_tokens, unit.profile)
        each = np.minimum(each, most_work_s)
        work += np.bincount(at, each, minlength=bins)
        arrivals += np.bincount(at, minlength=bins)
    return Loads(start_s, work / FINE_S, arrivals)


def grid_of(trace: Trace) -> tuple[float, int]:
    """Start of the grid, epoch seconds, and its number of slots: every copy of every request in it."""
    start_s = float(np.floor((trace.from_s - trace.jitter_s) / SLOT_S) * SLOT_S)
    return start_s, int(np.floor((trace.to_s + trace.jitter_s - start_s) / SLOT_S)) + 1


def scored_window(trace: Trace, days: float) -> tuple[int, int, float]:
    """First minute, number of minutes and start of the last `days` of whole slots.

    Raises
    ------
    SettingError
        When `days` is not above 0.
    DataError
        When nothing is left to score.
    """
    if not 0 < days < np.inf:
        raise SettingError("days", days, "above 0", "score the last 3 days")
    start_s, slots = grid_of(trace)
    whole = slots - 1  # the last one is cut by the end
    scored = min(max(round(days * DAY_S / SLOT_S), 1), whole)
    if scored < 1:
        raise DataError("the log is shorter than one slot of five minutes", "replay a longer log")
    per_slot = round(SLOT_S / TICK_S)
    first = (whole - scored) * per_slot
    return first, scored * per_slot, start_s + first * TICK_S


def training_rows(trace: Trace, until_s: float) -> slice:
    """Rows of the log that describe the traffic before `until_s`: its last week, or its first hour."""
    times = trace.log.arrival_s
    low, high = np.searchsorted(times, (until_s - MIX_DAYS * DAY_S, until_s))
    if high - low < 100:
        return slice(0, max(int(np.searchsorted(times, times[0] + 3600)), 1))
    return slice(int(low), int(high))


def lengths_of(trace: Trace, rows: slice) -> tuple[IntArray, IntArray]:
    """Token lengths of these rows, thinned evenly."""
    thin = max((rows.stop - rows.start) // LENGTHS_MOST, 1)
    kept = slice(rows.start, rows.stop, thin)
    return trace.log.prompt_tokens[kept], trace.log.output_tokens[kept]


def mix_of(lengths: tuple[IntArray, IntArray]) -> TokenMix:
    """Token moments of the lengths."""
    p, n = (each.astype(np.float64) for each in lengths)
    return TokenMix(
        float(p.mean()), float(n.mean()), float((p * p).mean()), float((n * n).mean()),
        float((p * n).mean()),
    )  # fmt: skip


def dispersion_of(trace: Trace, until_s: float) -> float:
    """Index of dispersion over 10 s of the day before `until_s`, 1 or more."""
    sums = merge_all(
        bin_requests(chunk) for chunk in trace.chunks(max(until_s - DAY_S, trace.from_s), until_s)
    )
    return max(dispersion(sums), 1.0) if sums.start_s.size else 1.0


def sorted_log(log: RequestBatch) -> RequestBatch:
    """The log in order of arrival."""
    return log.take(np.argsort(log.arrival_s, kind="stable"))
