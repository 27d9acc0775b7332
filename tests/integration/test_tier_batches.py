"""Batches through the real `openai` client: answered in the room that is left, whatever happens to the tier."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.spec import ClockSpec, TierSpec
from tests.integration.doc_blocks import blocks
from tests.integration.tier_helpers import (
    CHAT,
    BareLlama,
    RunningTier,
    processes_of,
    running,
    services,
    until,
)

TOKENS = 6


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def tier(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTier]:
    with running(tmp_path_factory.mktemp("home"), services(models)) as tier:
        yield tier


def connect(tier: RunningTier) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{tier.url}/v1", api_key="none", max_retries=0)


def line(name: str, **body: Any) -> dict[str, Any]:
    asked = {"model": CHAT, "prompt": name, "max_tokens": TOKENS, "temperature": 0} | body
    return {"custom_id": name, "method": "POST", "url": "/v1/completions", "body": asked}


def upload(client: openai.OpenAI, lines: list[dict[str, Any]]) -> str:
    content = "\n".join(map(json.dumps, lines)).encode()
    return client.files.create(file=("work.jsonl", content), purpose="batch").id


def begin(client: openai.OpenAI, lines: list[dict[str, Any]], window: str = "24h") -> Any:
    return client.batches.create(
        input_file_id=upload(client, lines),
        endpoint="/v1/completions",
        completion_window=window,  # type: ignore[arg-type]
        metadata={"who": "nightly"},
    )


def over(client: openai.OpenAI, batch_id: str) -> Any:
    def ended() -> Any:
        found = client.batches.retrieve(batch_id)
        return found if found.status not in {"in_progress", "cancelling"} else None

    return until(ended, "the batch is over")


def results(client: openai.OpenAI, file_id: str) -> dict[str, Any]:
    lines = client.files.content(file_id).text.splitlines()
    found = {json.loads(each)["custom_id"]: json.loads(each) for each in lines}
    assert len(found) == len(lines), "one result for each request"
    return found


def test_a_batch_waits_for_a_unit_and_is_answered_as_single_requests_are(
    tier: RunningTier, models: Path
) -> None:
    names = [f"request {n}" for n in range(12)]
    bad = line("bad", max_tokens=100_000)
    with connect(tier) as client:
        batch = begin(client, [*map(line, names), bad])
        assert (batch.status, batch.request_counts.total) == ("in_progress", 13)
        (waits,) = tier.actuator.observe(CHAT).backlog
        assert waits.work_s > 0
        assert waits.deadline_s == pytest.approx(batch.expires_at, abs=1)
        tier.ready(CHAT, 1)
        done = over(client, batch.id)
        assert done.status == "completed"
        assert (done.request_counts.completed, done.request_counts.failed) == (12, 1)
        assert done.metadata == {"who": "nightly"}
        answers = results(client, done.output_file_id)
        refusals = results(client, done.error_file_id)
        listed = [each.id for each in client.batches.list()]
        purposes = {each.id: each.purpose for each in client.files.list()}
    llama = BareLlama(models)
    for name in names:
        body = answers[name]["response"]["body"]
        assert answers[name]["response"]["status_code"] == 200
        assert body["choices"][0]["text"] == llama.text(name, TOKENS)
    assert refusals["bad"]["response"]["status_code"] == 400
    assert listed[0] == batch.id
    assert purposes[done.output_file_id] == "batch_output"
    assert tier.actuator.observe(CHAT).backlog == ()
    logged = [each for each in tier.actuator.requests_after(0) if each.status == 200]
    assert len(logged) == 12
    assert all(each.batch for each in logged)


def test_the_page_about_batches_holds(tier: RunningTier) -> None:
    (block,) = blocks("python", page="docs/batches.md")
    assert "http://127.0.0.1:8781" in block.text
    said: dict[str, Any] = {}
    exec(compile(block.text.replace("http://127.0.0.1:8781", tier.url), str(block), "exec"), said)
    with said["client"] as client:
        assert client.batches.retrieve(said["batch"].id).request_counts.total == 1000
        client.batches.cancel(said["batch"].id)
        over(client, said["batch"].id)


def test_the_daemon_says_how_much_is_let_in(tier: RunningTier) -> None:
    tier.ready(CHAT, 1)
    tier.actuator.let_in(CHAT, 0.0)
    with connect(tier) as client:
        batch = begin(client, [line("later")])
        client.completions.create(model=CHAT, prompt="now", max_tokens=2)
        assert client.batches.retrieve(batch.id).request_counts.completed == 0
        tier.actuator.let_in(CHAT, 0.5)
        assert over(client, batch.id).status == "completed"


def test_a_batch_can_be_cancelled_and_says_what_it_left(tier: RunningTier) -> None:
    tier.actuator.let_in(CHAT, 0.0)
    with connect(tier) as client:
        batch = begin(client, [line("a"), line("b")])
        with pytest.raises(openai.ConflictError, match="cancel it first"):
            client.files.delete(batch.input_file_id)
        client.batches.cancel(batch.id)
        done = over(client, batch.id)
        assert (done.status, done.output_file_id) == ("cancelled", None)
        refusals = results(client, done.error_file_id)
        assert {each["error"]["code"] for each in refusals.values()} == {"batch_cancelled"}
        with pytest.raises(openai.ConflictError, match="is cancelled"):
            client.batches.cancel(batch.id)
        assert client.files.delete(batch.input_file_id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.content(batch.input_file_id)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "1 to 50,000 requests"),
        ([line("a"), line("a")], "line 2: custom_id 'a' is there twice"),
        ([line("a", model="nobody")], "line 1: the model 'nobody' does not exist"),
        ([line("a", model="classifier")], "does not generate text"),
        ([line("a", stream=True)], "cannot be streamed"),
        ([line("a") | {"url": "/v1/embeddings"}], "must be POST /v1/completions"),
        ([line("a") | {"custom_id": 7}], "custom_id must be a text"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_it_begins(
    tier: RunningTier, lines: list[dict[str, Any]], problem: str
) -> None:
    with connect(tier) as client, pytest.raises(openai.BadRequestError, match=problem):
        begin(client, lines)


def test_hostile_uploads_are_refused(tier: RunningTier) -> None:
    url = f"{tier.url}/v1"
    with httpx.Client() as http:
        for fields in (
            {"content": b"no form"},
            {"files": {"file": b"{}"}},
            {"files": {"file": b"{}"}, "data": {"purpose": "fine-tune"}},
            {"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        ):
            assert http.post(f"{url}/files", **fields).status_code == 400  # type: ignore[arg-type]
        for name in ("file-0", "..%2F..%2Ftier.json", "file-" + "0" * 32):
            assert http.get(f"{url}/files/{name}/content").status_code == 404
        assert http.get(f"{url}/batches?limit=0").status_code == 400
        with connect(tier) as client:
            with pytest.raises(openai.BadRequestError, match="completion_window"):
                begin(client, [line("a")], "a year")
            torn = client.files.create(file=("torn", b'{"custom_id": '), purpose="batch")
            asked = {"endpoint": "/v1/completions", "completion_window": "24h"}
            answer = http.post(f"{url}/batches", json=asked | {"input_file_id": torn.id})
            assert "line 1: it is not JSON" in answer.json()["error"]["message"]


def test_a_killed_tier_goes_on_with_what_it_promised(tmp_path: Path, models: Path) -> None:
    home, served, log = tmp_path / "home", services(models), tmp_path / "tier.log"
    names = [f"n{n}" for n in range(40)]
    with start_tier(TierSpec(home, served), log) as handle, handle.actuator() as actuator:
        batch_id = _killed_in_the_middle(RunningTier(handle, actuator, log), names)
    until(lambda: not processes_of(home), "the tier and its units are gone")
    results_so_far = (home / "batches").glob("files/*.jsonl")
    torn = next(each for each in results_so_far if b'"response"' in each.read_bytes())
    with torn.open("ab") as file:
        file.write(b'{"custom_id": "n')  # the line that was being written
    with running(home, served) as tier, connect(tier) as client:
        (waits,) = until(lambda: tier.actuator.observe(CHAT).backlog, "what was promised")
        assert waits.work_s > 0
        tier.ready(CHAT, 1)
        done = over(client, batch_id)
        assert (done.status, done.request_counts.completed) == ("completed", 40)
        assert sorted(results(client, done.output_file_id)) == sorted(names)


def _killed_in_the_middle(tier: RunningTier, names: list[str]) -> str:
    """Begin a batch, kill the tier when some of it is answered; return its id."""
    tier.ready(CHAT, 1)
    tier.actuator.let_in(CHAT, 1 / 8)  # one at a time: the kill comes in the middle
    with connect(tier) as client:
        batch = begin(client, [line(name, max_tokens=40) for name in names])
        until(
            lambda: client.batches.retrieve(batch.id).request_counts.completed > 3, "some are done"
        )
        os.kill(tier.actuator.stats()["pid"], signal.SIGKILL)
    return str(batch.id)


def test_what_has_no_answer_at_the_deadline_says_so(tmp_path: Path, models: Path) -> None:
    clock = ClockSpec(time.time(), time.monotonic(), 60.0)
    with running(tmp_path / "home", services(models), clock=clock) as tier, connect(tier) as client:
        batch = begin(client, [line("never")], "1m")  # a minute of this clock, and no unit
        done = over(client, batch.id)
        assert (done.status, done.output_file_id) == ("expired", None)
        (refusal,) = results(client, done.error_file_id).values()
        assert refusal["error"]["code"] == "batch_expired"
