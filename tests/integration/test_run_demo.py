"""`tidegate run --demo` as a user starts, uses and stops it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.integration.run_helpers import DEMO, STOPPED_WITHIN_S, Tidegate, nothing_left, ready
from tests.integration.tier_helpers import until


@pytest.fixture(scope="module")
def home(open_folder: Callable[[], Path]) -> Path:
    return open_folder()


@pytest.fixture(scope="module")
def demo(home: Path) -> Iterator[Tidegate]:
    with Tidegate(home, *DEMO, "--format", "json") as running:
        yield running
        began = running.send(signal.SIGINT)
        assert running.ended() == 0, running.said
        assert time.monotonic() - began < STOPPED_WITHIN_S
        last = [line for line in "".join(running.out).split("\n}\n")[1].splitlines() if line]
        found = re.fullmatch(r"requests: (\d+) sent, (\d+) answered", last[0])
        assert found, running.said  # it names what failed otherwise
        assert found[1] == found[2]
        for line, service in zip(last[1:], ("chat", "classify"), strict=True):
            assert re.match(rf"{service}: \d+ requests, .* inside the SLO, .* unit-hours", line)
        assert "Traceback" not in running.said
        assert "Exception ignored" not in running.said
        nothing_left(home)


def test_one_json_document_says_where_everything_is(demo: Tidegate) -> None:
    found = demo.document()
    assert set(found) == {"url", "tier_url", "services", "units", "seconds"}
    assert found["services"] == ["chat", "classify"]
    assert set(found["units"]) == {"chat", "classify"}
    assert demo.err == []


def test_units_get_ready_and_requests_are_answered(demo: Tidegate) -> None:
    url = demo.document()["url"]
    until(ready(url), "a ready unit of every service")
    assert httpx.get(f"{url}/readyz").text == "ready\n"

    def served() -> bool:
        services = httpx.get(f"{url}/v1/services", timeout=20.0).json()["services"]
        return all(each["served"]["requests"] > 0 for each in services)

    until(served, "answered requests in the figures")
    overview = httpx.get(f"{url}/v1/services").json()
    assert overview["demo"] is True
    assert overview["speed"] == 240
    for each in overview["services"]:
        assert each["note"] == ""
        assert each["champion"]
        why = httpx.get(f"{url}/v1/services/{each['name']}/explain").json()["why"]
        assert why


def test_a_real_completion_by_a_real_client(demo: Tidegate) -> None:
    found = demo.document()
    until(ready(found["url"]), "ready units")
    with openai.OpenAI(base_url=found["tier_url"] + "/v1", api_key="-", timeout=60) as client:
        answer = client.completions.create(
            model="chat", prompt="the tide", max_tokens=8, temperature=0
        )
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 8
        streamed = client.completions.create(
            model="chat", prompt="the tide", max_tokens=8, temperature=0, stream=True
        )
        assert "".join(part.choices[0].text for part in streamed if part.choices) == (
            answer.choices[0].text
        )


def test_every_command_finds_the_demo_through_its_settings_file(demo: Tidegate, home: Path) -> None:
    """The tide table of the sampled log is that of the demo: a day with a night."""
    demo.document()
    settings = ("--config", str(home / "demo" / "tidegate.toml"))
    with Tidegate(home / "demo", "plan", "chat", *settings, "--format", "json") as asked:
        plan = asked.document()
    held = [slot["hold"] for slot in plan["slots"]]
    assert min(held) < max(held) <= 8
    assert plan["unit_hours"] < 0.8 * plan["static_peak_unit_hours"]
    with Tidegate(home / "demo", "units", "chat", *settings, "--format", "json") as asked:
        assert asked.document()["service"] == "chat"
    with Tidegate(home / "demo", "quotas", *settings, "--format", "json") as asked:
        (quota,) = asked.document()["quotas"]
    assert [each["service"] for each in quota["services"]] == ["chat", "classify"]
    assert 2 <= quota["taken_gpus"] <= quota["gpus"]


def test_a_second_demo_of_the_same_home_is_refused_and_harms_nothing(
    demo: Tidegate, home: Path
) -> None:
    url = demo.document()["url"]
    with Tidegate(home, *DEMO) as second:
        assert second.ended() == 1
        assert f"error: another demo runs in {home}; stop it" in second.said
    assert httpx.get(f"{url}/v1/services", timeout=20.0).status_code == 200
