"""The router's choices, without processes: units are lists of the frames that they were sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actuators.onnx_tier.jobs import Answer, Job, RefusedError, Restarted, Tokens, expected_work_s
from actuators.onnx_tier.router import LOSSES_MAX, RoutedUnit, Router, least_loaded
from actuators.onnx_tier.spec import TierService
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType

LLAMA = UnitType("llama", GenerativeProfile(1e-3, 1e-4, 0, 1e-5, max_batch=2))
MLP = UnitType("mlp", ClassicProfile(((1, 0.001), (4, 0.002))))


class _Link:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, header: dict[str, Any], _body: bytes = b"", *, at_once: bool = True) -> None:
        self.sent.append(header)

    @property
    def ids(self) -> list[int]:
        return [each["id"] for each in self.sent if each["t"] == "generate"]


class _Bench:
    def __init__(self, queue_limit: int = 100, queue_wait_s: float = 60.0) -> None:
        services = (
            TierService("chat", LLAMA, Path("x"), queue_limit, queue_wait_s),
            TierService("mlp", MLP, Path("x"), queue_limit, queue_wait_s),
        )
        self.idle: list[str] = []
        self.router = Router(services, self.idle.append, lambda _service: 7)
        self.links: dict[str, _Link] = {}

    def open(self, unit_id: str, service: str = "chat") -> _Link:
        link = self.links[unit_id] = _Link()
        self.router.open_unit(unit_id, service, link)  # type: ignore[arg-type]
        return link

    def job(self, work_s: float = 1.0, service: str = "chat", batch: bool = False) -> Job:
        job = Job(service, {"t": "generate"}, b"", work_s, 0.0, batch=batch)
        self.router.submit(job)
        return job

    def token(self, job: Job, finish: str = "") -> None:
        frame = {"t": "tokens", "r": [[job.job_id, 65, finish, 0]]}
        self.router.take(job.unit_id, frame, b"")


def _events(job: Job) -> list[Any]:
    return [job.events.get_nowait() for _ in range(job.events.qsize())]


def test_the_unit_with_the_least_work_is_chosen_not_the_one_with_fewest_requests() -> None:
    bench = _Bench()
    bench.open("a")
    bench.open("b")
    long = bench.job(work_s=10.0)
    short = [bench.job(work_s=1.0) for _ in range(2)]
    assert {job.unit_id for job in short} == {"a", "b"} - {long.unit_id}


def test_full_and_closed_units_are_never_chosen() -> None:
    full = RoutedUnit("full", _Link(), slots=0)  # type: ignore[arg-type]
    closed = RoutedUnit("closed", _Link(), slots=5, open=False)  # type: ignore[arg-type]
    assert least_loaded([full, closed]) is None
    assert least_loaded([]) is None


def test_requests_wait_in_order_while_units_are_full() -> None:
    bench = _Bench()
    link = bench.open("a")
    jobs = [bench.job() for _ in range(5)]
    assert link.ids == [1, 2]
    assert bench.router.waiting("chat") == 3
    bench.token(jobs[1], "length")
    assert link.ids == [1, 2, 3]
    other = bench.open("b")
    assert other.ids == [4, 5]


def test_services_never_share_units() -> None:
    bench = _Bench()
    bench.open("m", "mlp")
    job = bench.job(service="chat")
    assert (job.unit_id, bench.router.waiting("chat")) == ("", 1)


def test_a_full_queue_refuses_with_advice() -> None:
    bench = _Bench(queue_limit=1)
    bench.job()
    with pytest.raises(RefusedError) as refusal:
        bench.job()
    assert (refusal.value.status, refusal.value.retry_after_s) == (503, 7)
    bench.router.accepting = False
    with pytest.raises(RefusedError, match="stopping"):
        bench.job()


def test_requests_that_waited_too_long_are_refused() -> None:
    bench = _Bench(queue_wait_s=1.0)
    old, fresh = bench.job(), bench.job()
    old.queued_s -= 2.0
    bench.router.expire()
    assert old.done
    assert not fresh.done
    assert bench.router.waiting("chat") == 1


def test_a_closed_unit_is_idle_when_its_last_request_is_answered() -> None:
    bench = _Bench()
    bench.open("a")
    jobs = [bench.job(), bench.job()]
    bench.router.close_unit("a")
    assert bench.idle == []
    bench.token(jobs[0], "length")
    assert bench.idle == []
    bench.token(jobs[1], "length")
    assert bench.idle == ["a"]
    bench.open("b")
    bench.router.close_unit("b")
    assert bench.idle == ["a", "b"]


def test_a_lost_units_unstarted_requests_go_first_and_started_streams_end() -> None:
    bench = _Bench()
    bench.open("a")
    started, unstarted = bench.job(), bench.job()
    waiting = bench.job()
    bench.token(started)
    bench.token(unstarted)
    started.delivered = True
    bench.router.lose_unit("a")
    ended = _events(started)[-1]
    assert isinstance(ended, RefusedError)
    assert (ended.status, ended.code) == (502, "unit_lost")
    link = bench.open("b")
    assert link.ids == [unstarted.job_id, waiting.job_id]
    assert [type(each) for each in _events(unstarted)] == [Restarted]
    assert unstarted.output_tokens == 0


def test_a_request_does_not_outlive_units_for_ever() -> None:
    bench = _Bench()
    job = bench.job()
    for attempt in range(LOSSES_MAX):
        assert not job.done
        bench.open(f"u{attempt}")
        bench.router.lose_unit(f"u{attempt}")
    last = _events(job)[-1]
    assert isinstance(last, RefusedError)
    assert last.message == "3 units were lost with it"


def test_a_cancelled_request_frees_its_place() -> None:
    bench = _Bench()
    link = bench.open("a")
    jobs = [bench.job() for _ in range(4)]
    bench.router.cancel(jobs[3])
    bench.router.cancel(jobs[0])
    assert {"t": "cancel", "id": 1} in link.sent
    assert link.ids == [1, 2, 3]
    bench.token(jobs[0])
    assert _events(jobs[0]) == []
    bench.router.cancel(jobs[0])
    assert bench.router.in_flight("a") == 2
    assert bench.router.held() == 2


def test_answers_and_refusals_reach_their_request() -> None:
    bench = _Bench()
    bench.open("m", "mlp")
    good, bad = bench.job(service="mlp"), bench.job(service="mlp")
    bench.router.take("m", {"t": "answer", "id": good.job_id, "outputs": []}, b"x")
    bench.router.take("m", {"t": "refused", "id": bad.job_id, "error": "shape"}, b"")
    bench.router.take("m", {"t": "answer", "id": 99, "outputs": []}, b"")
    bench.router.take("stranger", {"t": "answer", "id": 1, "outputs": []}, b"")
    assert _events(good) == [Answer([], b"x")]
    assert _events(bad)[0].status == 400
    assert bench.router.work_s("m") == 0.0


def test_expected_work_by_hand() -> None:
    profile = GenerativeProfile(0.01, 0.001, 1e-6, 1e-4, max_batch=10)
    # 100 prompt tokens: 0.01 s. 10 tokens of (1 ms + 105 cached x 1 us + 10 ms / 10): 0.02105 s.
    assert expected_work_s(profile, 100, 10) == pytest.approx(0.03105)
    assert Tokens(1, "") == Tokens(1, "")


def test_people_pass_batch_work_and_find_a_slot() -> None:
    bench = _Bench(queue_limit=8)
    link = bench.open("a", "chat")
    batch = [bench.job(batch=True) for _ in range(4)]
    person = bench.job()
    assert link.ids == [batch[0].job_id, batch[1].job_id], "ceil(2 slots x 0.75) hold batch work"
    bench.token(batch[0], "length")
    assert link.ids[-1] == person.job_id
    bench.token(person, "length")
    assert link.ids[-1] == batch[2].job_id


def test_batch_work_takes_half_the_queue_at_most() -> None:
    bench = _Bench(queue_limit=4)
    for _ in range(2):
        bench.job(batch=True)
    with pytest.raises(RefusedError):
        bench.job(batch=True)
    people = [bench.job() for _ in range(2)]
    with pytest.raises(RefusedError):
        bench.job()
    link = bench.open("a")
    assert link.ids == [job.job_id for job in people]
