"""What the units of one service carry: the sizing table in force, as far as it is believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, replace
from typing import Any

import numpy as np

from forecaster.capacity.belief import Belief, learn
from forecaster.capacity.sizing import Question, rounded
from forecaster.capacity.sizing_table import SizingTable, corrected
from forecaster.demand import offered_work_s
from forecaster.domain.demand import FloatArray, TokenMix
from forecaster.domain.pools import Split
from forecaster.domain.profile import UnitType
from forecaster.domain.service import Service
from forecaster.planning.layers import violation_price_s
from forecaster.planning.price import verified_price_s
from forecaster.planning.risk import expected_outside_rps, tabulate
from forecaster.planning.tide import Capacity
from forecaster.seasonal.calibration import LEVELS

MOVED = 0.1
"""A moment of the mix that moved by more than this share is another mix."""
OTHER = 1.4
"""Where quiet, usual or busy loads are so many times more or less, a ladder of several types is made anew."""
DIGITS = 50
"""The belief is acted on in steps of 1 / this: tables are not tabulated anew for less."""
GRID_LOW, GRID_HIGH = 0.01, 1.5
"""Loads of the grid, over what one unit and what all carry."""
SPARE = 1.3
"""Units that a plan may think of, over what twice the highest load needs."""

Tables = Callable[[str, Question, int], SizingTable | None]
"""The table of a service and question for so many units; None while it is being built."""


class Carrying:
    """Table, belief and grid of one service.

    Parameters
    ----------
    service, unit : Service, UnitType
        Whose units.
    tables : callable
        Where tables come from.
    belief : Belief
        What is believed of the table at first.

    Attributes
    ----------
    table : SizingTable or None
        As built, without the belief; None before the first is there.
    """

    def __init__(self, service: Service, unit: UnitType, tables: Tables, belief: Belief) -> None:
        self.service, self.unit, self.tables, self.belief = service, unit, tables, belief
        self.table: SizingTable | None = None
        self._asked: Question | None = None
        self._before: Question | None = None
        self._first: Question | None = None
        self._made: tuple[SizingTable, float, int, Capacity] | None = None

    @property
    def work_s(self) -> float:
        """Busy seconds of one request of the table's mix; 1 where requests are all that is known."""
        assert self.table is not None
        return offered_work_s(self.table.question.mix, self.unit.profile) or 1.0

    @property
    def split(self) -> Split:
        """How units fall into pools, as far as it is known."""
        if self.table is not None:
            return self.table.split
        return self.unit.start_split(self.service.limits.max_units)

    @property
    def asked(self) -> dict[str, object] | None:
        """Mix and dispersion of the table in force, as plain values; None before the first."""
        if self._asked is None:
            return None
        asked: dict[str, object] = {
            "mix": asdict(self._asked.mix),
            "dispersion": self._asked.dispersion,
        }
        if self._asked.seen_rps:
            asked["seen_rps"] = list(self._asked.seen_rps)
        return asked

    def go_on(self, asked: dict[str, Any] | None) -> None:
        """Take the table that was in force before a restart, see `asked`; it serves while it may."""
        if asked is not None:
            mix = TokenMix(**asked["mix"])
            seen_rps = tuple(float(each) for each in asked.get("seen_rps") or ())
            self._before = Question(
                self.unit, self.service.slo, mix, float(asked["dispersion"]), seen_rps
            )

    def follow(self, mix: TokenMix, dispersion: float, seen_erl: Sequence[float] = ()) -> None:
        """Take the table of this mix, as soon as there is one; the present one serves until then.

        Parameters
        ----------
        seen_erl : sequence of float
            Loads that are foreseen, rising, each as likely, busy units; what a ladder of several types is for.

        Raises
        ------
        SloInfeasibleError
            When no number of units keeps the SLO.
        """
        asked = Question(self.unit, self.service.slo, mix, max(dispersion, 1.0))
        if self.unit.mixed is not None:
            work_s = offered_work_s(mix, self.unit.profile) or 1.0
            asked = replace(asked, seen_rps=tuple(load / work_s for load in seen_erl))
        if self._before is not None and not moved(self._before, asked):
            asked = self._before
        self._before = None
        if self._asked is not None and not moved(self._asked, asked):
            return
        found = self._find(asked)
        if found is None and self.table is None:
            # a young service's mix moves from one plan to the next: the first table that is there is better than none
            if self._first is None:
                self._first = asked
            asked = self._first
            found = self._find(asked)
        if found is not None:
            self.table, self._asked, self._first = found, asked, None

    def _find(self, asked: Question) -> SizingTable | None:
        return self.tables(self.service.name, rounded(asked), self.service.limits.max_units)

    @property
    def _factor(self) -> float:
        return round(self.belief.factor * DIGITS) / DIGITS

    def believed(self) -> SizingTable | None:
        """The table at the capacity that is believed; None without one."""
        return None if self.table is None else corrected(self.table, self._factor)

    def capacity(self, most_erl: float, least_units: int = 1) -> Capacity | None:
        """What the planner may count on for loads up to `most_erl`; None without a table."""
        table, curve = self.table, self.believed()
        if table is None or curve is None:
            return None
        limit = self.service.limits.max_units
        needed = int(curve.need(np.array(2 * most_erl / self.work_s), clipped=True))
        units = min(limit, max(2 ** math.ceil(math.log2(SPARE * needed + 4)), least_units))
        made = self._made
        if made is None or made[0] is not table or made[1:3] != (self._factor, units):
            low = GRID_LOW * curve.capacity_rps(curve.split.least_units)
            high = GRID_HIGH * max(curve.capacity_rps(units), 2 * low)
            bindings = tuple(curve.binding(n) for n in range(1, units + 1))
            grid = tabulate(curve, low, high, units)
            carried_erl = self.work_s * np.concatenate([[0.0], curve.capacities(units)])
            capacity = Capacity(
                grid, bindings, self.work_s, self.split, carried_erl,
                self.unit.step_prices(self.split),
            )  # fmt: skip
            self._made = made = (table, self._factor, units, capacity)
        return made[3]

    @property
    def version(self) -> str:
        """Names what `capacity` returned: table, belief and units; the same after a restart."""
        if self._made is None:
            return ""
        table, factor, units, _ = self._made
        asked = table.question
        return f"{astuple(asked.mix)} {asked.dispersion:g} {factor:g} {units}"

    def learn(
        self, units: int, load_erl: float, requests: float, outside: float, seconds: float
    ) -> None:
        """Hold the table to a stretch of time in which `units` were ready."""
        if self.table is not None:
            rate_rps = load_erl / self.work_s
            self.belief = learn(
                self.belief, self.table, units, rate_rps, requests, outside, seconds
            )


