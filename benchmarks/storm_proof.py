"""What was promised, held against the tier's own record after a storm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import orjson
from psycopg.conninfo import make_conninfo

from actuators.onnx_tier.client import OnnxTierActuator
from actuators.onnx_tier.order_log import HeardOrder
from benchmarks.storm_world import CALM, World
from forecaster.daemon.accounts import paid_since
from forecaster.daemon.observer import Observer
from forecaster.daemon.pilot import Pilot
from forecaster.daemon.spool import Spool
from forecaster.domain.lifecycle import WARMING_STATES, UnitState
from forecaster.domain.money import Tariff
from forecaster.domain.service import Service, Slo
from forecaster.domain.units import Fleet, UnitEvent, UnitView
from forecaster.planning.ledger import lives
from forecaster.store import Store
from forecaster.store.rows import DecisionRow
from forecaster.wiring import sizer
from forecaster.wiring.running import SETTLE_REAL_S, unit_types

TAKE_OVER_S = 10.0
FAR_S = 4e9
NEAR = 1e-3
"""Share by which rates may differ that were learnt on different days."""


class Beat(NamedTuple):
    """One beat of a leader, on the database's clock, which is this machine's."""

    at_s: float
    number: int
    holder: str


@dataclass(frozen=True, slots=True)
class Record:
    """What the tier says of itself."""

    orders: list[HeardOrder]
    events: list[UnitEvent]
    requests: list[Any]


def prove(
    found: World, tier: OnnxTierActuator, beats: Sequence[Beat], fresh_s: float
) -> dict[str, Any]:
    """Figures, and under `wrong` every promise that was not kept."""
    record = record_of(tier)
    gaps = leaderless_s(beats, found.able)
    with Store.open(found.server.dsn) as store, Store.open(calm_dsn(found)) as calm:
        Observer(calm, tier).observe()
        names = [each.name for each in found.settings.service]
        journal = {name: _journal(store, name) for name in names}
        wrong = [
            *_lost(store, calm, record, journal),
            *(
                text for rows in journal.values()
                for row, exact in after_the_storm(rows, fresh_s)
                for text in same_plan(found, calm, tier, record, row, exact=exact)
            ),
        ]  # fmt: skip
    carried = [order for order in record.orders if order.units and not order.refused]
    said = [row for rows in journal.values() for row in rows if row.ordered]
    heard = {order.order_key for order in record.orders}
    return {
        "leaders": beats[-1].number if beats else 0,
        "take_over_s": {
            "median": round(float(np.median(gaps)), 2), "p99": round(float(np.quantile(gaps, 0.99)), 2),
            "max": round(max(gaps), 2),
        } if gaps else {},
        "orders_carried_out": len(carried),
        "orders_refused": sum(bool(order.refused) for order in record.orders),
        "orders_cut_short": sum(_key(row) not in heard for row in said),
        "unit_events": len(record.events), "requests_logged": len(record.requests),
        "plans": sum(row.inputs["kind"] == "plan" for rows in journal.values() for row in rows),
        "slow": [f"{gap:.1f} s without a leader" for gap in gaps if gap > TAKE_OVER_S],
        "wrong": wrong,
    }  # fmt: skip


def lost(found: World, tier: OnnxTierActuator) -> list[str]:
    """What of the tier's own record is lost, doubled or changed in the database."""
    record = record_of(tier)
    with Store.open(found.server.dsn) as store, Store.open(calm_dsn(found)) as calm:
        Observer(calm, tier).observe()
        journal = {each.name: _journal(store, each.name) for each in found.settings.service}
        return _lost(store, calm, record, journal)


def _lost(
    store: Store, calm: Store, record: Record, journal: dict[str, list[DecisionRow]]
) -> list[str]:
    return [
        *one_leader(record.orders),
        *once(record, journal),
        *(text for name in journal for text in same_log(store, calm, record, name)),
        *(text for name in journal for text in same_bill(store, record, name)),
    ]


def record_of(tier: OnnxTierActuator) -> Record:
    """Everything that the tier remembers."""
    return Record(_all(tier.orders_after), _all(tier.events_after), _all(tier.requests_after))


def leaderless_s(beats: Sequence[Beat], able: Sequence[tuple[float, str, str]]) -> list[float]:
    """For each change of leaders: the longest that one able daemon saw nobody beat, seconds.

    A daemon is able while it runs, is not stopped, has said that it is ready, and the database is up.
    """
    gaps = []
    for before, after in pairwise(beats):
        if before.number != after.number:
            gaps.append(max(_stretches(able, before.at_s, after.at_s), default=0.0))
    return gaps


