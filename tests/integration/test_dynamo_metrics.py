"""Dynamo's real frontend counts requests, tokens and times under the names of our preset.

What ``python -m benchmarks.peers.servers`` has installed: without it this skips loudly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from benchmarks.peers.dynamo_frontend import MODEL, dynamo_frontend
from benchmarks.peers.servers import Peer, installed
from forecaster.domain.service import Slo
from forecaster.ingest.latencies import Histograms
from forecaster.ingest.presets import PRESETS, Counters
from forecaster.ingest.prometheus import Matrix, targets
from forecaster.ingest.selectors import selector

REQUESTS, OUTPUT = 12, 20
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


class Scrapes:
    """What was scraped, as `query_range` would give it: one moment after the other."""

    def __init__(self, *pages: str) -> None:
        self._pages = [self._read(page) for page in pages]

    @staticmethod
    def _read(page: str) -> dict[tuple[str, str], float]:
        found = [SAMPLE.match(line) for line in page.splitlines() if not line.startswith("#")]
        return {(each[1], each[2] or ""): float(each[3]) for each in found if each}

    def range(self, query: str, first_s: int, last_s: int, step_s: int) -> Matrix:
        """Series of a selector over the scrapes."""
        assert (last_s - first_s) // step_s + 1 == len(self._pages)
        asked, kept, labels = selector(query), [], []
        for name, text in sorted({key for page in self._pages for key in page}):
            of_it = dict(re.findall(r'(\w+)="([^"]*)"', text)) | {"instance": "frontend"}
            if name == asked.name and asked.takes(of_it):
                kept.append([page.get((name, text), np.nan) for page in self._pages])
                labels.append(of_it)
        values = np.array(kept).reshape(len(kept), len(self._pages))
        return Matrix(tuple(labels), values, targets(labels))


@pytest.fixture(scope="module")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    if not installed("dynamo"):
        pytest.skip("ai-dynamo is not installed: python -m benchmarks.peers.servers")
    with dynamo_frontend(tmp_path_factory.mktemp("dynamo")) as peer:
        yield peer


def ask(peer: Peer) -> None:
    body = {
        "model": MODEL, "stream": True, "max_tokens": OUTPUT,
        "messages": [{"role": "user", "content": "how high is the tide"}],
    }  # fmt: skip
    answer = httpx.post(f"{peer.url}/v1/chat/completions", json=body, timeout=60.0)
    assert answer.status_code == 200, answer.text
    assert answer.text.count("data:") > 2


def test_the_preset_counts_what_came_and_how_it_went(frontend: Peer) -> None:
    ask(
        frontend
    )  # series are born with the first request: what a process held when first seen is nobody's
    pages = [httpx.get(frontend.metrics_url).text]
    for _ in range(REQUESTS):
        ask(frontend)
    pages.append(httpx.get(frontend.metrics_url).text)
    scrapes, counters = Scrapes(*pages), Counters(PRESETS["dynamo"], f'model="{MODEL}"')
    counted = counters.counted(scrapes, 0, 60, 60)
    assert counted.arrivals.tolist() == [REQUESTS]
    assert counted.output_tokens.tolist() == [REQUESTS * OUTPUT]
    assert counted.prompt_tokens[0] >= REQUESTS * len("how high is the tide")
    times = Histograms(counters)
    # edges of its own buckets: no first token comes within two milliseconds, every answer within two minutes
    slow = times.reported(scrapes, Slo(ttft_p99_s=0.0022), 0, 60, 60)
    assert (slow.requests.tolist(), slow.outside.round(3).tolist()) == ([REQUESTS], [REQUESTS])
    kept = times.reported(scrapes, Slo(ttft_p99_s=100.0, latency_p99_s=130.0), 0, 60, 60)
    assert kept.outside.tolist() == [0.0]
    # its first bucket of durations ends at two seconds: what is below is not told
    assert not times.reported(scrapes, Slo(latency_p99_s=0.5), 0, 60, 60).start_s.size
    assert times.missing(Slo(ttft_p99_s=1.0, tpot_p99_s=0.1)) == ("tpot",)  # it times every token


def test_other_models_are_not_counted(frontend: Peer) -> None:
    page = httpx.get(frontend.metrics_url).text
    other = Counters(PRESETS["dynamo"], 'model="other"')
    assert not other.counted(Scrapes(page, page), 0, 60, 60).start_s.size