def price_s(
    capacity: Capacity,
    rehearsal: tuple[FloatArray, FloatArray],
    coming_erl: FloatArray,
    allowed: float,
    day: int,
    step: int,
) -> float:
    """Unit-seconds a request outside is worth: by verified forecasts, else by the coming ones.

    Parameters
    ----------
    rehearsal : (float64[K, Q], float64[K])
        Loads foreseen at the lead and loads that came, erlangs.
    coming_erl : float64[H, Q]
        Forecast loads, erlangs: without a verified one they are taken at their word.
    allowed : float
        1 - attainment target.
    day : int
        Slots of a day.
    """
    foreseen_erl, happened_erl = rehearsal
    if happened_erl.size:
        rate = happened_erl / capacity.work_s
        foreseen, _ = expected_outside_rps(foreseen_erl / capacity.work_s, LEVELS, capacity.grid)
        return verified_price_s(
            foreseen, capacity.grid.at(rate), rate, allowed, day, step, capacity.prices
        )
    ahead, mean = expected_outside_rps(coming_erl[:day] / capacity.work_s, LEVELS, capacity.grid)
    return violation_price_s(ahead, ahead, mean, allowed, step, capacity.prices)


def moved(before: Question, now: Question) -> bool:
    """Whether mix or dispersion are others than those that a table was built for."""
    return _outgrown(before.seen_rps, now.seen_rps) or any(
        abs(new - old) > share * abs(old)
        for (old, share), (new, _) in zip(_moments(before), _moments(now), strict=True)
    )


def _outgrown(before: tuple[float, ...], now: tuple[float, ...]) -> bool:
    """Whether others than the loads are seen for which a ladder was made."""
    if len(before) != len(now):
        return True
    return any(
        not 1 / OTHER <= (new + 1e-12) / (old + 1e-12) <= OTHER
        for old, new in zip(before[2::4], now[2::4], strict=True)
    )


def _moments(question: Question) -> list[tuple[float, float]]:
    """What makes a table another one, and the share by which it may move."""
    mix = question.mix
    return [
        (mix.prompt_mean, MOVED), (mix.output_mean, MOVED),
        (mix.prompt_sq, 2 * MOVED), (mix.output_sq, 2 * MOVED), (mix.prompt_output, 2 * MOVED),
        (question.dispersion, 3 * MOVED),
    ]  # fmt: skip