def _stretches(able: Sequence[tuple[float, str, str]], from_s: float, to_s: float) -> list[float]:
    """How long each daemon was able without a break, between two moments."""
    up = {"database": True, "one": False, "two": False}
    since: dict[str, float] = {}
    found = []
    for when_s, who, what in [*sorted(able), (to_s, "", "")]:
        at_s = min(max(when_s, from_s), to_s)
        if who:
            up[who] = what == "ready"
        for name in ("one", "two"):
            can = up["database"] and up[name] and who != ""
            if can:
                since.setdefault(name, at_s)
            elif name in since:
                found.append(at_s - since.pop(name))
    return found


def one_leader(orders: Sequence[HeardOrder]) -> list[str]:
    """What was carried out came from leaders whose numbers never fall."""
    numbers = [order.fence for order in orders if not order.refused and order.fence]
    return [
        f"leader {late} acted after leader {before}"
        for before, late in pairwise(numbers)
        if late < before
    ]


def once(record: Record, journal: dict[str, list[DecisionRow]]) -> list[str]:
    """Every unit was ordered once, by an order that is in the journal and knew of those before it."""
    wrong = []
    rows = {_key(row): row for service in journal.values() for row in service if row.ordered}
    ordered: dict[str, str] = {}
    last: dict[str, HeardOrder] = {}
    done = set()
    for order in record.orders:
        if order.refused or not order.units:
            continue
        row = rows.get(order.order_key)
        if row is None:
            wrong.append(f"order {order.order_key} is not in the journal")
        elif (row.output["verb"], row.output["units"]) != (order.verb, order.units):
            wrong.append(f"order {order.order_key} is another one in the journal")
        if order.order_key in done:
            continue  # repeated under its key: the answer is the same
        done.add(order.order_key)
        before = last.get(order.service)
        if row and before and row.inputs["fleet"]["observed_s"] < before.at_s:
            wrong.append(f"order {order.order_key} did not know of {before.order_key}")
        last[order.service] = order
        for unit in order.unit_ids if order.verb == "prewarm" else ():
            if unit in ordered:
                wrong.append(f"unit {unit} was ordered twice")
            ordered[unit] = order.order_key
    born = [event.unit_id for event in record.events if event.before is UnitState.COLD]
    replaced = {e.unit_id for e in record.events if e.reason.startswith("replaces ")}
    wrong += [f"unit {unit} was ordered by nobody" for unit in born if unit not in ordered and unit not in replaced]  # fmt: skip
    wrong += [f"unit {unit} was ordered and never made" for unit in ordered if unit not in set(born)]  # fmt: skip
    wrong += [f"{key} is in the journal {n} times" for key, n in _doubled(journal)]
    return wrong


def _doubled(journal: dict[str, list[DecisionRow]]) -> list[tuple[str, int]]:
    keys = [f"{row.inputs['kind']} {_key(row)}" for service in journal.values() for row in service]
    return [(key, keys.count(key)) for key in set(keys) if keys.count(key) > 1]


def same_log(store: Store, calm: Store, record: Record, name: str) -> list[str]:
    """What the storm's database holds is what the tier logged, and what a calm one holds."""
    wrong = []
    events = [event for event in record.events if event.service == name]
    if store.unit_events(name, 0.0, FAR_S) != calm.unit_events(name, 0.0, FAR_S):
        wrong.append(f"{name}: unit events are not those of an undisturbed database")
    if len(store.unit_events(name, 0.0, FAR_S)) != len(events):
        wrong.append(f"{name}: unit events are not those of the tier")
    since_s = min((each.arrival_s for each in record.requests), default=0.0) - 1.0
    here = np.sort(store.served(name, since_s, FAR_S).arrival_s)
    logged = sum(each.service == name for each in record.requests)
    if here.size != logged:
        wrong.append(f"{name}: {here.size} requests are stored, {logged} were logged")
    ours, theirs = store.slots(name), calm.slots(name)
    if ours.arrivals.tobytes() != theirs.arrivals.tobytes():
        wrong.append(f"{name}: demand is not that of an undisturbed database")
    return wrong


def same_bill(store: Store, record: Record, name: str) -> list[str]:
    """The ledger is the sum of what the tier's events say, to a millisecond."""
    units = lives([event for event in record.events if event.service == name])
    if not units:
        return [f"{name}: no unit ever lived"]
    from_s = min(life.born_s for life in units)
    to_s = max(event.at_s for event in record.events)
    wanted = {"ordered": 0.0, "warming": 0.0, "ready": 0.0, "draining": 0.0}
    for life in units:
        for stay in life.stays:
            wanted[stay.state] += max(min(stay.to_s, to_s) - stay.from_s, 0.0)
    tariff = Tariff(from_s, "unit", 1.0, 0.0, 0.0)
    found = paid_since(store, _service(name), tariff, from_s, to_s)
    return [
        f"{name}: {found[f'{state}_s']:.3f} s {state} in the ledger, {seconds:.3f} s by the events"
        for state, seconds in wanted.items()
        if abs(found[f"{state}_s"] - seconds) > 1e-3
    ]


