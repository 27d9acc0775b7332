"""`tidegate run`, `tier` and `daemon` with services of one's own, at the speed of the clock."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.run_helpers import Tidegate, nothing_left, ready
from tests.integration.tier_helpers import until

MODELS = Path(__file__).resolve().parents[2] / "models"
SETTINGS = """
[api]
port = 0
[tier]
port = 0
[planner]
tick_s = 1
[[service]]
name = "chat"
unit = "tiny-llama"
slo = { ttft_p99_s = 1.0 }
min_units = 1
max_units = 3
"""


@pytest.fixture(scope="module")
def home(open_folder: Callable[[], Path]) -> Path:
    place = open_folder()
    (place / "tidegate.toml").write_text(SETTINGS)
    return place


def start(home: Path, command: str) -> Tidegate:
    return Tidegate(home, command, "--config", str(home / "tidegate.toml"), "--format", "json")


def complete(tier_url: str) -> str:
    body = {"model": "chat", "prompt": "the tide", "max_tokens": 6, "temperature": 0}
    answer = httpx.post(f"{tier_url}/v1/completions", json=body, timeout=60.0)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["text"])


def chat(url: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{url}/v1/services/chat", timeout=20.0).json()
    return found


def test_a_new_service_without_history_is_served_at_its_floor(home: Path) -> None:
    with start(home, "run") as running:
        found = running.document()
        until(ready(found["url"]), "the floor of one unit")
        assert len(complete(found["tier_url"])) == 6
        until(lambda: chat(found["url"])["served"]["requests"] == 1, "the request in the figures")
        seen = chat(found["url"])
        assert seen["units"] == {"ready": 1, "warming": 0, "draining": 0}
        assert "has no requests in range; ingest its request log" in seen["note"]
        assert httpx.get(f"{found['url']}/readyz").text == "no plan yet: chat\n"
        running.send(signal.SIGTERM)
        assert running.ended() == 0, running.said
    assert "Traceback" not in running.said
    nothing_left(home)


def test_a_daemon_may_die_the_tier_serves_on(home: Path) -> None:
    with start(home, "tier") as tier:
        tier_url = tier.document()["tier_url"]
        with start(home, "daemon") as first:
            url = first.document()["url"]
            until(ready(url), "the floor of one unit")
            text = complete(tier_url)
            until(lambda: chat(url)["served"]["requests"] == 1, "the request in the figures")
            units = httpx.get(f"{url}/v1/services/chat/units").json()["units"]
            first.send(signal.SIGKILL)
            assert first.ended() == -signal.SIGKILL
        assert [complete(tier_url) for _ in range(20)] == [text] * 20

        with start(home, "daemon") as second:
            url = second.document()["url"]
            until(ready(url), "the unit that was there")
            again = httpx.get(f"{url}/v1/services/chat/units").json()["units"]
            for key in ("unit_id", "state", "since_s"):  # nobody touched them, and nobody does
                assert [each[key] for each in again] == [each[key] for each in units]
            until(lambda: chat(url)["served"]["requests"] == 20, "only what was not yet observed")
            assert httpx.get(f"{url}/v1/services").json()["tier_url"] == tier_url
            second.send(signal.SIGTERM)
            assert second.ended() == 0, second.said
        assert complete(tier_url) == text
        tier.send(signal.SIGTERM)
        assert tier.ended() == 0, tier.said
    for each in (first, second, tier):
        assert "Traceback" not in each.said
    nothing_left(home)


def test_a_service_of_two_pools_is_served_at_its_floor(
    home: Path, open_folder: Callable[[], Path]
) -> None:
    place = open_folder()
    shutil.copytree(home / "profiles", place / "profiles")  # of the same model: measured once
    pair = SETTINGS.replace('"tiny-llama"', '"tiny-llama-pd"').replace(
        "1.0 }", "1.0, tpot_p99_s = 0.1 }"
    )
    (place / "tidegate.toml").write_text(pair)
    with start(place, "run") as running:
        found = running.document()

        def ask(path: str) -> Any:
            return httpx.get(f"{found['url']}/v1/services/chat{path}", timeout=20.0).json()

        def pools() -> list[tuple[str, str]]:
            return sorted((unit["pool"], unit["state"]) for unit in ask("/units")["units"])

        until(lambda: pools() == [("decode", "ready"), ("prefill", "ready")], "one of each")
        assert len(complete(found["tier_url"])) == 6
        until(lambda: chat(found["url"])["served"]["requests"] == 1, "the request in the figures")
        first = ask("/decisions")["decisions"][-1]
        assert first["pools"] == {"prefill": 1, "decode": 1}
        until(
            lambda: list(ask("/ledger")["units"]) == ["tiny-llama"], "each pool's type on the bill"
        )
    nothing_left(place)


def test_a_service_of_several_types_is_served_and_billed_by_type(
    home: Path, open_folder: Callable[[], Path]
) -> None:
    place = open_folder()
    shutil.copytree(home / "profiles", place / "profiles")
    mix = SETTINGS.replace('"tiny-llama"', '"tiny-llama-mix"').replace(
        "min_units = 1\n", "min_units = 2\n"
    )
    models = place / "models"
    for name in ("tiny-llama", "tiny-llama-wide", "tiny-llama-mix"):
        (models / name).mkdir(parents=True)
        text = (MODELS / name / "unit.toml").read_text()
        (models / name / "unit.toml").write_text(text)
    with (models / "tiny-llama-mix" / "unit.toml").open("a") as file:
        file.write("most = { tiny-llama = 1 }\n")
    (place / "tidegate.toml").write_text(f'models = "{models}"\n{mix}')
    with start(place, "run") as running:
        found = running.document()

        def ask(path: str) -> Any:
            return httpx.get(f"{found['url']}/v1/services/chat{path}", timeout=20.0).json()

        def types() -> list[tuple[str, str]]:
            return sorted((unit["pool"], unit["state"]) for unit in ask("/units")["units"])

        both = [("tiny-llama", "ready"), ("tiny-llama-wide", "ready")]
        until(lambda: types() == both, "the floor, of each type what there is")
        text = complete(found["tier_url"])
        with ThreadPoolExecutor(8) as clients:
            texts = list(clients.map(lambda _: complete(found["tier_url"]), range(24)))
        assert texts == [text] * 24
        assert ask("/decisions")["decisions"][-1]["pools"] == {
            "tiny-llama": 1,
            "tiny-llama-wide": 1,
        }
        until(
            lambda: sorted(ask("/ledger")["units"]) == ["tiny-llama", "tiny-llama-wide"],
            "each type on the bill",
        )
        with ThreadPoolExecutor(8) as clients:
            coming = [clients.submit(complete, found["tier_url"]) for _ in range(8)]
            assert {each.result() for each in coming} == {text}
        running.send(signal.SIGTERM)
        assert running.ended() == 0, running.said
    nothing_left(place)


def test_a_daemon_without_a_tier_says_what_to_start(open_folder: Callable[[], Path]) -> None:
    place = open_folder()
    (place / "tidegate.toml").write_text(SETTINGS)
    with start(place, "daemon") as lonely:
        assert lonely.ended() == 1
    assert lonely.said.startswith(f"error: no serving tier runs in {place}; start it with")
    assert lonely.said.count("\n") == 1
    nothing_left(place)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('name = "chat"', 'name = "chat"\nelasticity = 2'), "service.0.elasticity = 2 is refused"),
        (("tick_s = 1", 'tick_s = 1\n[retrain]\ncron = "61 3 * * *"'), "retrain.cron = '61 3 * *"),
        (("[tier]\nport = 0", "[tier]\nport = 0\nhost = '192.0.2.1'"), "tier.port = 0 is refused"),
    ],
)
def test_what_is_refused_is_refused_before_anything_starts(
    change: tuple[str, str], said: str, open_folder: Callable[[], Path]
) -> None:
    place = open_folder()
    (place / "tidegate.toml").write_text(SETTINGS.replace(*change))
    with start(place, "run") as refused:
        assert refused.ended() == 2, refused.said
    assert refused.said.startswith(f"error: {said}")
    assert refused.said.count("\n") == 1
    assert [each.name for each in place.iterdir()] == ["tidegate.toml"]
