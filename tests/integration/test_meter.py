"""Counted demand in the store: each slot once, killed and resumed, late, twice, beside a log."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
from rich.console import Console

from forecaster.cli import output
from forecaster.config import Settings
from forecaster.demand.counted import Counted
from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.domain.errors import DataError, SettingError
from forecaster.ingest.meter import Meter, MeterReport, refuse_silence
from forecaster.ingest.presets import PRESETS, Counters
from forecaster.ingest.prometheus import Address, Prometheus, SourceAwayError
from forecaster.store import Store
from forecaster.wiring.meters import refuse_twice
from tests.integration.cli_runner import Runner
from tests.local_server import listening, self_signed, server_context

DAY_S = 86_400
START_S = 1_700_006_400  # a midnight
NOW_S = START_S + 5 * DAY_S + 90.0


@dataclass
class Truth:
    """What a source would answer, minute by minute, and how it goes wrong."""

    arrivals: dict[int, float] = field(default_factory=dict)
    away_at: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)

    def counted(self, source: Any, from_s: int, to_s: int, step_s: int) -> Counted:
        del source
        if self.away_at and from_s >= self.away_at:
            raise SourceAwayError("Prometheus is away", "try again")
        self.asked.append((from_s, to_s))
        starts = [s for s in range(from_s, to_s, step_s) if s in self.arrivals]
        n = np.array([self.arrivals[s] for s in starts])
        return Counted(np.array(starts, np.int64), n, 100 * n, 10 * n)


@pytest.fixture
def truth() -> Truth:
    rng = np.random.default_rng(8)
    starts = range(START_S, START_S + 5 * DAY_S, 60)
    return Truth({s: float(n) for s, n in zip(starts, rng.poisson(3, len(starts)), strict=True)})


def meter(store: Store, truth: Truth, service: str = "chat", step_s: int = 60) -> Meter:
    nobody: Any = None
    return Meter(service, truth, nobody, store.meters, name="test", step_s=step_s)


def read(store: Store, truth: Truth, service: str = "chat", **more: Any) -> MeterReport:
    return meter(store, truth, service).read(START_S, more.pop("now_s", NOW_S), **more)


def test_what_was_read_is_stored_once_over_kills_and_repeats(store: Store, truth: Truth) -> None:
    whole = read(store, truth, "whole")
    assert whole.arrivals == sum(truth.arrivals.values())
    stop = iter([False, False, True])
    read(store, truth, stopped=lambda: next(stop))
    truth.away_at = START_S + 3 * DAY_S
    with pytest.raises(SourceAwayError):
        read(store, truth)
    truth.away_at = 0
    before = len(truth.asked)
    last = read(store, truth)
    assert (
        min(at for at, _ in truth.asked[before:]) >= START_S + 3 * DAY_S - 900
    )  # not from the start
    assert (last.first_s, last.last_s) == (START_S, START_S + 5 * DAY_S + 60)
    one, two = store.slots("whole"), store.slots("chat")
    for name in type(one).__dataclass_fields__:
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert read(store, truth).arrivals == 0
    (summary,) = [each for each in store.services() if each.name == "chat"]
    assert summary.requests == sum(truth.arrivals.values())
    assert store.demand("chat", slot_s=3600).arrivals.sum() == pytest.approx(
        sum(truth.arrivals.values()), rel=0.02
    )


def test_late_samples_add_and_an_answer_with_gaps_takes_nothing(store: Store, truth: Truth) -> None:
    last = START_S + 5 * DAY_S - 60
    kept = truth.arrivals[last - 60]
    truth.arrivals[last] = 2.0
    read(store, truth)
    truth.arrivals[last] = 7.0
    del truth.arrivals[last - 60]
    assert read(store, truth, now_s=NOW_S + 60).arrivals == 5
    held = store.slots("chat", last - 60, last + 60)
    assert held.arrivals.tolist() == [n for n in (kept, 7.0) if n]


def test_an_earlier_beginning_is_read_backwards_and_may_stop_anywhere(
    store: Store, truth: Truth
) -> None:
    late = START_S + 3 * DAY_S
    meter(store, truth).read(late, NOW_S)
    stop = iter([False, False, True])
    read(store, truth, stopped=lambda: next(stop))
    assert truth.asked[-1] == (START_S + 2 * DAY_S, late)
    report = read(store, truth)
    assert report.first_s == START_S
    assert store.slots("chat").arrivals.sum() == sum(truth.arrivals.values())


def test_five_minute_steps_are_spread_over_their_minutes(store: Store, truth: Truth) -> None:
    truth.arrivals = dict.fromkeys(range(START_S, START_S + DAY_S, 300), 50.0)
    meter(store, truth, step_s=300).read(START_S, NOW_S)
    assert set(store.slots("chat").arrivals.tolist()) == {10}


def test_to_begin_anew_takes_back_what_was_counted(store: Store, truth: Truth) -> None:
    read(store, truth)
    store.meters.forget("chat")
    assert not store.slots("chat").start_s.size
    truth.arrivals = {START_S: 3.0}
    assert read(store, truth).arrivals == 3
    (summary,) = store.services()
    assert summary.requests == 3


def batch(at_s: float) -> RequestBatch:
    return RequestBatch("chat", np.array([at_s]), np.array([5]), np.array([5]))


def test_a_log_and_counters_never_count_the_same_time(store: Store, truth: Truth) -> None:
    log = LogSource(0, 10, "ab" * 32, "chat", "log")
    known = store.append_requests(log, log, [batch(START_S + DAY_S)])
    with pytest.raises(DataError, match="a request log of 'chat' reaches into that time"):
        read(store, truth)
    report = meter(store, truth).read(START_S + 2 * DAY_S, NOW_S)  # after its end
    assert report.arrivals > 0
    with pytest.raises(DataError, match="counted from metrics"):
        store.append_requests(known, known, [batch(START_S + 3 * DAY_S)])
    with pytest.raises(DataError, match="reaches into that time"):
        read(store, truth)
    store.append_requests(known, known, [batch(START_S + 60.0)])  # before the counters begin


def test_a_source_that_knows_nothing_is_said(store: Store) -> None:
    report = read(store, Truth())
    with pytest.raises(DataError, match="no series for 'chat'"):
        refuse_silence(report)


class Fake:
    """A FAKE of Prometheus's HTTP API: answers what it is told, and remembers who asked."""

    def __init__(self) -> None:
        self.status, self.body = 200, json.dumps({"status": "success", "data": {"result": []}})
        self.forms: list[dict[str, list[str]]] = []
        self.tokens: list[str | None] = []

    def answer(self, form: dict[str, list[str]]) -> str:
        del form
        return self.body


