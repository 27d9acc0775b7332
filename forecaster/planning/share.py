"""Several services on the same GPUs: who holds how many while there are not enough for all.

Each service plans alone first. Where the plans together take more GPUs than the quota has, steps of
units are granted one by one: floors first, then what the load needs, then what is only held (for the
peak, through a lull); among those the higher priority first, and among equals the step that saves the
most money in violations for each GPU, which is the best division there is where one step needs as many
GPUs as another (the savings of a service fall from step to step: B. Fox, "Discrete optimization via
marginal analysis", Management Science 13, 1966). A service that is refused some plans again under that
ceiling, so its starts and stops are still the cheapest.

A unit takes its GPUs from the order on, so a claim begins one lead, and the time that another's drain
takes, before the units are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.domain.plan import Reason
from forecaster.planning.bounds import Bounds
from forecaster.planning.course import ahead, worth
from forecaster.planning.layers import convex_envelope
from forecaster.planning.policy import Policy

SMOOTH_SLOTS = 31
"""What a unit saves is compared over this long: GPUs do not change hands for a minute's noise."""
KEPT = 1.25
"""Times its value that a unit which is there already counts: to hand its GPUs over costs a warm-up."""
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What one service asks of the quota.

    Attributes
    ----------
    service : str
        Whose.
    priority : int
        Larger goes first.
    gpus : int
        Of one unit.
    lead_slots : int
        Slots for which GPUs are taken before a unit is wanted.
    least, need, hold : int64[T]
        Floor; units that the load is worth; units that it would hold alone.
    value : float64[T, K]
        Money a second that each further step of units saves in violations, for each GPU.
    step : int
        Units of a step.
    present : int
        Units ready or warming now.
    fixed : bool
        Nobody may give its units back now: it keeps them, and asks for no more.
    """

    service: str
    priority: int
    gpus: int
    lead_slots: int
    least: IntArray
    need: IntArray
    hold: IntArray
    value: FloatArray
    step: int = 1
    present: int = 0
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """What one service may hold of the shared GPUs.

    Attributes
    ----------
    ceiling : int64[T]
        Units at most.
    wanted : int64[T]
        Units that it would hold alone.
    """

    ceiling: IntArray
    wanted: IntArray

    @property
    def refused(self) -> npt.NDArray[np.bool_]:
        """Slots in which others have what it wanted, bool[T]."""
        return np.asarray(self.ceiling < self.wanted)

    def refused_units(self, slot: int) -> int:
        """Units that others have of what it wanted in a slot; before one lead nothing can be wanted."""
        at = min(slot, self.wanted.size - 1)
        return max(int(self.wanted[at] - self.ceiling[at]), 0)

    def over(self, slots: int) -> Share:
        """The share over so many slots: the last one goes on where it is shorter."""
        at = np.minimum(np.arange(slots), self.ceiling.size - 1)
        return Share(self.ceiling[at], self.wanted[at])

    def inside(self, within: Bounds) -> Bounds:
        """Bounds under this share: no new plan takes more than was claimed."""
        most = np.minimum(within.most, self.ceiling)
        return Bounds(np.minimum(within.least, most), most, within.reason)

    def judged(self, within: Bounds) -> Bounds:
        """Bounds that explain a plan: the share where it refused something, else the service's own."""
        refused = self.refused
        most = np.where(refused, np.minimum(within.most, self.ceiling), within.most)
        reason = tuple(
            Reason.QUOTA if no else own
            for no, own in zip(refused.tolist(), within.reason, strict=True)
        )
        return Bounds(np.minimum(within.least, most), most, reason)


def claim(
    service: str,
    outside_rps: FloatArray,
    hold: IntArray,
    within: Bounds,
    policy: Policy,
    *,
    present: int,
    gpus: int = 1,
    priority: int = 0,
    price_per_hour: float = 1.0,
    lead_slots: int = 0,
    fixed: bool = False,
    prices: FloatArray | None = None,
) -> Claim:
    """Ask for what a plan that was made alone would hold.

    Parameters
    ----------
    outside_rps : float64[T, N + 1]
        Expected requests/s outside the SLO with 0..N units.
    hold : int64[T]
        The plan.
    within : Bounds
        Floors and ceilings of the service itself.
    policy : Policy
        Price of a violation, purchase step.
    price_per_hour : float
        Of one unit: what makes the violations of two services money.
    prices : float64[K] or None
        Of units, where they differ, see `layers.step_costs`.
    """
    step = policy.limits.step_units
    stepped = convex_envelope(outside_rps[:, ::step])
    saved_rps = stepped[:, :-1] - stepped[:, 1:]
    value = policy.price_s * price_per_hour / _HOUR_S * saved_rps / (gpus * step)
    value = uniform_filter1d(value, SMOOTH_SLOTS, axis=0, mode="nearest")
    least = np.minimum(within.least, hold)
    need = np.minimum(worth(outside_rps, policy.price_s, step, prices), hold)
    return Claim(
        service, priority, gpus, lead_slots, least, need, hold, value, step, present, fixed
    )


