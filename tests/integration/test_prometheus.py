"""A real Prometheus with days of counters: two pods, one that restarts, one that is born."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from forecaster.api.metrics import render
from forecaster.config import Settings, load_settings
from forecaster.domain.reported import Reported
from forecaster.domain.samples import Point, Stream
from forecaster.domain.service import Slo
from forecaster.ingest.buckets import thinned
from forecaster.ingest.latencies import Histograms, Outside, Reports
from forecaster.ingest.presets import PRESETS, Counters, Expressions
from forecaster.ingest.prometheus import Address, Prometheus
from forecaster.ingest.pushed import PushedSource
from forecaster.store import Store
from forecaster.wiring.meters import busy_of, examine_latencies, reading
from tests.integration.cli_runner import Runner
from tests.integration.prometheus_server import running_prometheus, skip_without_prometheus
from tests.integration.test_deploy_files import SERVICE, TOLD
from tests.integration.tier_helpers import until

SCRAPE_S = 15
DAYS = 3
PROMPT, OUTPUT = 700.0, 150.0
LATE = 0.03
"""Share of the answers whose first token takes more than a second; half of them more than two and a half."""
PODS = ("gpu-a", "gpu-b")


@dataclass
class History:
    """What truly came, minute by minute, and the samples that scrapes saw of it."""

    start_s: int
    arrivals: np.ndarray
    late: np.ndarray
    samples: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def sample(self, name: str, labels: str, at_s: int, value: float) -> None:
        self.samples.setdefault(f"{name}{{{labels}}}", []).append((at_s, value))

    def openmetrics(self) -> str:
        kinds: dict[str, list[str]] = {}
        for series, points in self.samples.items():
            name = series.partition("{")[0]
            kinds.setdefault(name, []).extend(f"{series} {v:.12g} {at}" for at, v in points)
        lines = []
        for name, rows in kinds.items():
            lines += [f"# TYPE {name} unknown", *rows]
        return "\n".join([*lines, "# EOF\n"])


def history(now_s: float) -> History:
    """Poisson arrivals under a tide; answers take 20 s; pod b is born after a day, pod a restarts."""
    start_s = int(now_s // 86_400 - DAYS) * 86_400
    minutes = int((now_s - start_s) // 60)
    rng = np.random.default_rng(11)
    tide = 30 + 25 * np.sin(2 * np.pi * np.arange(minutes) / 1440)
    per_scrape = rng.poisson(np.repeat(tide, 60 // SCRAPE_S) * SCRAPE_S / 60)
    born, restart = 86_400 // SCRAPE_S, 2 * 86_400 // SCRAPE_S
    slow = rng.binomial(np.concatenate([[0], per_scrape[:-1]]), LATE)  # of those that end in it
    minutely = (-1, 60 // SCRAPE_S)
    made = History(
        start_s, per_scrape.reshape(minutely).sum(axis=1), slow.reshape(minutely).sum(axis=1)
    )
    done = dict.fromkeys(PODS, 5000.0)  # they ran before anybody looked
    flight = dict.fromkeys(PODS, 0.0)
    late = dict.fromkeys(PODS, 0.0)
    done["gpu-b"] = 0.0
    for index, came in enumerate(per_scrape):
        at_s = start_s + SCRAPE_S * (index + 1)
        alive = PODS if index >= born else PODS[:1]
        if index == restart:
            done["gpu-a"] = late["gpu-a"] = 0.0
        shares = rng.multinomial(came, [1 / len(alive)] * len(alive))
        ended = sum(flight.values())
        for pod, share in zip(alive, shares, strict=True):
            late[pod] += slow[index] * flight[pod] / ended if ended else 0.0
            done[pod] += flight[pod]  # what came in the scrape before has ended
            flight[pod] = float(share)
            labels = f'model_name="chat",pod="{pod}",instance="{pod}:8000",job="vllm"'
            end = f'{labels},finished_reason="stop"'
            made.sample("vllm:request_success_total", end, at_s, done[pod])
            made.sample("vllm:num_requests_running", labels, at_s, flight[pod])
            made.sample("vllm:num_requests_waiting", labels, at_s, 0.0)
            for bucket, value in (("0.5", 0.8 * (done[pod] - late[pod])), ("1.0", done[pod] - late[pod]),
                                  ("2.5", done[pod] - late[pod] / 2), ("+Inf", done[pod])):  # fmt: skip
                ttft = f'{labels},le="{bucket}"'
                made.sample("vllm:time_to_first_token_seconds_bucket", ttft, at_s, value)
            for bucket in ("0.05", "0.1", "+Inf"):
                tpot = f'{labels},le="{bucket}"'
                name = "vllm:request_time_per_output_token_seconds_bucket"
                made.sample(name, tpot, at_s, done[pod])
            for name, mean in (("prompt", PROMPT), ("generation", OUTPUT)):
                made.sample(f"vllm:request_{name}_tokens_sum", labels, at_s, done[pod] * mean)
                made.sample(f"vllm:request_{name}_tokens_count", labels, at_s, done[pod])
    return made


@pytest.fixture(scope="module")
def truth() -> History:
    return history(time.time())


@pytest.fixture(scope="module")
def prometheus(truth: History, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's Prometheus over blocks that its own promtool made of the history."""
    skip_without_prometheus()
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "history.om").write_text(truth.openmetrics())
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "history.om", "data"],
        cwd=folder, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    with running_prometheus(folder, "global: {scrape_interval: 15s}\n") as url:
        yield url


