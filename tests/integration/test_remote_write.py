"""A real Prometheus pushes to us: through restarts of both, the minutes that a query gives come out."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from forecaster.config import Settings
from forecaster.config.settings import ApiSettings
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
from tests.integration.tier_helpers import until
from tests.local_server import listening

SCRAPE_S = 15
SCRAPES = 32
CHAT = Counters(PRESETS["vllm"], 'model_name="chat"')
CONFIG = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: vllm
    static_configs: [{{targets: ["127.0.0.1:{target}"]}}]
remote_write:
  - url: http://127.0.0.1:{us}/api/v1/write
    authorization: {{credentials: push-only}}
    write_relabel_configs:
      - {{source_labels: [__name__], regex: "vllm:.*", action: keep}}
    queue_config: {{batch_send_deadline: 100ms, max_backoff: 200ms, min_shards: 3, max_samples_per_send: 40}}
"""


class Server:
    """What a vLLM would say over the coming minutes, with the times of its scrapes: so nobody waits."""

    def __init__(self) -> None:
        self.start_s = int(time.time() // 60 + 1) * 60
        came = np.random.default_rng(5).poisson(6, SCRAPES)
        self.done = np.cumsum(came).tolist()
        self.done[20:] = [each - self.done[19] for each in self.done[20:]]  # it restarts
        self.shown = 0

    def end_s(self) -> int:
        return self.start_s + SCRAPE_S * self.shown

    def text(self) -> str:
        lines = []
        for index in range(self.shown):
            at_ms = 1000 * (self.start_s + SCRAPE_S * (index + 1))
            total = self.done[index]
            for name, value in (
                ("request_success_total", total), ("num_requests_running", index % 3),
                ("num_requests_waiting", 0),
                ("request_prompt_tokens_sum", 100 * total), ("request_prompt_tokens_count", total),
                ("request_generation_tokens_sum", 20 * total),
                ("request_generation_tokens_count", total), ("cache_usage", 1),
            ):  # fmt: skip
                lines.append(f'vllm:{name}{{model_name="chat"}} {value} {at_ms}\n')
        return "".join(sorted(lines, key=lambda line: line.split()[0]))

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(server.text().encode())

            def log_message(self, *_: object) -> None:
                pass

        return Handler


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


def test_restarts_of_either_lose_nothing(store: Store, tmp_path: Path) -> None:
    skip_without_prometheus()
    server, us = Server(), free_port()

    def arrived() -> bool:
        kept = store.pushed.kept("chat", "vllm:request_success_total", 0, 4e9)
        newest = [float(each.at_s[-1]) for each in kept]
        waiting = store.pushed.kept("chat", "vllm:num_requests_waiting", 0, 4e9)
        return newest == [float(each.at_s[-1]) for each in waiting] == [server.end_s()]

    with listening(server.handler()) as target:
        config = CONFIG.format(target=target, us=us)
        with running_prometheus(tmp_path, config, stop=signal.SIGKILL) as url:
            with tidegate(store, us):
                server.shown = 10
                until(arrived, "the first minutes", 20.0)
            server.shown = 16
            source = Prometheus(Address(url))
            at = f"vllm:request_success_total @ {server.end_s()}"
            until(
                lambda: scraped(source, at) == server.done[15], "a scrape while we are away", 20.0
            )
            with tidegate(store, us):
                until(arrived, "what came while we were away", 20.0)
            source.close()
        server.shown = 24
        with tidegate(store, us), running_prometheus(tmp_path, config) as url:
            until(arrived, "what came while Prometheus was away", 20.0)
            server.shown = SCRAPES
            until(arrived, "the last minutes", 20.0)
            source = Prometheus(Address(url))
            from_s, to_s = server.start_s, server.start_s + SCRAPE_S * SCRAPES
            pulled = CHAT.counted(source, from_s, to_s, 60)
            source.close()
    PushedMeter("chat", CHAT, store.pushed, store.meters).read(to_s + 60.0)
    slots = store.slots("chat")
    assert slots.start_s.tolist() == pulled.start_s.tolist()
    assert slots.arrivals.tolist() == pulled.arrivals.tolist()
    assert slots.prompt_tokens.tolist() == pulled.prompt_tokens.tolist()
    assert slots.output_tokens.tolist() == pulled.output_tokens.tolist()
    assert len(pulled.start_s) == SCRAPES // 4 - 1
    assert store.pushed.kept("chat", "vllm:cache_usage", 0, 4e9) == []


def scraped(source: Prometheus, query: str) -> float | None:
    return source.now(query, "model_name").get("chat")


@pytest.fixture(autouse=True)
def _enough() -> None:
    assert SCRAPES * SCRAPE_S <= 540, "Prometheus takes samples of at most ten minutes ahead"