def after_the_storm(rows: Sequence[DecisionRow], fresh_s: float) -> list[tuple[DecisionRow, bool]]:
    """The last plan of the daemon that ran on, and the first of the one that began anew."""
    plans = [row for row in rows if row.inputs["kind"] == "plan"]
    before = [row for row in plans if row.at_s < fresh_s]
    return [(before[-1], False), (plans[len(before)], True)]


def same_plan(
    found: World,
    calm: Store,
    tier: OnnxTierActuator,
    record: Record,
    row: DecisionRow,
    *,
    exact: bool,
) -> list[str]:
    """A plan is the one that a daemon makes which no storm ever reached, from what was learnt.

    Parameters
    ----------
    exact : bool
        Byte for byte: the plan of a daemon that just began. One that ran on for a while learnt its season on
        another day: its units are the same, its rates to `NEAR`.
    """
    (service,) = [each for each in found.settings.service if each.name == row.service]
    made_s = row.output["made_s"]
    home = found.folder / f"calm-{service.name}-{exact}"
    spool = Spool(home)
    spool.keep_learnt(service.name, row.inputs["learnt"])
    unit = unit_types(found.settings, found.home / "profiles", lambda text: None)[service.name]
    then = Then(tier, made_s, fleet_at(record.events, service.name, made_s))
    pilot = Pilot(
        service.service(), unit, found.settings,
        store=calm, actuator=then, clock=then, spool=spool,
        tables=sizer.now(found.home / "tables", calm), settle_s=SETTLE_REAL_S,
    )  # fmt: skip
    lives = [e for e in record.events if e.service == service.name and e.at_s <= made_s]
    pilot.learn_leads(lives)
    pilot.settle(pilot.draft(row.inputs["nowcast_erl"]), None)
    made = _journal(calm, service.name)[-1]
    parts = [key for key in row.output if not _same(row.output[key], made.output[key], exact)]
    rules = [
        f"{key} {row.inputs['policy'][key]} / {made.inputs['policy'][key]}"
        for key in row.inputs["policy"]
        if not _same(row.inputs["policy"][key], made.inputs["policy"][key], exact)
    ]
    how = "begun anew" if exact else "that ran on"
    said = f"{service.name}: a daemon {how} plans otherwise than undisturbed: {parts}, {rules}"
    return [said] if parts or rules else []


def _same(ours: Any, theirs: Any, exact: bool) -> bool:
    if exact or not (isinstance(ours, list) and ours and isinstance(ours[0], float)):
        return _bytes(ours) == _bytes(theirs)
    return len(ours) == len(theirs) and np.allclose(ours, theirs, rtol=NEAR, atol=NEAR)


class Then:
    """A moment of the storm: its clock, and the fleet as it was."""

    speed = 1.0

    def __init__(self, tier: OnnxTierActuator, at_s: float, fleet: Fleet) -> None:
        self.tier, self.at_s, self.fleet = tier.tier, at_s, fleet

    def now_s(self) -> float:
        """The moment."""
        return self.at_s

    def observe(self, _service: str) -> Fleet:
        """The fleet of the moment."""
        return self.fleet

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"nothing is ordered of the past: {name}")


def fleet_at(events: Sequence[UnitEvent], service: str, at_s: float) -> Fleet:
    """The units that lived at a moment."""
    units: dict[str, UnitView] = {}
    for event in events:
        if event.service == service and event.at_s <= at_s:
            born_s = units[event.unit_id].ordered_s if event.unit_id in units else event.at_s
            units[event.unit_id] = UnitView(
                event.unit_id, service, event.after, born_s, event.at_s, reason=event.reason
            )
    alive = WARMING_STATES | {UnitState.READY, UnitState.DRAINING}
    return Fleet(service, at_s, tuple(each for each in units.values() if each.state in alive))


def calm_dsn(found: World) -> str:
    """The database that the storm never reached."""
    return make_conninfo(found.server.dsn, dbname=CALM)


def _service(name: str) -> Service:
    return Service(name, "mlp-classifier", Slo(latency_p99_s=0.5))


def _journal(store: Store, service: str) -> list[DecisionRow]:
    """The whole journal, the oldest first."""
    rows: list[DecisionRow] = []
    while page := store.decisions(service, 1000, rows[-1].decision_id if rows else None):
        rows += page
    return rows[::-1]


def _key(row: DecisionRow) -> str:
    return f"{row.service}:{row.at_s:.3f}"


def _all(page: Any) -> list[Any]:
    rows: list[Any] = []
    while found := page(rows[-1].seq if rows else 0, 10_000):
        rows += found
    return rows


def _bytes(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
