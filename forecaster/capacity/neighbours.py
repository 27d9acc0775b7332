"""What a request finds around it on its unit: batch, prompts under way, and what the router does.

The constants of the router were fitted to the kernel (`benchmarks/formulas.py` shows what is left);
for one unit they drop out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecaster.capacity.tails import WEIGHTS
from forecaster.capacity.unit_load import (
    Load,
    Prompts,
    decode_steps,
    mean_state,
    prompts_of,
)
from forecaster.domain.demand import FloatArray
from forecaster.domain.profile import GenerativeProfile

CARRIED = 0.98
"""Share of the largest rate at which an overloaded window is looked at; beyond it queues grow."""
IMBALANCE = 0.4
"""Variance of the batch between the units of one router, over that of unrelated units."""
BALANCE = 1.5
"""Rows fewer than the mean that one meets where a router balances: it sends one to emptier units."""
REPLACING = 0.9
"""Share of the neighbours of a small unit that come only when another leaves."""
REGULAR = 0.9
"""Share of the variance of arrivals at a small unit that a router takes away."""
AVOIDING = 5.0
"""How strongly least-work routing avoids units with prompts that wait."""
AVOIDING_MOST = 2.1
CLUMP = 0.5
"""Requests that refill the hole of a long one at once, over the hole's mean size."""
GROWTH_S = 5.0
"""Wait that a window of a whole overload adds on average: half of its length."""


@dataclass(frozen=True, slots=True)
class Around:
    """One unit at each of the rates that a window may have; arrays are float64[rates].

    Attributes
    ----------
    rate_rps, carried_rps : float64
        The rate, and what of it a unit could carry for good.
    excess : float64
        Rate over the largest that the slots carry.
    sigma : float64
        Share of the time that prompts take.
    q : float64
        Feedback of the batch on itself: 1 / (1 - q) is its variance over its mean.
    batch, step_s, relaxation_s : float64
        Mean rows, mean step, and how long the batch remembers.
    jump : float64
        Variance of rows when prompts stall the rows' completion, over that without stalls.
    hold_s : float64
        How long a full unit holds a slot.
    """

    units: int
    beta_s: float
    slots: float
    rate_rps: FloatArray
    carried_rps: FloatArray
    excess: FloatArray
    sigma: FloatArray
    q: FloatArray
    batch: FloatArray
    step_s: FloatArray
    relaxation_s: FloatArray
    jump: FloatArray
    hold_s: FloatArray

    @property
    def alone(self) -> float:
        """0 for one unit, towards 1 for many: how much of a fleet is elsewhere."""
        return 1.0 - 1.0 / self.units

    @property
    def batch_variance(self) -> FloatArray:
        """Variance of one unit's rows: the fleet's shared out, and the imbalance.

        Rows stay within the slots: at most the variance of a uniform over them.
        """
        shared = np.minimum(self.batch / (1 - self.q), self.slots**2 / 12) / self.units
        return np.asarray(shared + IMBALANCE * self.alone * self.batch)

    @property
    def others(self) -> FloatArray:
        """Rows that a request meets."""
        fewer = BALANCE * self.alone * self.batch / (1 + self.batch)
        return np.asarray(np.maximum(self.batch - fewer, 0.0))

    def in_system(self, prefill_s: FloatArray | float) -> FloatArray:
        """Requests of one unit, decoding or being read for `prefill_s` each."""
        return np.asarray(self.batch + self.carried_rps * prefill_s)

    def arriving_share(self, in_system: FloatArray) -> FloatArray:
        """Share of the mean rate that comes to a unit while it holds a given request."""
        return 1 - REPLACING * self.alone / (1 + in_system)

    def irregularity(self, in_system: FloatArray) -> FloatArray:
        """Variance of that rate over Poisson's."""
        return 1 - REGULAR * self.alone / (1 + 0.08 * in_system)


