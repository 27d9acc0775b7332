"""The API ends while questions are under way: they are answered, and nothing is torn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.api_world import serve
from tests.integration.daemon_world import CHAT, World


class Slow:
    """A reading that lasts until it is let go, as the money of many services does at first."""

    def __init__(self, question: Callable[..., Any]) -> None:
        self.question = question
        self.asked, self.go = threading.Event(), threading.Event()

    def __call__(self, *given: Any) -> Any:
        self.asked.set()
        assert self.go.wait(60.0)
        return self.question(*given)


@pytest.mark.parametrize("path", ["/v1/money", f"/v1/services/{CHAT}/ledger"])
def test_a_stop_under_a_long_reading_answers_it_and_says_nothing(
    noon: World,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    name = path.rsplit("/", 1)[1]
    slow = Slow(getattr(noon.board.desk, name))
    monkeypatch.setattr(noon.board.desk, name, slow)
    with ThreadPoolExecutor(1) as pool:
        with serve(noon) as url:
            answer = pool.submit(httpx.get, f"{url}{path}", timeout=60.0)
            assert slow.asked.wait(60.0)
        found = answer.result(60.0)  # it came while the reading still lasts
        slow.go.set()
    assert found.status_code == 503
    assert found.json()["title"] == "Stopping"
    assert found.headers["retry-after"]
    said = capfd.readouterr()
    assert "Traceback" not in caplog.text + said.err
    assert [record.message for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_a_stop_ends_a_stream_in_order(noon: World, caplog: pytest.LogCaptureFixture) -> None:
    begun, lines = threading.Event(), []

    def listen(url: str) -> None:
        with httpx.stream("GET", f"{url}/v1/events", timeout=60.0) as events:
            for line in events.iter_lines():  # a torn stream raises
                lines.append(line)
                begun.set()

    with ThreadPoolExecutor(1) as pool:
        with serve(noon) as url:
            listener = pool.submit(listen, url)
            assert begun.wait(60.0)
        listener.result(60.0)
    assert lines[0] == "event: overview"
    assert [record.message for record in caplog.records if record.name.startswith("uvicorn")] == []