def shares(claims: Sequence[Claim], gpus: int) -> list[Share | None]:
    """Divide the GPUs; None for a service that gets all that it asks for.

    Examples
    --------
    Eight GPUs, two services that want five units each of one GPU; the first goes first:

    >>> five, two = np.full(3, 5), np.full(3, 2)
    >>> each = dict(gpus=1, lead_slots=0, least=two, need=five, hold=five, value=np.ones((3, 5)))
    >>> first, second = shares([Claim("a", 1, **each), Claim("b", 0, **each)], 8)
    >>> first, second.ceiling.tolist()
    (None, [3, 3, 3])
    """
    if not claims:
        return []
    taken = np.stack([_taken(each, each.hold) for each in claims])
    sizes = np.array([each.gpus for each in claims])
    short = np.flatnonzero((sizes[:, None] * taken).sum(axis=0) > gpus)
    if not short.size:
        return [None] * len(claims)
    granted = taken.copy()
    granted[:, short] = _granted(claims, taken[:, short], short, gpus)
    return [
        Share(_ceiling(each, given), each.hold) if (given < asked).any() else None
        for each, given, asked in zip(claims, granted, taken, strict=True)
    ]


def gpus_taken(claims: Sequence[Claim], plans: Sequence[IntArray]) -> IntArray:
    """GPUs that plans take together in each slot, orders under way included, int64[T]."""
    return np.asarray(
        sum(each.gpus * _taken(each, plan) for each, plan in zip(claims, plans, strict=True))
    )


def _taken(each: Claim, plan: IntArray) -> IntArray:
    """Units that hold their GPUs in each slot."""
    if each.fixed:
        return np.full(plan.size, each.present, np.int64)
    return ahead(plan, each.lead_slots)


def _ceiling(each: Claim, given: IntArray) -> IntArray:
    """Most units in each slot such that their GPUs, from the order on, are among those given."""
    padded = np.concatenate([np.full(each.lead_slots, given.max()), given])
    return np.asarray(
        np.lib.stride_tricks.sliding_window_view(padded, each.lead_slots + 1).min(axis=1)
    )


def _granted(claims: Sequence[Claim], taken: IntArray, short: IntArray, gpus: int) -> IntArray:
    """Units granted to each service in the slots that are short, int64[S, T]."""
    owner, number, rank, value, kind = [], [], [], [], []
    order = sorted({each.priority for each in claims}, reverse=True)
    for i, each in enumerate(claims):
        steps = -(-int(taken[i].max()) // each.step)
        top = np.arange(1, steps + 1) * each.step
        worth_it = np.zeros((short.size, steps))
        known = min(steps, each.value.shape[1])
        worth_it[:, :known] = each.value[short][:, :known]
        worth_it[:, top <= each.present] *= KEPT
        least, need = (_taken(each, plan)[short][:, None] for plan in (each.least, each.need))
        if each.fixed:
            least = taken[i][:, None]
        owner.append(np.full(steps, i))
        number.append(top)
        rank.append(np.full(steps, -1 if each.fixed else order.index(each.priority)))
        value.append(worth_it)
        # a step that begins above a line lies above it
        begin = top - each.step
        asked = begin < taken[i][:, None]
        kind.append(np.where(~asked, 3, np.where(begin < least, 0, np.where(begin < need, 1, 2))))
    kinds, values = np.concatenate(kind, axis=1), np.concatenate(value, axis=1)
    ranks = np.broadcast_to(np.concatenate(rank), kinds.shape)
    numbers = np.broadcast_to(np.concatenate(number), kinds.shape)
    turn = np.lexsort((numbers, -values, ranks, kinds), axis=-1)
    steps_of = np.array([each.step for each in claims])
    sizes = np.array([each.gpus for each in claims])
    asked_for = (kinds < 3).sum(axis=1)
    units = _grant(turn, asked_for, np.concatenate(owner), steps_of, sizes, gpus)
    return np.asarray(np.minimum(units.T, taken))


@numba.njit(cache=True)
def _grant(
    turn: IntArray,
    asked_for: IntArray,
    owner: IntArray,
    steps: IntArray,
    sizes: IntArray,
    gpus: int,
) -> IntArray:
    """Grant steps in turn while there is room; a service that is refused one gets no further one."""
    units = np.zeros((turn.shape[0], sizes.size), np.int64)
    for t in range(turn.shape[0]):
        left = gpus
        over = np.zeros(sizes.size, np.bool_)
        for j in range(asked_for[t]):
            who = owner[turn[t, j]]
            size = sizes[who] * steps[who]
            if over[who]:
                continue
            if size <= left:
                left -= size
                units[t, who] += steps[who]
            else:
                over[who] = True
    return units
