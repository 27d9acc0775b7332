"""A real Prometheus pushes to us: through restarts of both, the minutes that a query gives come out."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from forecaster.config import Settings
from forecaster.config.settings import ApiSettings
from forecaster.domain.samples import Point, Stream
from forecaster.ingest.presets import PRESETS, Counters
from forecaster.ingest.prometheus import Address, Prometheus
from forecaster.ingest.pushed import PushedMeter
from forecaster.store import Store
from forecaster.wiring.pushes import Intake
from forecaster.wiring.running import serve_api
from tests.integration.prometheus_server import (
    free_port,
    running_prometheus,
    skip_without_prometheus,
)
from tests.integration.remote_sender import wire
from tests.integration.tier_helpers import until

SCRAPE_S = 15
LABELS = {"instance": "a:8000", "job": "vllm", "model_name": "chat"}
RECEIVER = "--web.enable-remote-write-receiver"
SCRAPES = 32
CHAT = Counters(PRESETS["vllm"], 'model_name="chat"')
CONFIG = """
remote_write:
  - url: http://127.0.0.1:{us}/api/v1/write
    authorization: {{credentials: push-only}}
    write_relabel_configs:
      - {{source_labels: [__name__], regex: "vllm:.*", action: keep}}
    queue_config: {{batch_send_deadline: 100ms, max_backoff: 200ms, min_shards: 3, max_samples_per_send: 40}}
"""


class Server:
    """What scrapes of a vLLM would see over the coming minutes, put into Prometheus at once: so nobody waits."""

    def __init__(self) -> None:
        self.start_s = int(time.time() // 60 + 1) * 60
        came = np.random.default_rng(5).poisson(6, SCRAPES)
        self.done = np.cumsum(came).tolist()
        self.done[26:] = [each - self.done[25] for each in self.done[26:]]  # it restarts
        self.seen = 0

    def end_s(self) -> int:
        return self.start_s + SCRAPE_S * self.seen

    def scraped(self, url: str, until: int) -> None:
        """Let Prometheus have the scrapes up to a number; its write-ahead log feeds what it sends."""
        streams = []
        for index in range(self.seen, until):
            total = self.done[index]
            for name, value in (
                ("request_success_total", total), ("num_requests_running", index % 3),
                ("num_requests_waiting", 0),
                ("request_prompt_tokens_sum", 100 * total), ("request_prompt_tokens_count", total),
                ("request_generation_tokens_sum", 20 * total),
                ("request_generation_tokens_count", total), ("cache_usage", 1),
            ):  # fmt: skip
                point = Point(self.start_s + SCRAPE_S * (index + 1), float(value))
                streams.append(Stream(f"vllm:{name}", LABELS, (point,)))
        done = httpx.post(f"{url}/api/v1/write", content=wire(*streams))
        assert done.status_code == 204, done.text
        self.seen = until


@contextmanager
def tidegate(store: Store, port: int) -> Iterator[None]:
    service = {
        "name": "chat", "unit": "tiny-llama", "metrics": {"preset": "vllm", "source": "push"},
    }  # fmt: skip
    api = ApiSettings(port=port, token="all", push_token="push-only")
    settings = Settings(service=(service,), api=api)
    board: Any = SimpleNamespace(desk=None)
    with serve_api(settings, board, None, Intake(settings, store)):
        yield


def test_restarts_of_either_lose_no_request(store: Store, tmp_path: Path) -> None:
    skip_without_prometheus()
    server, us = Server(), free_port()

    def arrived() -> bool:
        kept = store.pushed.kept("chat", "vllm:request_success_total", 0, 4e9)
        newest = [float(each.at_s[-1]) for each in kept]
        waiting = store.pushed.kept("chat", "vllm:num_requests_waiting", 0, 4e9)
        return newest == [float(each.at_s[-1]) for each in waiting] == [server.end_s()]

    config = CONFIG.format(us=us)
    with running_prometheus(tmp_path, config, RECEIVER, stop=signal.SIGKILL) as url:
        with tidegate(store, us):
            server.scraped(url, 10)
            until(arrived, "the first minutes")
        server.scraped(url, 16)
        with tidegate(store, us):
            until(arrived, "what came while we were away")
        server.scraped(url, 20)
    with tidegate(store, us), running_prometheus(tmp_path, config, RECEIVER) as url:
        server.scraped(url, SCRAPES)
        until(arrived, "the last minutes")
        source = Prometheus(Address(url))
        from_s, to_s = server.start_s, server.start_s + SCRAPE_S * SCRAPES
        pulled = CHAT.counted(source, from_s, to_s, 60)
        source.close()
    PushedMeter("chat", CHAT, store.pushed, store.meters).read(to_s + 60.0)
    slots = store.slots("chat")
    assert slots.start_s.tolist() == pulled.start_s.tolist()
    # the killed one does not send again what it had not sent: that minute and the next share what came
    hole = np.isin((slots.start_s - from_s) // 60, (4, 5))
    for name in ("arrivals", "prompt_tokens", "output_tokens"):
        pushed, asked = getattr(slots, name), getattr(pulled, name)
        assert pushed[~hole].tolist() == asked[~hole].tolist(), name
        assert pushed[hole].sum() == pytest.approx(asked[hole].sum(), rel=0.05), name
    assert hole.sum() == 2
    assert slots.arrivals[hole].sum() == pulled.arrivals[hole].sum()
    assert len(pulled.start_s) == SCRAPES // 4 - 1
    assert store.pushed.kept("chat", "vllm:cache_usage", 0, 4e9) == []


@pytest.fixture(autouse=True)
def _enough() -> None:
    assert SCRAPES * SCRAPE_S <= 540, "Prometheus takes samples of at most ten minutes ahead"