def settings(url: str, **metrics: str) -> Settings:
    service = {"name": "chat", "unit": "llama70b-h100x8", "metrics": metrics or {"preset": "vllm"}}
    return Settings(prometheus={"url": url, "backfill_days": DAYS + 1}, service=(service,))


def test_counters_come_out_as_what_came_in(
    prometheus: str, truth: History, cli: Runner, dsn: str
) -> None:
    argv = ("meter", "chat", "--url", prometheus, "--preset", "vllm", "--from", f"{DAYS + 1}d")
    ran = cli(*argv, "--format", "json")
    assert ran.code == 0, ran.err
    (said,) = ran.json["services"]
    with Store.open(dsn) as store:
        slots = store.slots("chat")
        again = cli(*argv, "--format", "json").json["services"][0]
        assert again["arrivals"] == 0
        assert np.array_equal(store.slots("chat").arrivals, slots.arrivals)
        series = store.demand("chat", slot_s=300)
    assert said["arrivals"] == int(slots.arrivals.sum())
    index = (slots.start_s - truth.start_s) // 60
    came = truth.arrivals[index]
    exact = slots.arrivals == came
    # a minute differs where a pod was first seen, or restarted with requests in flight
    assert exact.mean() > 0.995
    assert int(slots.arrivals.sum()) == pytest.approx(truth.arrivals.sum(), rel=0.002)
    assert slots.arrivals.max() < 3 * truth.arrivals.max()  # no counter's past became demand
    assert series.mix.prompt_mean == pytest.approx(PROMPT, rel=0.01)
    assert series.mix.output_mean == pytest.approx(OUTPUT, rel=0.01)
    assert series.dispersion == pytest.approx(1.0, abs=0.1)