def around(profile: GenerativeProfile, load: Load, factors: FloatArray) -> Around:
    """Return one unit at `factors` times the mean rate."""
    prompts, steps = prompts_of(profile, load.mix), decode_steps(load.mix)
    state = mean_state(profile, load)
    beta_s, slots = state.beta_s, state.slots
    full_s = profile.alpha_s + beta_s * slots
    by_slots = slots / max(steps * full_s + slots * prompts.mean_s, 1e-12)
    most = min(1.0 / max(prompts.mean_s + beta_s * steps, 1e-12), by_slots)
    rate = load.rate_rps * factors
    carried = np.minimum(rate, CARRIED * most)
    sigma = carried * prompts.mean_s
    spare = 1 - sigma
    q = np.minimum(carried * steps * beta_s / spare, CARRIED)
    batch = np.minimum(carried * steps * (profile.alpha_s + beta_s) / spare / (1 - q), slots)
    return Around(
        units=load.units,
        beta_s=beta_s,
        slots=slots,
        rate_rps=rate,
        carried_rps=carried,
        excess=rate / by_slots,
        sigma=sigma,
        q=q,
        batch=batch,
        step_s=(profile.alpha_s + beta_s * batch) / spare,
        relaxation_s=steps * profile.alpha_s / spare / (1 - q) ** 2,
        jump=1 + sigma / spare + carried**2 * prompts.square_s2 / (2 * spare**2),
        hold_s=steps * full_s / spare,
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """The queue of prompts at one unit; arrays have the shape of `base_s`.

    Attributes
    ----------
    service_s, service_s2 : float64
        First two moments of reading one prompt in full chunks.
    use : float64
        Share of the time that something is read.
    wait_s, wait_variance : float64
        Of those who find something being read.
    """

    service_s: FloatArray
    service_s2: FloatArray
    use: FloatArray
    wait_s: FloatArray
    wait_variance: FloatArray

    @property
    def mean_wait_s(self) -> FloatArray:
        """Mean wait of everyone, seconds."""
        return np.asarray(self.use * self.wait_s)


def reading(
    profile: GenerativeProfile,
    prompts: Prompts,
    rate_rps: FloatArray,
    base_s: FloatArray,
    avoided: FloatArray | float = 1.0,
) -> Reading:
    """Return the queue of prompts as M/G/1: each costs its work and its share of the steps' base.

    Mean and variance of the wait by Pollaczek and Khinchine (Takács for the second moment). A router
    that sees the work avoids who is busy reading: the wait is `avoided` times shorter.
    """
    per_chunk = prompts.tokens / profile.chunk_tokens
    service = prompts.work_s + per_chunk * np.asarray(base_s)[..., None]
    first, second, third = (service**power @ WEIGHTS for power in (1, 2, 3))
    first = np.maximum(first, 1e-12)
    use = np.clip(rate_rps * first, 1e-12, 0.97)
    mean = rate_rps * second / 2 / (1 - use) / avoided
    square = 2 * mean**2 + rate_rps * third / 3 / (1 - use) / avoided
    wait_s = mean / use
    variance = np.maximum(square / use - wait_s**2, 0.3 * wait_s**2)
    return Reading(first, second, use, wait_s, variance)


def avoidance(near: Around, prompts: Prompts, use: FloatArray) -> FloatArray:
    """How many times shorter least-work routing makes the queue of prompts at a unit.

    It avoids a unit that reads in so far as reading is what its work consists of.
    """
    steps_s = near.beta_s * near.batch / np.maximum(near.step_s, 1e-12)
    reading_share = near.sigma / np.maximum(near.sigma + steps_s, 1e-12)
    times = 1 + (near.units - 1) * AVOIDING * reading_share * use
    return np.asarray(np.minimum(times, AVOIDING_MOST))


def clump(near: Around, load: Load, prompts: Prompts) -> FloatArray:
    """Requests ahead that came at once: the next ones all go where a long one has just left.

    The hole is as large as the mean of what leaves, seen by work: ``(1 + scv) / 2`` requests; it is
    filled at the rate of the other units' arrivals during half a step.
    """
    mix, steps = load.mix, decode_steps(load.mix)
    work_s = prompts.mean_s + near.beta_s * steps
    variance = max(mix.output_sq - mix.output_mean**2, 0.0) * near.beta_s**2
    scv = (max(prompts.square_s2 - prompts.mean_s**2, 0.0) + variance) / max(work_s**2, 1e-18)
    hole = CLUMP * (1 + scv) / 2
    during = (near.units - 1) * near.carried_rps * near.step_s / 2
    return np.asarray(hole * during / (hole + during) * near.batch / (1 + near.batch))
