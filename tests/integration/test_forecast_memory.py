"""What the engine remembers beside the daemon: verified forecasts, versions, the share of the log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from forecaster.daemon.feed import DemandFeed
from forecaster.daemon.training import retrain_service
from forecaster.store import Store
from tests.integration.daemon_world import CHAT, START_S, settings, world
from tests.integration.tier_helpers import LLAMA_TYPE


def again(store: Store) -> None:
    """Train once more on what is stored."""
    chosen = settings()
    service, profile = chosen.service[0].service(), LLAMA_TYPE.profile
    retrain_service(store, service, chosen.retrain, START_S + 60.0, profile=profile)


def test_the_daemon_verifies_its_forecasts_over_restarts_and_retrains(
    learned_store: Store, tmp_path: Path
) -> None:
    day = world(learned_store, tmp_path)
    for _ in day.steps(3 * 12):
        pass
    before = day.board.accuracy(CHAT)
    first = before["leads"][0]
    assert first["verified"] >= 4
    assert 0 < first["wape"] < 0.5
    assert before["pending"] > 0
    again(learned_store)
    day.restart()
    after = day.board.accuracy(CHAT)
    assert after["leads"] == before["leads"]
    for _ in day.steps(12):
        pass
    assert day.board.accuracy(CHAT)["leads"][0]["verified"] > first["verified"]
    assert day.board.anomalies(CHAT) == {"service": CHAT, "anomalies": []}


def test_a_model_of_another_share_of_the_log_says_the_same_of_it(learned_store: Store) -> None:
    service, retrain = settings().service[0].service(), settings().retrain
    row = learned_store.live_model(CHAT)
    assert row is not None
    assert row.log_sample == service.log_sample
    said = []
    for sample in (service.log_sample, 4 * service.log_sample):
        feed = DemandFeed(replace(service, log_sample=sample), None, retrain, learned_store)
        feed.reload(START_S)
        said.append(feed.forecast(86_400.0, START_S).arrival_rate_rps)
    assert said[0].mean() > 10 * said[0][:, 0].min()
    np.testing.assert_allclose(said[1], said[0] / 4, rtol=1e-6)


def test_the_daemon_goes_on_with_the_version_rolled_back_to(
    learned_store: Store, tmp_path: Path
) -> None:
    day = world(learned_store, tmp_path)
    again(learned_store)
    day.step()
    newest = day.pilot.planner.feed.model_id
    before, now = learned_store.learning.roll_back(CHAT, None)
    assert before == newest
    for _ in range(7):
        day.step()
    assert day.pilot.planner.feed.model_id == now
    assert now < newest
