"""`tidegate run` with a service of two pools: planned, ordered, served, explained and billed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.integration.run_helpers import Tidegate, nothing_left
from tests.integration.tier_helpers import until

SETTINGS = """
[api]
port = 0
[tier]
port = 0
[planner]
tick_s = 1
[[service]]
name = "chat"
unit = "tiny-llama-pd"
slo = { ttft_p99_s = 1.0, tpot_p99_s = 0.1 }
min_units = 1
max_units = 6
"""


def test_a_new_service_of_two_pools_is_served_at_its_floor(
    open_folder: Callable[[], Path],
) -> None:
    home = open_folder()
    (home / "tidegate.toml").write_text(SETTINGS)
    with Tidegate(
        home, "run", "--config", str(home / "tidegate.toml"), "--format", "json"
    ) as running:
        found = running.document()

        def ask(path: str) -> Any:
            return httpx.get(f"{found['url']}/v1/services/chat{path}", timeout=20.0).json()

        def pools() -> list[tuple[str, str]]:
            return sorted((unit["pool"], unit["state"]) for unit in ask("/units")["units"])

        until(lambda: pools() == [("decode", "ready"), ("prefill", "ready")], "one of each")
        body = {"model": "chat", "prompt": "the tide", "max_tokens": 6, "temperature": 0}
        answer = httpx.post(f"{found['tier_url']}/v1/completions", json=body, timeout=60.0)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == "chat"
        assert len(answer.json()["choices"][0]["text"]) == 6
        until(lambda: ask("")["served"]["requests"] == 1, "the request in the figures")
        (made, *_) = ask("/decisions")["decisions"][::-1]
        assert made["pools"] == {"prefill": 1, "decode": 1}
        until(
            lambda: list(ask("/ledger")["units"]) == ["tiny-llama"], "each pool's type on the bill"
        )
    nothing_left(home)
