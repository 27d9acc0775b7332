"""What the tier tells Prometheus is what happened."""

from __future__ import annotations

from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.tier_helpers import CHAT, CLASSIFIER, RunningTier, running, services, until


def _scrape(tier: RunningTier) -> dict[tuple[str, ...], float]:
    text = httpx.get(f"{tier.url}/metrics").text
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_what_was_served(tmp_path: Path) -> None:
    with running(tmp_path / "home", services(tmp_path / "models")) as tier:
        tier.ready(CHAT, 1)
        for tokens in (3, 7):
            body = {"model": CHAT, "prompt": "abcd", "max_tokens": tokens}
            httpx.post(f"{tier.url}/v1/completions", json=body)
        first = _scrape(tier)
        httpx.post(f"{tier.url}/v1/completions", json=body | {"prompt": [263]})
        httpx.post(f"{tier.url}/v1/completions", json=body | {"prompt": [300]})
        second = _scrape(tier)
        busy = ("tidegate_unit_busy_seconds_total", CHAT)
        until(lambda: _scrape(tier)[busy] > 0, "a heartbeat that tells of the steps")
        third = _scrape(tier)
    of_chat = (CHAT, "text_completion")
    assert first["gen_ai_server_time_to_first_token_seconds_count", *of_chat] == 2
    assert first["gen_ai_client_token_usage_sum", CHAT, "output", "text_completion"] == 10
    assert first["gen_ai_client_token_usage_sum", CHAT, "input", "text_completion"] == 8
    assert first["tidegate_tier_units", CHAT, "ready"] == 1
    assert first["tidegate_tier_units", CLASSIFIER, "ready"] == 0
    assert first["tidegate_tier_requests_held", CHAT] == 0
    assert first["tidegate_tier_lead_time_seconds", CHAT] > 0
    assert third["tidegate_unit_profiled_seconds_total", CHAT] > 0
    assert third["tidegate_unit_profiled_seconds_total", CLASSIFIER] == 0
    duration = "gen_ai_server_request_duration_seconds_count"
    assert first[duration, "", *of_chat] == 2
    assert (second[duration, "", *of_chat], second[duration, "400", *of_chat]) == (3, 1)
    assert second["tidegate_tier_requests_uncounted_total",] == 0


def test_a_refused_client_is_told_when_a_unit_will_be_ready(tmp_path: Path) -> None:
    served = services(tmp_path / "models", queue_limit=1, queue_wait_s=0.2)
    with running(tmp_path / "home", served) as tier:
        body = {"model": CHAT, "prompt": "x", "max_tokens": 2}
        refused = httpx.post(f"{tier.url}/v1/completions", json=body)
        lead_s = served[0].unit_type.lead_time_s
        assert (refused.status_code, refused.headers["retry-after"]) == (503, f"{lead_s:g}")
        tier.ready(CHAT, 1)
        tier.drain(CHAT)
        tier.settled(CHAT, 0)
        learnt = httpx.post(f"{tier.url}/v1/completions", json=body)
        assert int(learnt.headers["retry-after"]) < lead_s, "the measured lead replaced the prior"