@contextmanager
def faked(fake: Fake, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Quiet."""

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
            fake.forms.append(parse_qs(raw) | {"path": [self.path]})
            fake.tokens.append(self.headers.get("Authorization"))
            body = fake.answer(fake.forms[-1]).encode()
            with suppress(ConnectionError):  # whoever asked was killed
                self.send_response(fake.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

    with listening(Handler, tls) as port:
        yield f"{'https' if tls else 'http'}://localhost:{port}"


class Months(Fake):
    """A FAKE with a counter that grows by five a minute, for ever; `kill` is sent at a window."""

    def __init__(self) -> None:
        super().__init__()
        self.kill: Callable[[], None] = lambda: None

    def answer(self, form: dict[str, list[str]]) -> str:
        if len(self.forms) == 7:
            self.kill()
        first, last, step = (int(form[key][0]) for key in ("start", "end", "step"))
        points = [[at, str(at // 60 * 5)] for at in range(first, last + 1, step)]
        series = {"metric": {"instance": "a"}, "values": points}
        return json.dumps({"status": "success", "data": {"result": [series]}})


DAYS = 25


def test_months_back_are_read_with_progress_through_a_kill(
    store: Store, dsn: str, cli: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Months()
    with faked(fake) as url:
        asked = ("meter", "chat", "--url", url, "--preset", "kserve", "--from", f"{DAYS}d")
        environment = os.environ | {"TIDEGATE_DSN": dsn}
        killed = subprocess.Popen([sys.executable, "-m", "forecaster.cli", *asked], env=environment)
        fake.kill = killed.kill
        try:
            assert killed.wait(60) == -signal.SIGKILL
        finally:
            killed.kill()
        (before,) = store.services()
        assert before.requests > 4 * DAY_S // 12
        screen = io.StringIO()
        monkeypatch.setattr(output, "err", Console(file=screen, force_terminal=True, width=120))
        said = cli(*asked, "--format", "json").json["services"][0]
    assert said["arrivals"] + before.requests == pytest.approx(DAYS * DAY_S / 12, rel=0.001)
    assert len(fake.forms) < DAYS + 10, "what was read before is not read again"
    assert said["windows"] < DAYS - 4
    slots = store.slots("chat")
    assert set(slots.arrivals.tolist()) == {5}
    assert np.all(np.diff(slots.start_s) == 60)
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", screen.getvalue())
    assert re.search(r"meter chat .*% \d+ of \d+ days \d:\d\d:\d\d \d:\d\d:\d\d", shown), (
        "with an ETA"
    )


def ask(address: Address) -> None:
    source = Prometheus(address)
    try:
        source.range("up", START_S, START_S + 60, 60)
    finally:
        source.close()


def test_token_parameters_and_path_reach_the_server(tmp_path: Path) -> None:
    fake, file = Fake(), tmp_path / "token"
    with faked(fake) as url:
        ask(Address(f"{url}/tenant/", "from-the-settings", None, None, ("dedup=true", "x=a=b")))
        file.write_text("one\n")
        ask(Address(url, "", file))
        file.write_text("two")
        ask(Address(url, "", file))
        ask(Address(url))
        with pytest.raises(SettingError, match=r"prometheus\.token_file"):
            ask(Address(url, "", tmp_path / "absent"))
    assert fake.tokens == ["Bearer from-the-settings", "Bearer one", "Bearer two", None]
    assert fake.forms[0]["path"] == ["/tenant/api/v1/query_range"]
    assert (fake.forms[0]["dedup"], fake.forms[0]["x"]) == (["true"], ["a=b"])
    assert "from-the-settings" not in repr(Address("u", "from-the-settings"))


def test_only_a_known_authority_is_believed(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    with faked(Fake(), server_context(cert, key)) as url:
        ask(Address(url, ca=cert))
        with pytest.raises(SourceAwayError, match="cannot be reached: ConnectError"):
            ask(Address(url))
    with pytest.raises(SettingError, match=r"prometheus\.ca"):
        ask(Address("https://localhost", ca=key.with_name("absent")))


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (401, "", DataError, "TIDEGATE_PROMETHEUS__TOKEN"),
        (400, '{"status":"error","error":"parse error"}', DataError, "parse error"),
        (422, '{"status":"error","error":"too many samples"}', DataError, "too many samples"),
        (404, "<html>", DataError, "refuses 'up'"),
        (200, "<html>", DataError, "refuses 'up'"),
        (429, "slow down", SourceAwayError, "answers 429"),
        (503, "starting", SourceAwayError, "answers 503"),
    ],
)
def test_every_refusal_says_who_acts_next(
    status: int, body: str, error: type[DataError], said: str
) -> None:
    fake = Fake()
    fake.status, fake.body = status, body
    with faked(fake) as url, pytest.raises(error, match=said):
        ask(Address(url))


def test_nobody_there_is_away() -> None:
    with pytest.raises(SourceAwayError, match="cannot be reached"):
        ask(Address("http://127.0.0.1:9"))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_each_preset_asks_for_its_own_names(name: str) -> None:
    fake = Fake()
    preset = PRESETS[name]
    with faked(fake) as url:
        source = Prometheus(Address(url))
        counted = Counters(preset, 'namespace="ml"').counted(source, START_S, START_S + 600, 60)
        source.close()
    assert not counted.start_s.size
    asked = {form["query"][0] for form in fake.forms}
    assert asked == set(Counters(preset, 'namespace="ml"').selectors())
    names = {each.partition("{")[0] for each in asked}
    for tokens in filter(None, (preset.prompt, preset.output)):
        assert {f"{tokens.name}_sum", f"{tokens.name}_count"} <= names
    assert names >= {*preset.requests, *preset.in_flight}
    assert all('{namespace="ml"' in each for each in asked)


def test_a_tier_of_ours_is_not_counted_twice() -> None:
    service = {"name": "chat", "unit": "tiny-llama", "metrics": {"preset": "vllm"}}
    with pytest.raises(SettingError, match="it logs its own requests"):
        refuse_twice(Settings(prometheus={"url": "http://p"}, service=(service,)))
    with pytest.raises(ValueError, match=r"\[service\.metrics\] wants prometheus\.url"):
        Settings(service=(service,))
