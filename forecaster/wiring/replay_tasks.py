"""What a job of `ReplayJobs` plays: a contest of policies, or a frontier of settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from forecaster.api.frontiers import FrontierWish
from forecaster.api.replays import ReplayWish
from forecaster.domain.demand import RequestBatch
from forecaster.domain.profile import UnitType
from forecaster.domain.service import Service
from forecaster.replay.contest import POLICIES, Terms
from forecaster.replay.frontier import ELASTICITIES, TARGETS, check_settings
from forecaster.replay.summary import as_dict, finite
from forecaster.wiring.replays import Order, Progress, play, play_frontier
from forecaster.wiring.tables import Tables


class Task(Protocol):
    """Plays requests and gives one document; travels to the child process."""

    def play(self, requests: RequestBatch, tables: Tables, progress: Progress) -> dict[str, Any]:
        """Work."""
        ...


@dataclass(frozen=True)
class Replay:
    """A contest."""

    order: Order

    def play(self, requests: RequestBatch, tables: Tables, progress: Progress) -> dict[str, Any]:
        """Every policy, and what each would have cost."""
        contest = play(requests, self.order, tables, progress)
        facts = _facts(self.order) | {"elasticity": self.order.terms.elasticity}
        return as_dict(contest, None, facts)


@dataclass(frozen=True)
class FrontierTask:
    """Elasticities and targets, every pair of them."""

    order: Order
    elasticities: tuple[float, ...]
    targets: tuple[float, ...]

    def play(self, requests: RequestBatch, tables: Tables, progress: Progress) -> dict[str, Any]:
        """Every setting, and what it would have cost and kept."""
        settings = (self.elasticities, self.targets)
        found = play_frontier(requests, self.order, tables, settings, progress)
        unit, slo = self.order.terms.unit, self.order.terms.slo
        facts = {"unit": unit.name, "price_per_hour": unit.price_per_hour, "slo": asdict(slo)}
        own = {"elasticity": self.order.terms.elasticity, "target": slo.attainment}
        said: dict[str, Any] = finite(found.to_dict() | facts | {"own": own} | _facts(self.order))
        return said


def order_of(wish: ReplayWish, service: Service, unit: UnitType) -> Order:
    """The order with what the wish says over what the service has."""
    slo = {key: value for key, value in wish.slo.model_dump().items() if value is not None}
    terms = replace(
        _terms(service, unit, wish.lead_s, wish.days),
        slo=replace(service.slo, **slo),
        seed=wish.seed,
        elasticity=service.elasticity if wish.elasticity is None else wish.elasticity,
    )
    scale = wish.rate_scale or 1 / service.log_sample
    return Order(terms, scale, wish.policies or POLICIES, wish.untuned).checked()


def frontier_of(wish: FrontierWish, service: Service, unit: UnitType) -> FrontierTask:
    """The wished settings, or the usual ones, and the service's own among them.

    Raises
    ------
    SettingError
        For what is out of range.
    """
    elasticities, targets = check_settings(
        (*(wish.elasticities or ELASTICITIES), service.elasticity),
        (*(wish.targets or TARGETS), service.slo.attainment),
    )
    terms = _terms(service, unit, wish.lead_s, wish.days)
    scale = wish.rate_scale or 1 / service.log_sample
    order = Order(terms, scale, untuned=False).checked()
    return FrontierTask(order, elasticities, targets)


def _terms(service: Service, unit: UnitType, lead_s: float | None, days: float) -> Terms:
    return Terms(
        unit,
        service.slo,
        unit.lead_time_s if lead_s is None else lead_s,
        days=days,
        limits=service.limits,
        calendar=service.calendar,
        elasticity=service.elasticity,
    )


def _facts(order: Order) -> dict[str, Any]:
    return {
        "rate_scale": order.rate_scale,
        "days": order.terms.days,
        "seed": order.terms.seed,
        "profile": asdict(order.terms.unit.profile),
    }
