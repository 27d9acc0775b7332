"""Which units of which pool an order is for: what a fleet lacks, and what it can do without."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable

from forecaster.domain.pools import SAME, Pool, Split

Pools = dict[Pool, int]
"""Units by what they do; one entry where there is one pool."""


def less(some: Pools, others: Pools) -> Pools:
    """What of `some` is left without `others`, pool by pool."""
    return {pool: max(units - others.get(pool, 0), 0) for pool, units in some.items()}


def lacking(
    split: Split, have: Pools, wanted: int, denied: Collection[Pool] = (), room: float = math.inf
) -> Pools:
    """Units to order so that `have` makes up a fleet of `wanted`.

    Where every pool is needed, what each lacks. Types that stand in for each other: nothing while
    what is there carries as much; else the next ones on the ladder, those that were denied last.

    Parameters
    ----------
    denied : collection of Pool
        Types of which there were none to be had.
    room : float
        Most units of types that stand in for others to order.

    Examples
    --------
    >>> small, large = Pool("small"), Pool("large")
    >>> ladder = Split((small, large), (0, 1, 0, 1), (1.0, 3.0), (9, 9))
    >>> lacking(ladder, {small: 1}, 2), lacking(ladder, {small: 4}, 2)
    ({'small': 0, 'large': 1}, {'small': 0, 'large': 0})
    >>> lacking(ladder, {small: 1}, 2, denied=(large,))
    {'small': 3, 'large': 0}
    """
    if not split.either:
        return less(split.of(wanted), have)
    enough = split.carried(split.of(wanted)) * (1 - SAME)
    steps = _missing_steps(split, have)
    here = [pool for at, pool in steps if at < wanted and pool not in denied]
    others = [pool for at, pool in steps if at >= wanted and pool not in denied]
    beyond = [pool for pool in _beyond(split, have) if pool not in denied]
    refused = [pool for at, pool in steps if at < wanted and pool in denied]
    ordered = Counter(dict.fromkeys(split.pools, 0))
    carries = dict(zip(split.pools, split.carries, strict=True))
    carried = split.carried(have)

    def order(pools: Iterable[Pool]) -> None:
        nonlocal carried
        for pool in pools:
            if carried >= enough or ordered.total() >= room:
                return
            ordered[pool] += 1
            carried += carries[pool]

    order([*here, *others, *beyond] if denied else here)
    for pool in sorted(split.pools, key=lambda each: carries[each]):  # the last may do for others
        while ordered[pool] and carried - carries[pool] >= enough:
            ordered[pool] -= 1
            carried -= carries[pool]
    order(refused)
    return dict(ordered)


def to_spare(split: Split, have: Pools, kept: int) -> Pools:
    """Units of `have` that a fleet of `kept` does without.

    Of types that stand in for each other those go first that are no part of the ladder, then those
    that it adds last, as long as the others carry as much as it does.

    Examples
    --------
    >>> small, large = Pool("small"), Pool("large")
    >>> ladder = Split((small, large), (0, 1, 0, 1), (1.0, 3.0), (9, 9))
    >>> to_spare(ladder, {small: 2, large: 2}, 1), to_spare(ladder, {small: 5}, 2)
    ({'small': 1, 'large': 2}, {'small': 1, 'large': 0})
    """
    if not split.either:
        return less(have, split.of(kept))
    own, spare = split.of(kept), Counter(dict.fromkeys(split.pools, 0))
    carries = dict(zip(split.pools, split.carries, strict=True))
    enough, carried = split.carried(own) * (1 - SAME), split.carried(have)
    for pool in _latest_first(split, have):
        beyond = have.get(pool, 0) - spare[pool] > own.get(pool, 0)
        if beyond and carried - carries.get(pool, 0.0) >= enough:
            spare[pool] += 1
            carried -= carries.get(pool, 0.0)
    return dict(spare)


def _missing_steps(split: Split, have: Pools) -> Iterable[tuple[int, Pool]]:
    """Steps of the ladder for which there is no unit, in order."""
    left = dict(have)
    found = []
    for at, i in enumerate(split.path):
        pool = split.pools[i]
        if left.get(pool, 0) > 0:
            left[pool] -= 1
        else:
            found.append((at, pool))
    return found


def _beyond(split: Split, have: Pools) -> list[Pool]:
    """Units that there are beyond the ladder and beyond those that run, the largest first."""
    found: list[Pool] = []
    order = sorted(range(len(split.pools)), key=lambda i: -split.carries[i])
    for i in order:
        pool = split.pools[i]
        taken = max(split.path.count(i), have.get(pool, 0))
        found += [pool] * min(split.most[i] - taken, len(split.path))
    return found


def _latest_first(split: Split, have: Pools) -> list[Pool]:
    """Each unit's pool: those beyond the ladder, then from its last step to its first."""
    left = dict(have)
    on_it: list[Pool] = []
    for i in split.path:
        pool = split.pools[i]
        if left.get(pool, 0) > 0:
            left[pool] -= 1
            on_it.append(pool)
    beyond = [pool for pool, count in left.items() for _ in range(count)]
    return [*beyond, *reversed(on_it)]
