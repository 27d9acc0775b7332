"""One queue in front of units of two types, without processes: who gets what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actuators.onnx_tier.jobs import Job, expected_work_s
from actuators.onnx_tier.router import Router
from actuators.onnx_tier.spec import TierService
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, Mixed, UnitType

SLOW = UnitType("slow", GenerativeProfile(3e-3, 3e-4, 0, 3e-5, max_batch=4, kv_tokens=400))
FAST = UnitType("fast", GenerativeProfile(1e-3, 1e-4, 0, 1e-5, max_batch=4, kv_tokens=900))


class _Link:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, header: dict[str, Any], _body: bytes = b"", *, at_once: bool = True) -> None:
        self.sent.append(header)


class _Bench:
    def __init__(self, types: tuple[UnitType, ...] = (SLOW, FAST)) -> None:
        mix = UnitType("mix", types[0].profile, mixed=Mixed(types, (9,) * len(types)))
        paths = tuple(Path(each.name) for each in types)
        service = TierService("chat", mix, paths[0], queue_limit=9, type_paths=paths)
        self.idle: list[str] = []
        self.asked: list[str] = []
        self.router = Router(service.lanes, self.idle.append, self._retry)

    def _retry(self, service: str) -> int:
        self.asked.append(service)
        return 7

    def open(self, unit_id: str, kind: str) -> None:
        self.router.open_unit(unit_id, f"chat:{kind}", _Link())  # type: ignore[arg-type]

    def job(self, prompt: int = 10, tokens: int = 20) -> Job:
        job = Job("chat", {"t": "generate", "max_tokens": tokens}, b"", 1.0, 0.0, prompt)
        self.router.submit(job)
        return job

    def end(self, job: Job) -> None:
        self.router.take(job.unit_id, {"t": "tokens", "r": [[job.job_id, 1, "length", 0]]}, b"")


@pytest.fixture
def bench() -> _Bench:
    found = _Bench()
    found.open("s", "slow")
    found.open("f", "fast")
    return found


def test_a_request_goes_where_it_is_done_first(bench: _Bench) -> None:
    """A fast unit is three times as fast: it gets three of four, the first ones first."""
    took = [bench.job().unit_id for _ in range(4)]
    assert sorted(took) == ["f", "f", "f", "s"]
    assert took[:2] == ["f", "f"]


def test_work_is_counted_by_the_units_own_profile_and_taken_off_again(bench: _Bench) -> None:
    jobs = [bench.job() for _ in range(4)]
    slow, fast = (expected_work_s(each.profile, 10, 20) for each in (SLOW, FAST))
    assert bench.router.work_s("s") == pytest.approx(slow)
    assert bench.router.work_s("f") == pytest.approx(3 * fast)
    for job in jobs:
        bench.end(job)
    assert bench.router.work_s("f") == bench.router.work_s("s") == 0.0
    assert bench.router.held() == 0


def test_what_one_type_cannot_hold_waits_for_the_other(bench: _Bench) -> None:
    large = [bench.job(300, 200) for _ in range(5)]
    assert [job.unit_id for job in large] == ["f"] * 4 + [""]
    bench.end(large[0])
    assert large[4].unit_id == "f"
    assert bench.job(800, 200).unit_id  # no type can: a unit says so


def test_one_queue_is_counted_once_and_refuses_in_the_services_name(bench: _Bench) -> None:
    bench.router.close_unit("s")
    bench.router.close_unit("f")
    for _ in range(9):
        bench.job()
    assert bench.router.queues == ("chat",)
    assert bench.router.waiting("chat") == bench.router.held() == 9
    with pytest.raises(Exception, match="chat: 9 requests already wait"):
        bench.job()
    assert bench.asked == ["chat"]
    bench.open("s2", "slow")
    assert bench.router.waiting("chat") == 5
    assert bench.router.backlog_s("chat") > 0


def test_a_lost_units_requests_move_to_the_other_type(bench: _Bench) -> None:
    jobs = [bench.job() for _ in range(4)]
    bench.router.lose_unit("f")
    assert {job.unit_id for job in jobs} == {"s"}
    bench.router.cancel(jobs[0])
    assert bench.router.in_flight("s") == 3
    bench.router.close_unit("s")
    for job in jobs[1:]:
        bench.end(job)
    assert bench.idle == ["s"]


def test_types_that_answer_in_one_pass_share_a_queue_too() -> None:
    slow = UnitType("slow", ClassicProfile(((1, 0.02), (4, 0.04))))
    bench = _Bench((slow, UnitType("fast", ClassicProfile(((1, 0.01), (4, 0.02))))))
    bench.open("s", "slow")
    bench.open("f", "fast")
    took = [bench.job(0, 0).unit_id for _ in range(6)]
    assert (took.count("f"), took.count("s")) == (4, 2)