def test_pushed_samples_give_the_minutes_that_a_query_gives(
    prometheus: str, truth: History, store: Store
) -> None:
    """The same three days sample by sample, and by `query_range`: one question, two sources."""
    source = Prometheus(Address(prometheus))
    chat = Counters(PRESETS["vllm"], 'model_name="chat"')
    from_s, to_s = truth.start_s + 86_400 - 7200, truth.start_s + 86_400 + 7200  # a pod is born
    streams = []
    for series, points in truth.samples.items():
        name, _, rest = series.partition("{")
        labels = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        near = tuple(Point(at, value) for at, value in points if from_s - 600 < at <= to_s + 60)
        streams.append(Stream(name, labels, near))
    slo, times = Slo(ttft_p99_s=1.75, tpot_p99_s=0.1), Histograms(chat)
    kept = thinned(streams, times.bounds(slo))
    assert {each.labels.get("le") for each in kept if each.name.startswith("vllm:time_to")} == {
        "1.0", "2.5", "+Inf",
    }  # fmt: skip
    store.pushed.put("chat", kept)
    judged = times.reported(PushedSource("chat", store.pushed), slo, from_s, to_s, 60)
    asked = Histograms(chat).reported(source, slo, from_s, to_s, 60)
    assert np.array_equal(judged.start_s, asked.start_s)
    assert np.allclose(judged.requests, asked.requests)
    assert np.allclose(judged.outside, asked.outside)
    assert judged.outside.sum() > 0
    pushed = chat.counted(PushedSource("chat", store.pushed), from_s, to_s, 60)
    pulled = chat.counted(source, from_s, to_s, 60)
    source.close()
    for name in ("start_s", "arrivals", "prompt_tokens", "output_tokens"):
        assert np.array_equal(getattr(pushed, name), getattr(pulled, name)), name
    assert pushed.start_s.size == (to_s - from_s) // 60


def test_promql_of_your_own_gives_the_same_tide(prometheus: str, truth: History) -> None:
    source = Prometheus(Address(prometheus))
    from_s = truth.start_s + 3600
    own = Expressions(
        "sum(increase(vllm:request_success_total[$step]))",
        "sum(increase(vllm:request_prompt_tokens_sum[$step]))",
    )
    wanted = Counters(PRESETS["vllm"], 'model_name="chat"').counted(
        source, from_s, from_s + 36_000, 300
    )
    found = own.counted(source, from_s, from_s + 36_000, 300)
    source.close()
    assert np.array_equal(found.start_s, wanted.start_s)
    assert found.arrivals.sum() == pytest.approx(wanted.arrivals.sum(), rel=0.05)
    assert found.prompt_tokens.sum() / found.arrivals.sum() == pytest.approx(PROMPT, rel=0.01)
    assert not found.output_tokens.any()


def test_the_daemon_reads_on_while_it_leads(prometheus: str, store: Store) -> None:
    service = settings(prometheus).service[0].service()
    pilot = SimpleNamespace(service=replace(service, slo=Slo(ttft_p99_s=1.0, tpot_p99_s=0.1)))
    daemon: Any = SimpleNamespace(leads=True, failures={}, pilots={"chat": pilot})
    with reading(settings(prometheus), store, daemon):
        until(lambda: [s for s in store.services() if s.requests > 1000], "demand")
    assert not daemon.failures
    said = store.meters.reported("chat", 0, 4e9)
    assert said.start_s.size > 1000  # a day of them
    assert said.outside.sum() / said.requests.sum() == pytest.approx(LATE, rel=0.1)
    with reading(settings("http://127.0.0.1:9"), store, daemon):
        until(lambda: "metrics chat" in daemon.failures, "what is wrong")
    assert "cannot be reached" in daemon.failures["metrics chat"]


def test_latencies_that_cannot_be_asked_keep_nobody_from_counting(
    prometheus: str, store: Store
) -> None:
    asked = settings(prometheus, preset="vllm", outside="sum(")
    pilot = SimpleNamespace(service=asked.service[0].service())
    daemon: Any = SimpleNamespace(leads=True, failures={}, pilots={"chat": pilot})
    with reading(asked, store, daemon):
        until(lambda: [s for s in store.services() if s.requests > 1000], "demand")
    assert set(daemon.failures) == {"latencies chat"}
    assert "parse error" in daemon.failures["latencies chat"]


def minutes_of(truth: History, found: Reported) -> tuple[np.ndarray, np.ndarray]:
    """What truly ended in the minutes that were reported, and how much of it was late."""
    index = (found.start_s - truth.start_s) // 60
    return truth.arrivals[index], truth.late[index]


