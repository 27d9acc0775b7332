"""Pools of one service: units that read and units that generate, or units of several types.

Whoever runs units knows a pool as a service of its own (`chat:prefill`, `chat:large`); planner, store
and router know that they belong together.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

MARK = ":"
SAME = 1e-9
"""Relative difference below which two fleets carry the same."""


class Pool(str):
    """What a unit does for its service: a stage of its requests, or all of them on one type of unit."""

    __slots__ = ()

    WHOLE: ClassVar[Pool]
    """Everything: services without pools."""
    PREFILL: ClassVar[Pool]
    """Reads prompts and makes first tokens."""
    DECODE: ClassVar[Pool]
    """Takes the cache over and generates the rest."""


Pool.WHOLE, Pool.PREFILL, Pool.DECODE = Pool(""), Pool("prefill"), Pool("decode")
PAIR = (Pool.PREFILL, Pool.DECODE)


def pool_service(service: str, pool: str) -> str:
    """The name under which a pool's units are run.

    Examples
    --------
    >>> pool_service("chat", Pool.DECODE), pool_service("chat", Pool.WHOLE)
    ('chat:decode', 'chat')
    """
    return f"{service}{MARK}{pool}" if pool else service


def of_pool(name: str) -> tuple[str, Pool]:
    """Inverse of `pool_service`; of a service whose own name has a mark in it only it knows better.

    Examples
    --------
    >>> of_pool("chat:decode"), of_pool("chat")
    (('chat', 'decode'), ('chat', ''))
    """
    service, _, last = name.rpartition(MARK)
    return (service, Pool(last)) if service and last else (name, Pool.WHOLE)


@dataclass(frozen=True, slots=True)
class Split:
    """How fleets of any size fall into pools; a larger fleet has no fewer units in any.

    Attributes
    ----------
    pools : tuple of Pool
        Empty: one pool.
    path : tuple of int
        Place among `pools` of the one to which the 1st, 2nd, 3rd, ... unit is added.
    carries : tuple of float
        Of pools that stand in for each other (types of units): what a unit of each carries, in
        any one measure. Empty: every pool is needed (units that read, units that generate); a
        fleet larger than the path goes on in the proportion of its end.
    most : tuple of int
        Units that there are of each such type.

    Examples
    --------
    One of three units reads:

    >>> split = Split.pair((0, 1, 2, 3, 3, 4))
    >>> [tuple(split.of(units).values()) for units in (5, 9, 1)]
    [(2, 3), (3, 6), (1, 0)]
    >>> split.whole({Pool.PREFILL: 1, Pool.DECODE: 3}), split.whole({Pool.PREFILL: 5, Pool.DECODE: 1})
    (4, 2)

    A large unit carries three times as much as a small one; four small ones make up for it:

    >>> ladder = Split((Pool("small"), Pool("large")), (0, 1, 0, 1), (1.0, 3.0), (9, 9))
    >>> ladder.of(3), ladder.whole({Pool("small"): 4})
    ({'small': 2, 'large': 1}, 2)
    """

    pools: tuple[Pool, ...] = ()
    path: tuple[int, ...] = ()
    carries: tuple[float, ...] = ()
    most: tuple[int, ...] = ()

    @classmethod
    def pair(cls, decode_units: Sequence[int]) -> Split:
        """Prefill and decode units, by those that generate in fleets of 1, 2, 3, ... units."""
        steps = zip([0, *decode_units], decode_units, strict=False)
        return cls(PAIR, tuple(after - before for before, after in steps))

    @classmethod
    def of_values(cls, values: Mapping[str, Sequence[Any]]) -> Split:
        """Inverse of `dataclasses.asdict`."""
        rest = {name: tuple(each) for name, each in values.items() if name != "pools"}
        return cls(tuple(Pool(name) for name in values.get("pools", ())), **rest)

    @property
    def decode_units(self) -> tuple[int, ...]:
        """Inverse of `pair`."""
        return tuple(accumulate(self.path))

    @property
    def either(self) -> bool:
        """Whether the pools stand in for each other."""
        return bool(self.carries)

    @property
    def least_units(self) -> int:
        """Units without which nothing is served."""
        return 1 if self.either else max(len(self.pools), 1)

    @property
    def most_units(self) -> int:
        """Units of all types that exist."""
        return len(self.path) if self.either else sys.maxsize

    def of(self, units: int) -> dict[Pool, int]:
        """Units of each pool in a fleet of so many."""
        if not self.pools:
            return {Pool.WHOLE: units}
        known = len(self.path)
        counts = [self.path[: max(units, 0)].count(i) for i in range(len(self.pools))]
        beyond = 0 if self.either else max(units - known, 0)
        more = [beyond * count // known for count in counts] if beyond else [0] * len(counts)
        more[0] += beyond - sum(more)
        return {p: a + b for p, a, b in zip(self.pools, counts, more, strict=True)}

    def carried(self, units: dict[Pool, int]) -> float:
        """What units of pools that stand in for each other carry, in the measure of `carries`."""
        return sum(c * units.get(p, 0) for p, c in zip(self.pools, self.carries, strict=True))

    def whole(self, units: dict[Pool, int]) -> int:
        """Largest fleet that these units make up; 0 where a pool that is needed has none."""
        if not self.pools:
            return sum(units.values())
        if self.either:
            steps = accumulate(self.carries[i] for i in self.path)
            have = self.carried(units) * (1 + SAME)
            return sum(step <= have for step in steps)
        if not all(units.get(pool, 0) for pool in self.pools):
            return 0
        most = sum(units.get(pool, 0) for pool in self.pools)
        return next(n for n in range(most, 0, -1) if self._fits(n, units))

    def _fits(self, whole: int, units: dict[Pool, int]) -> bool:
        return all(units[pool] >= share for pool, share in self.of(whole).items())


ONE_POOL = Split()
EVEN = Split.pair((0, 1))
"""Half and half: what two pools are held at while nothing is known of their work."""


def in_order(pools: Sequence[Pool], most: Sequence[int], units: int) -> Split:
    """Types of which nothing is known: each counts as one, the first ones come first.

    Parameters
    ----------
    most : sequence of int
        Units that there are of each.
    units : int
        Largest fleet.
    """
    path = [i for i, count in enumerate(most) for _ in range(min(count, units))][:units]
    return Split(tuple(pools), tuple(path), (1.0,) * len(pools), tuple(most))
