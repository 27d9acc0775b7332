"""The frontier: what a setting costs, elasticity and target → saving against attainment.

Every point is Tidegate's own plan as it would have run, without hindsight, and judged by the kernel
against the same bounds. The forecasts and the capacity curve do not depend on the settings: they are
made once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from forecaster.domain.errors import SettingError
from forecaster.replay import rules
from forecaster.replay.autopilot import Autopilot, Tape, record
from forecaster.replay.contest import Court
from forecaster.replay.match import money, unit_seconds
from forecaster.replay.scene import TICK_S, Scene
from forecaster.replay.scorecard import Score
from forecaster.replay.timeline import Timeline

ELASTICITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
TARGETS = (0.9, 0.95, 0.99, 0.995, 0.999)
TARGET_LEAST = 0.5
POINTS_MOST = 200
"""Each point is a plan and a kernel run: a second or two."""
_FORECAST_SHARE = 0.5
"""Of the time goes into the forecasts; the points share the rest."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Point:
    """One setting's outcome.

    Attributes
    ----------
    elasticity, target : float
        The setting.
    unit_s : float
        Unit-seconds ready, warming and draining.
    attainment : float
        Share of the requests inside the SLO.
    violation_minutes : int
        Minutes in which more than 1 - target was outside.
    actions : int
        Ticks at which an order went out.
    cost : float
        Money for all those units.
    """

    elasticity: float
    target: float
    unit_s: float
    attainment: float
    violation_minutes: int
    actions: int
    cost: float


@dataclass(frozen=True)
class Frontier:
    """All points of one log.

    Attributes
    ----------
    points : tuple of Point
        By target, then by elasticity, both rising.
    static_peak : Point
        Elasticity 0 at the order's own target, the week's peak held: what savings are measured by.
    busiest_s : float
        Unit-seconds of the static fleet that carries the busiest five minutes of the window, in
        hindsight, at the same target.
    requests : int
        Requests of the scored window.
    """

    scene: Scene
    points: tuple[Point, ...]
    static_peak: Point
    busiest_s: float
    requests: int

    def saved_share(self, point: Point) -> float:
        """Share of the static peak's unit-hours that a setting saves; below 0 where it costs more."""
        return 1 - point.unit_s / self.static_peak.unit_s

    def to_dict(self) -> dict[str, Any]:
        """What JSON says."""
        scene = self.scene
        return {
            "from_s": scene.start_s,
            "to_s": scene.end_s,
            "lead_s": scene.lead_s,
            "requests": self.requests,
            "static_peak": {
                "target": self.static_peak.target,
                "unit_hours": self.static_peak.unit_s / 3600,
                "busiest_unit_hours": self.busiest_s / 3600,
            },
            "points": [
                {
                    "elasticity": point.elasticity,
                    "target": point.target,
                    "unit_hours": point.unit_s / 3600,
                    "attainment": point.attainment,
                    "saved_share": self.saved_share(point),
                    "saved_share_of_busiest": 1 - point.unit_s / self.busiest_s,
                    "violation_minutes": point.violation_minutes,
                    "actions": point.actions,
                    "cost": point.cost,
                }
                for point in self.points
            ],
        }


def check_settings(
    elasticities: Sequence[float], targets: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Both lists, each value once, rising.

    Raises
    ------
    SettingError
        For a value out of range, an empty list, too many points.
    """
    for each in elasticities:
        if not 0 <= each <= 1:
            raise SettingError("--elasticities", each, "0 (the peak) to 1 (the tide)")
    for each in targets:
        if not TARGET_LEAST <= each < 1:
            raise SettingError("--targets", each, f"{TARGET_LEAST:g} or more, below 1", "say 0.99")
    chosen = tuple(sorted(set(elasticities))), tuple(sorted(set(targets)))
    points = len(chosen[0]) * len(chosen[1])
    if not 1 <= points <= POINTS_MOST:
        raise SettingError(
            "--elasticities x --targets", points, f"1 to {POINTS_MOST} points", "name fewer of each"
        )
    return chosen


def aimed(scene: Scene, elasticity: float, target: float) -> Scene:
    """The same world with another setting: its capacity curve does not depend on the target."""
    question = scene.table.question
    slo = replace(question.slo, attainment=target)
    table = replace(scene.table, question=replace(question, slo=slo))
    return replace(scene, elasticity=elasticity, table=table)


def planned(scene: Scene, tape: Tape) -> Timeline:
    """The fleet of a scene's setting: the daemon's plan on the forecasts that it would have had."""
    return scene.carried_out(Autopilot(scene, tape).units(1.0))


def frontier(
    court: Court,
    elasticities: Sequence[float] = ELASTICITIES,
    targets: Sequence[float] = TARGETS,
    progress: Progress = lambda name, share: None,
) -> Frontier:
    """Play every setting on the court's scene.

    Raises
    ------
    SettingError
        As `check_settings` does.
    TooLittleHistoryError
        When there is too little before the scored window to learn from.
    """
    elasticities, targets = check_settings(elasticities, targets)
    scene = court.scene
    own = scene.table.question.slo.attainment
    settings = [(0.0, own), *((e, target) for target in targets for e in elasticities)]
    progress("forecasts", 0.0)
    tape = record(scene)
    played: dict[tuple[float, float], Point] = {}
    scores: dict[bytes, Score] = {}
    for i, (e, target) in enumerate(settings):
        share = _FORECAST_SHARE + (1 - _FORECAST_SHARE) * i / len(settings)
        progress(f"elasticity {e:g}, target {target:g}", share)
        if (e, target) in played:
            continue
        fleet = planned(aimed(scene, e, target), tape)
        key = fleet.ready.tobytes()  # settings that order the same have the same outcome
        if key not in scores:
            scores[key] = court.judge(fleet)
        played[e, target] = _point(scene, (e, target), fleet, scores[key])
    progress("done", 1.0)
    busiest = rules.static_peak(scene, 1.0)
    return Frontier(
        scene,
        tuple(played[each] for each in settings[1:]),
        played[settings[0]],
        float(busiest.sum()) * TICK_S,
        next(iter(scores.values())).requests,
    )


def _point(scene: Scene, setting: tuple[float, float], fleet: Timeline, score: Score) -> Point:
    elasticity, target = setting
    outside = score.minute_requests - score.minute_inside
    violated = outside > (1 - target) * score.minute_requests
    return Point(
        elasticity, target, unit_seconds(fleet, score), score.attainment, int(violated.sum()),
        fleet.actions, money(scene, fleet, score),
    )  # fmt: skip
