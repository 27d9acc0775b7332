"""Money: what a unit of one type costs, from when on."""

from __future__ import annotations

from dataclasses import dataclass

from forecaster.domain.pools import Pool


@dataclass(frozen=True, slots=True)
class Tariff:
    """The price of one unit type, as it stood when a unit was ordered.

    Attributes
    ----------
    unit : str
        Unit type.
    price_per_hour : float
        Money for one unit-hour.
    min_billing_s : float
        A unit is billed at least this long.
    billing_step_s : float
        What is billed is rounded up to a multiple of this; 0 bills to the second.
    since_s : float
        Units that were ordered from here on cost this, epoch seconds.
    pool : Pool
        Whose units cost this.
    """

    unit: str
    price_per_hour: float
    min_billing_s: float = 0.0
    billing_step_s: float = 0.0
    since_s: float = float("-inf")
    pool: Pool = Pool.WHOLE

    @property
    def longest_tail_s(self) -> float:
        """How long after its end a unit may still be billed, at most."""
        return max(self.min_billing_s, self.billing_step_s)
