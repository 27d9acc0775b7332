"""Two pools of one service: units that read prompts, and units that generate what follows.

Whoever runs units knows a pool as a service of its own (`chat:prefill`, `chat:decode`); planner, store
and router know that the two belong together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MARK = ":"


class Pool(StrEnum):
    """What a unit does for its service."""

    WHOLE = ""
    """Everything: services without pools."""
    PREFILL = "prefill"
    """Reads prompts and makes first tokens."""
    DECODE = "decode"
    """Takes the cache over and generates the rest."""


PAIR = (Pool.PREFILL, Pool.DECODE)


def pool_service(service: str, pool: Pool) -> str:
    """The name under which a pool's units are run.

    Examples
    --------
    >>> pool_service("chat", Pool.DECODE), pool_service("chat", Pool.WHOLE)
    ('chat:decode', 'chat')
    """
    return f"{service}{MARK}{pool.value}" if pool else service


def of_pool(name: str) -> tuple[str, Pool]:
    """Inverse of `pool_service`.

    Examples
    --------
    >>> of_pool("chat:decode"), of_pool("chat")
    (('chat', <Pool.DECODE: 'decode'>), ('chat', <Pool.WHOLE: ''>))
    """
    service, _, last = name.rpartition(MARK)
    return (service, Pool(last)) if service and last in PAIR else (name, Pool.WHOLE)


@dataclass(frozen=True, slots=True)
class Split:
    """How fleets of any size fall into two pools; a larger fleet has no fewer units in either.

    Attributes
    ----------
    decode_units : tuple of int
        Units that generate in fleets of 1, 2, 3, ... units, the others read; a larger fleet goes on
        in the proportion of the last one. Empty: one pool.

    Examples
    --------
    One of three units reads:

    >>> split = Split((0, 1, 2, 3, 3, 4))
    >>> [tuple(split.of(units).values()) for units in (5, 9, 1)]
    [(2, 3), (3, 6), (1, 0)]
    >>> split.whole({Pool.PREFILL: 1, Pool.DECODE: 3}), split.whole({Pool.PREFILL: 5, Pool.DECODE: 1})
    (4, 2)
    """

    decode_units: tuple[int, ...]

    @property
    def least_units(self) -> int:
        """Units without which nothing is served."""
        return len(PAIR) if self.decode_units else 1

    def of(self, units: int) -> dict[Pool, int]:
        """Units of each pool in a fleet of so many."""
        if not self.decode_units:
            return {Pool.WHOLE: units}
        known, last = len(self.decode_units), self.decode_units[-1]
        beyond = max(units - known, 0)
        decode = last + beyond * last // known if beyond else self.decode_units[units - 1]
        decode = decode if units > 0 else 0
        return {Pool.PREFILL: units - decode, Pool.DECODE: decode}

    def whole(self, units: dict[Pool, int]) -> int:
        """Largest fleet that these units make up; 0 where a pool of two has none."""
        if not self.decode_units:
            return sum(units.values())
        if not all(units.get(pool, 0) for pool in PAIR):
            return 0
        most = sum(units.get(pool, 0) for pool in PAIR)
        return next(n for n in range(most, 0, -1) if self._fits(n, units))

    def _fits(self, whole: int, units: dict[Pool, int]) -> bool:
        return all(units[pool] >= share for pool, share in self.of(whole).items())


ONE_POOL = Split(())
EVEN = Split((0, 1))
"""Half and half: what two pools are held at while nothing is known of their work."""