def test_latencies_of_the_server_say_what_was_outside(
    prometheus: str, truth: History, store: Store
) -> None:
    """On a bucket's edge exactly; between two of them as if requests lay evenly."""
    source = Prometheus(Address(prometheus))
    chat = Histograms(Counters(PRESETS["vllm"], 'model_name="chat"'))
    from_s, to_s = truth.start_s + 86_400 - 7200, truth.start_s + 86_400 + 7200  # a pod is born
    slo = Slo(ttft_p99_s=1.0, tpot_p99_s=0.1)
    found = chat.reported(source, slo, from_s, to_s, 60)
    again = chat.reported(source, slo, from_s, to_s, 60)  # now the buckets around the bound alone
    came, late = minutes_of(truth, found)
    assert found.start_s.size == (to_s - from_s) // 60
    assert found.requests.sum() == pytest.approx(came.sum(), rel=0.01)
    assert found.outside.sum() == pytest.approx(late.sum(), rel=0.01)
    assert np.corrcoef(found.outside, late)[0, 1] > 0.99
    assert np.allclose(found.outside, again.outside)
    between = chat.reported(source, Slo(ttft_p99_s=1.75, tpot_p99_s=0.1), from_s, to_s, 60)
    assert between.outside.sum() == pytest.approx(0.75 * late.sum(), rel=0.01)
    beyond = chat.reported(source, Slo(ttft_p99_s=9.0), from_s, to_s, 60)
    assert not beyond.start_s.size, "nobody knows of what lies beyond the last bucket"
    restart = truth.start_s + 2 * 86_400
    reborn = chat.reported(source, slo, restart - 3600, restart + 3600, 60)
    assert reborn.outside.sum() == pytest.approx(minutes_of(truth, reborn)[1].sum(), rel=0.02)
    # a process that comes later has buckets of its own: all are asked for again
    early = chat.reported(source, slo, truth.start_s + 3600, truth.start_s + 7200, 60)
    fresh = Histograms(Counters(PRESETS["vllm"], 'model_name="chat"'))
    assert np.allclose(
        fresh.reported(source, slo, truth.start_s + 3600, truth.start_s + 7200, 60).outside,
        early.outside,
    )
    assert np.allclose(fresh.reported(source, slo, from_s, to_s, 60).outside, found.outside)
    # one store, read on
    reports = Reports("chat", chat, source, store.meters, 60)
    reports.read(slo, to_s)
    reports.read(slo, to_s + 3600)
    kept = store.meters.reported("chat", from_s, to_s)
    same = np.isin(kept.start_s, found.start_s)
    assert same.sum() >= found.start_s.size - 1
    assert np.allclose(kept.outside[same], found.outside[: same.sum()])
    assert np.diff(store.meters.reported("chat", 0, 4e9).start_s).tolist().count(60) > 1440
    source.close()


def test_what_a_server_does_not_tell_is_not_taken_for_kept(prometheus: str, truth: History) -> None:
    source = Prometheus(Address(prometheus))
    tgi = Histograms(Counters(PRESETS["tgi"], ""))
    slo = Slo(ttft_p99_s=1.0, latency_p99_s=9.0)
    assert tgi.missing(slo) == ("ttft",)
    from_s = truth.start_s + 3600
    assert not tgi.reported(source, slo, from_s, from_s + 3600, 60).start_s.size
    # named, and not there: an old server
    e2e = Histograms(Counters(PRESETS["vllm"], 'model_name="chat"'))
    assert not e2e.missing(Slo(latency_p99_s=9.0))
    assert not e2e.reported(source, Slo(latency_p99_s=9.0), from_s, from_s + 3600, 60).start_s.size
    source.close()


