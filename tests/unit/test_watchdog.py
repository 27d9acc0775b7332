"""Jobs and their watchdog: what hangs or dies is said aloud, once."""

from __future__ import annotations

import threading

import pytest
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from forecaster.clock import SystemClock
from forecaster.config import Settings
from forecaster.config.settings import ApiSettings, ServiceSettings
from forecaster.daemon.changes import refuse
from forecaster.daemon.jobs import Job, Jobs, overdue
from forecaster.daemon.schedule import every
from forecaster.domain.errors import SettingError


def test_a_job_that_dies_stops_the_process_aloud(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    dead = threading.Event()

    def on_dead(why: str) -> None:
        told.append(why)
        dead.set()

    def die() -> None:
        raise RuntimeError("boom")

    jobs = Jobs(on_dead)
    jobs.add("books", die, DateTrigger(), limit_s=60.0)
    jobs.start()
    assert dead.wait(20)
    jobs.stop()
    assert told == ["job 'books' died: RuntimeError('boom')"]
    assert "job 'books' died" in caplog.text


def test_a_job_that_hangs_stops_the_process_aloud() -> None:
    told: list[str] = []
    dead, let_go, ran = threading.Event(), threading.Event(), threading.Event()

    def on_dead(why: str) -> None:
        told.append(why)
        dead.set()

    def hang() -> None:
        ran.set()
        let_go.wait(30)

    jobs = Jobs(on_dead)
    jobs.add("tick", hang, DateTrigger(), limit_s=0.0)
    jobs.start()
    assert ran.wait(20)
    assert dead.wait(20)
    let_go.set()
    jobs.stop()
    assert len(told) == 1
    assert told[0].startswith("job 'tick' hangs")


def test_a_job_between_runs_is_sound() -> None:
    job = Job("tick", lambda: None, limit_s=1.0)
    job()
    assert overdue(job, 1e12) == ""


def test_intervals_are_jittered_by_a_share_of_themselves() -> None:
    plain, moved = every(60.0, SystemClock()), every(60.0, SystemClock(), jitter_share=0.1)
    assert isinstance(plain, IntervalTrigger)
    assert isinstance(moved, IntervalTrigger)
    assert (plain.jitter, moved.jitter) == (None, 6.0)


CHAT = ServiceSettings(name="chat", unit="tiny-llama")


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (Settings(service=(CHAT,), api=ApiSettings(token="hush-hush")), "api"),
        (Settings(service=(CHAT.model_copy(update={"unit": "large"}),)), "another unit type"),
        (Settings(service=(CHAT, CHAT.model_copy(update={"name": "code"}))), "is new"),
        (Settings(), "not configured any more"),
    ],
)
def test_what_wants_a_restart_is_refused_with_its_name(after: Settings, says: str) -> None:
    with pytest.raises(SettingError, match=says) as refused:
        refuse(Settings(service=(CHAT,)), after)
    assert "restart tidegate" in str(refused.value)
    assert "hush" not in str(refused.value)


def test_what_may_change_passes() -> None:
    wider = CHAT.model_copy(update={"max_units": 20})
    refuse(Settings(service=(CHAT,)), Settings(service=(wider,)))
