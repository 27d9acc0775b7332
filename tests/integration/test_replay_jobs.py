"""Replays over HTTP: a real database, a real socket, a child process that does the work."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from forecaster.api.frontiers import FrontierWish
from forecaster.api.replays import ReplayWish
from forecaster.config.settings import ApiSettings
from forecaster.domain.errors import SettingError
from forecaster.replay.contest import POLICIES
from forecaster.replay.sample import between
from forecaster.store import Store
from forecaster.wiring.replay_jobs import ReplayJobs
from forecaster.wiring.replay_tasks import order_of
from forecaster.wiring.running import serve_api
from tests.integration.daemon_world import (
    CHAT,
    LOG_SAMPLE,
    START_S,
    World,
    records,
    sample,
    settings,
    world,
)
from tests.integration.tier_helpers import LLAMA_TYPE

WISH: dict[str, Any] = {
    "service": CHAT, "days": 0.5, "policies": ["static-peak", "smoothed", "tide-clairvoyant"],
    "rate_scale": 5.0, "lead_s": 120.0,
}  # fmt: skip
WAIT_S = 200.0


@pytest.fixture
def jobs(store: Store, tmp_path: Path) -> Iterator[ReplayJobs]:
    store.append_tier_requests(records(between(sample(), START_S - 2 * 86_400, START_S), "history"))
    with ReplayJobs(settings(), tmp_path, store, {CHAT: LLAMA_TYPE}) as found:
        yield found
    assert not multiprocessing.active_children()


@pytest.fixture
def api(store: Store, tmp_path: Path, jobs: ReplayJobs) -> Iterator[httpx.Client]:
    found: World = world(store, tmp_path / "world")
    chosen = found.settings.model_copy(update={"api": ApiSettings(port=0)})
    with (
        serve_api(chosen, found.board, jobs) as url,
        # a connection for each call: one that idles while a replay runs may be closed just as it is used
        httpx.Client(base_url=url, timeout=60, headers={"Connection": "close"}) as client,
    ):
        yield client


def test_a_replay_runs_beside_and_says_what_the_command_line_says(
    api: httpx.Client, jobs: ReplayJobs
) -> None:
    begun = api.post("/v1/replay", json=WISH)
    assert begun.status_code == 202, begun.text
    path = begun.headers["location"]
    assert begun.json()["state"] == "running"
    busy = api.post("/v1/replay", json=WISH)
    assert busy.status_code == 429
    assert int(busy.headers["retry-after"]) > 0
    assert busy.json()["remedy"]
    jobs.wait(WAIT_S)
    over = api.get(path).json()
    assert over["state"] == "done", over
    assert (over["progress"], over["problem"]) == (1.0, None)
    said = over["result"]
    assert set(said["policies"]) == set(WISH["policies"])
    for values in said["policies"].values():
        assert values["unit_hours"] > 0
        assert 0.9 < values["attainment"] <= 1
    assert (said["service"], said["lead_s"], said["rate_scale"]) == (CHAT, 120.0, 5.0)
    assert said["slo"]["ttft_p99_s"] == 1.0  # the service's own
    assert "honest" not in said["summary"]  # Tidegate was not played


def test_a_replay_is_given_up_and_the_next_one_may_start(
    api: httpx.Client, jobs: ReplayJobs
) -> None:
    path = api.post("/v1/replay", json=WISH).headers["location"]
    assert api.delete(path).json()["state"] == "given up"
    jobs.wait(WAIT_S)
    assert not multiprocessing.active_children()
    assert api.get(path).json()["state"] == "given up"
    again = api.post("/v1/replay", json={**WISH, "slo": {"ttft_p99_s": 1e-6}})
    assert again.status_code == 202
    jobs.wait(WAIT_S)
    failed = api.get(again.headers["location"]).json()
    assert failed["state"] == "failed"
    assert failed["problem"]["title"] == "SloInfeasible"
    assert "set ttft_p99_s above" in failed["problem"]["remedy"]


def test_a_frontier_is_played_kept_and_shown_again_after_a_restart(
    api: httpx.Client, jobs: ReplayJobs, store: Store, tmp_path: Path
) -> None:
    before = between(sample(), START_S - 4 * 86_400, START_S - 2 * 86_400)
    store.append_tier_requests(records(before, "before"))
    path = f"/v1/services/{CHAT}/frontier"
    assert api.get(path).json() == {"service": CHAT, "frontier": None, "job": None}
    assert api.get("/v1/services/nobody/frontier").status_code == 404
    wish = {
        "days": 0.5,
        "rate_scale": 5.0,
        "lead_s": 120.0,
        "elasticities": [0.0],
        "targets": [0.9],
    }
    begun = api.post(path, json=wish)
    assert begun.status_code == 202, begun.text
    under_way = api.get(path).json()
    assert (under_way["frontier"], under_way["job"]["kind"]) == (None, "frontier")
    jobs.wait(WAIT_S)
    assert api.get(begun.headers["location"]).json()["state"] == "done"
    found = api.get(path).json()
    assert (found["job"]["state"], found["job"]["result"]) == ("done", None)
    frontier = found["frontier"]
    assert frontier["own"] == {"elasticity": 1.0, "target": 0.99}  # always among those played
    assert [(p["target"], p["elasticity"]) for p in frontier["points"]] == [
        (0.9, 0.0), (0.9, 1.0), (0.99, 0.0), (0.99, 1.0),
    ]  # fmt: skip
    peak, tide = frontier["points"][2:]
    assert peak["saved_share"] == 0.0
    assert 0 < tide["unit_hours"] <= peak["unit_hours"]
    assert (frontier["lead_s"], frontier["rate_scale"]) == (120.0, 5.0)
    again = ReplayJobs(settings(), tmp_path, store, {CHAT: LLAMA_TYPE}).frontier(CHAT)
    assert (again["frontier"], again["job"]) == (frontier, None)
    for change in ({"days": 32}, {"elasticities": [2]}, {"targets": [1]}, {"targets": [0.9] * 9}):
        assert api.post(path, json={**wish, **change}).status_code == 422
    assert api.post("/v1/services/nobody/frontier", json=wish).status_code == 404
    jobs.start_frontier(CHAT, FrontierWish())
    assert api.post(path, json=wish).status_code == 429
    kept = next((tmp_path / "frontiers").iterdir())
    kept.write_bytes(kept.read_bytes()[:100])  # a disk that was full
    assert api.get(path).json()["frontier"] is None


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"service": "nobody"}, 404, "nobody"),
        ({"log": "/etc/passwd"}, 422, "log"),
        ({"policies": ["best"]}, 422, "best"),
        ({"days": 0}, 422, "days"),
        ({"rate_scale": 0}, 422, "rate_scale"),
        ({"lead_s": -1}, 422, "lead_s"),
        ({"slo": {"attainment": 1}}, 422, "attainment"),
        ({"slo": {"p50": 1}}, 422, "p50"),
        ({"unit": "gpt-9"}, 409, "gpt-9"),
    ],
)
def test_refusals(api: httpx.Client, change: dict[str, Any], status: int, words: str) -> None:
    refused = api.post("/v1/replay", json={**WISH, **change})
    assert refused.status_code == status, refused.text
    assert words in refused.json()["detail"]
    assert not multiprocessing.active_children()


def test_an_unknown_replay(api: httpx.Client) -> None:
    assert api.get("/v1/replay/none").status_code == 404
    assert api.delete("/v1/replay/none").status_code == 404


def test_the_routes_are_described(api: httpx.Client) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    assert set(paths["/v1/replay"]) == {"post"}
    assert set(paths["/v1/replay/{job_id}"]) == {"get", "delete"}


def test_what_a_wish_leaves_out_is_the_services_own() -> None:
    service = settings(max_units=6).service[0].service()
    order = order_of(ReplayWish(service=CHAT), service, LLAMA_TYPE)
    assert order.policies == POLICIES
    assert order.rate_scale == pytest.approx(1 / LOG_SAMPLE)
    assert order.terms.lead_s == LLAMA_TYPE.lead_time_s
    assert order.terms.limits.max_units == 6
    assert order.terms.slo == service.slo
    assert order.terms.elasticity == service.elasticity
    wished = order_of(ReplayWish(service=CHAT, elasticity=0.25), service, LLAMA_TYPE)
    assert wished.terms.elasticity == 0.25
    with pytest.raises(SettingError, match="policies"):
        order_of(ReplayWish(service=CHAT, policies=("best",)), service, LLAMA_TYPE)