def test_the_self_check_says_who_judges(prometheus: str, dsn: str) -> None:
    def said(**metrics: str) -> str:
        asked = settings(prometheus, **metrics).model_copy(update={"dsn": dsn})
        (one,) = examine_latencies(asked)
        return f"{one.health} {one.says}"

    with Store.open(dsn) as store:
        now_s = int(time.time() // 60 * 60)
        store.meters.report(
            "chat", (now_s - 60, now_s), Reported(np.array([now_s - 60]), *np.ones((2, 1)))
        )
    assert said().startswith("ok chat: what was outside the SLO is known until")
    assert "do not tell ttft:" in said(preset="triton")
    assert "do not tell outside" in said(arrivals="sum(up)")
    assert said(arrivals="sum(up)", outside="sum(up)").startswith("ok")


def test_promql_of_your_own_tells_what_was_outside(prometheus: str, truth: History) -> None:
    source = Prometheus(Address(prometheus))
    bucket = "vllm:time_to_first_token_seconds_bucket"
    expression = (
        f'sum(increase({bucket}{{le="+Inf"}}[$step])) - sum(increase({bucket}{{le="1.0"}}[$step]))'
    )
    own = Outside(expression, Counters(PRESETS["vllm"], 'model_name="chat"'))
    from_s = truth.start_s + 3600
    found = own.reported(source, Slo(), from_s, from_s + 36_000, 300)
    mistyped = Outside("sum(increase(slwo_total[$step]))", own.question)
    assert not mistyped.reported(source, Slo(), from_s, from_s + 36_000, 300).start_s.size
    never = Outside("sum(increase(slow_total[$step])) or vector(0)", own.question)
    kept = never.reported(source, Slo(), from_s, from_s + 36_000, 300)
    source.close()
    assert (kept.start_s.size, kept.outside.sum()) == (found.start_s.size, 0)
    assert found.outside.sum() / found.requests.sum() == pytest.approx(LATE, rel=0.15)


def test_who_is_empty_is_asked_by_pod(prometheus: str, truth: History) -> None:
    source = Prometheus(Address(prometheus))
    busy = busy_of(settings(prometheus), source)("chat")
    source.close()
    assert busy == {pod: truth.samples[running(pod)][-1][1] for pod in PODS}
    away = Prometheus(Address("http://127.0.0.1:9"))
    assert busy_of(settings("http://127.0.0.1:9"), away)("chat") == {}
    away.close()


def running(pod: str) -> str:
    labels = f'model_name="chat",pod="{pod}",instance="{pod}:8000",job="vllm"'
    return f"vllm:num_requests_running{{{labels}}}"


def test_the_settings_on_the_page_load(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "prometheus.md").read_text()
    file = tmp_path / "tidegate.toml"
    for block in page.split("```toml\n")[1:]:
        file.write_text(block.split("```")[0])
        assert load_settings(file).service[0].metrics.asked_of


def test_promtool_finds_no_fault_in_what_we_ship(prometheus: str) -> None:
    del prometheus  # its promtool
    rules = Path(__file__).parents[2] / "deploy" / "prometheus-rules.yml"
    body, _ = render({"services": [SERVICE], "away": ""}, TOLD)
    for argv, said in ((["check", "rules", str(rules)], None), (["check", "metrics"], body)):
        done = subprocess.run(["promtool", *argv], input=said, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout


def test_wrong_names_are_one_clear_sentence(prometheus: str, cli: Runner) -> None:
    base = ("meter", "chat", "--url", prometheus, "--from", "1d")
    assert "no series for 'chat'" in cli(*base, "--preset", "triton").error
    assert "parse error" in cli(*base, "--arrivals", "sum(").error
    refused = cli(*base, "--preset", "ollama")
    assert (refused.code, "--preset = 'ollama'" in refused.error) == (2, True)
    assert "a preset or arrivals" in cli(*base).error
    assert "not both" in cli(*base, "--preset", "vllm", "--arrivals", "up").error
    assert "no service is metered" in cli("meter").error
