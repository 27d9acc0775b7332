"""Two lanes of one service, without processes: who reads, who goes on, and what is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actuators.onnx_tier.handovers import MEMORY, cache_folder
from actuators.onnx_tier.jobs import Job, RefusedError, Restarted, Tokens
from actuators.onnx_tier.router import LOSSES_MAX, Router
from actuators.onnx_tier.spec import TierService
from forecaster.domain.profile import GenerativeProfile, Pair, UnitType

READER = UnitType("reader", GenerativeProfile(1e-3, 1e-4, 0, 1e-5, max_batch=2))
WRITER = UnitType("writer", GenerativeProfile(1e-3, 1e-4, 0, 1e-5, max_batch=3, kv_tokens=100))
PAIR = Pair(READER, WRITER)
PD = UnitType("pd", PAIR.profile.together, pair=PAIR)


class _Link:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, header: dict[str, Any], _body: bytes = b"", *, at_once: bool = True) -> None:
        self.sent.append(header)


class _Bench:
    def __init__(self, folder: Path) -> None:
        service = TierService("chat", PD, Path("x"), queue_wait_s=9.0, decode_path=Path("y"))
        self.idle: list[str] = []
        self.router = Router(service.lanes, self.idle.append, lambda _service: 7, folder)
        self.links: dict[str, _Link] = {}

    def open(self, unit_id: str, pool: str) -> None:
        link = self.links[unit_id] = _Link()
        self.router.open_unit(unit_id, f"chat:{pool}", link)  # type: ignore[arg-type]

    def job(self, prompt: int = 10, tokens: int = 20) -> Job:
        header = {"t": "generate", "max_tokens": tokens}
        job = Job("chat", header, b"", 1.0, 0.0, prompt_tokens=prompt)
        self.router.submit(job)
        return job

    def read(self, job: Job) -> None:
        """What a prefill unit does: it writes the cache, and says so."""
        assert job.cache is not None
        job.cache.path.write_bytes(b"cache")
        frame = {"t": "handed", "id": job.job_id, "token": 65, "reused": 0, "bytes": 5}
        self.router.take(job.unit_id, frame, b"")

    def token(self, job: Job, finish: str = "") -> None:
        self.router.take(job.unit_id, {"t": "tokens", "r": [[job.job_id, 66, finish, 0]]}, b"")


def _events(job: Job) -> list[Any]:
    return [job.events.get_nowait() for _ in range(job.events.qsize())]


@pytest.fixture
def bench(tmp_path: Path) -> _Bench:
    found = _Bench(tmp_path)
    found.open("p", "prefill")
    found.open("d", "decode")
    return found


def test_a_request_goes_through_both_pools(bench: _Bench, tmp_path: Path) -> None:
    job = bench.job()
    read = bench.links["p"].sent[-1]
    assert (read["t"], read["file"]) == ("read", str(tmp_path / "1"))
    bench.read(job)
    assert bench.links["d"].sent[-1] == {
        "t": "resume", "max_tokens": 20, "file": read["file"], "token": 65, "id": 1,
    }  # fmt: skip
    assert bench.router.in_flight("p") == 0
    bench.token(job)
    assert not list(tmp_path.iterdir())  # it was taken
    bench.token(job, "length")
    assert _events(job) == [Tokens(65, ""), Tokens(66, ""), Tokens(66, "length")]
    assert bench.router.held() == 0
    assert bench.router.handovers.taken == {"chat": 1}


def test_a_decode_unit_needs_a_slot_and_room_for_the_tokens(bench: _Bench) -> None:
    first, second = bench.job(10, 50), bench.job(10, 50)
    bench.read(first)
    bench.read(second)  # 60 of its 100 tokens are taken
    assert (first.unit_id, second.unit_id) == ("d", "")
    bench.open("d2", "decode")
    assert second.unit_id == "d2"


def test_no_more_prompts_are_read_than_decode_units_take(bench: _Bench) -> None:
    bench.router.close_unit("d")
    jobs = [bench.job() for _ in range(9)]
    for job in jobs[:3]:
        bench.read(job)
    reading = [job for job in jobs if job.unit_id == "p"]
    assert bench.router.waiting("chat:decode") == 3
    assert len(reading) == 1  # it was sent before the third one waited
    bench.open("d", "decode")
    assert sum(job.unit_id == "p" for job in jobs) == 2


def test_a_lost_decode_unit_that_made_nothing_hands_the_cache_to_another(bench: _Bench) -> None:
    job = bench.job()
    bench.read(job)
    job.delivered = True  # its first token is out, and still it goes on
    bench.router.lose_unit("d")
    bench.open("d2", "decode")
    assert job.unit_id == "d2"
    bench.token(job, "length")
    assert _events(job) == [Tokens(65, ""), Tokens(66, "length")]


def test_a_lost_decode_unit_that_began_has_its_prompts_read_again(
    bench: _Bench, tmp_path: Path
) -> None:
    job, told = bench.job(), bench.job()
    for each in (job, told):
        bench.read(each)
        bench.token(each)
    told.delivered = True
    bench.router.lose_unit("d")
    assert isinstance(_events(job)[-1], Restarted)
    assert (job.unit_id, bench.links["p"].sent[-1]["t"]) == ("p", "read")
    assert isinstance(_events(told)[-1], RefusedError)
    bench.router.lose_unit("p")
    for n in range(LOSSES_MAX):
        bench.open(f"p{n}", "prefill")
        bench.router.lose_unit(f"p{n}")
    assert isinstance(_events(job)[-1], RefusedError)
    assert not list(tmp_path.iterdir())


def test_only_units_that_were_lost_count_against_a_request(bench: _Bench) -> None:
    """One unit lost in each stage is two, however often the request changed hands."""
    job = bench.job()
    bench.router.lose_unit("p")
    bench.open("p2", "prefill")
    bench.read(job)
    bench.token(job)
    bench.router.lose_unit("d")
    bench.open("d2", "decode")
    bench.read(job)
    bench.token(job, "length")
    assert _events(job)[-1] == Tokens(66, "length")
    assert (job.losses, job.done) == (2, True)


def test_a_cancelled_request_leaves_no_cache_behind(bench: _Bench, tmp_path: Path) -> None:
    bench.router.close_unit("d")
    reading, waiting = bench.job(), bench.job()
    bench.read(waiting)
    bench.router.cancel(waiting)
    bench.router.cancel(reading)
    late = tmp_path / str(reading.job_id)
    late.write_bytes(b"cache")  # the unit had not heard of it yet
    frame = {"t": "handed", "id": reading.job_id, "token": 65, "reused": 0, "bytes": 5}
    bench.router.take("p", frame, b"")
    assert not list(tmp_path.iterdir())
    assert bench.router.held() == 0


def test_who_waits_too_long_for_a_decode_unit_is_refused(bench: _Bench, tmp_path: Path) -> None:
    bench.router.close_unit("d")
    job = bench.job()
    job.queued_s -= 100.0
    bench.read(job)  # the wait begins anew
    bench.router.expire()
    assert not job.done
    job.queued_s -= 100.0
    bench.router.expire()
    refusal = _events(job)[-1]
    assert (refusal.status, refusal.message[:5]) == (503, "chat:")
    assert not list(tmp_path.iterdir())


def test_a_unit_without_room_for_a_cache_refuses(bench: _Bench) -> None:
    job = bench.job()
    frame = {"t": "refused", "id": job.job_id, "error": "no room", "status": 503}
    bench.router.take("p", frame, b"")
    (refusal,) = _events(job)
    assert (refusal.status, refusal.code) == (503, "overloaded")


def test_the_folder_is_emptied_at_each_start(tmp_path: Path) -> None:
    with cache_folder(tmp_path) as folder:
        (folder / "1").write_bytes(b"left by a tier that was killed")
        with cache_folder(tmp_path) as again:
            assert again == folder
            assert not list(again.iterdir())
        folder.mkdir()
    assert not folder.exists()
    assert folder.parent in (MEMORY, tmp_path)
