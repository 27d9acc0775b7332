"""A retrain that is killed ten times ends with the models of one that was left alone."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from forecaster.config.settings import RetrainSettings, Settings
from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.store import EmbeddedServer, Store
from forecaster.wiring.retrain import Engine, Terms, retrain
from tests.integration.cli_runner import Runner

START_S = 1_767_571_200.0  # 2026-01-05 00:00 UTC, a Monday
DAY_S = 86_400.0
SERVICES, DAYS, KILLS = 40, 4, 10
SETTINGS = Settings(retrain=RetrainSettings(slot_s=1800))


def ingest(store: Store, name: str, seed: int, days: float = DAYS) -> None:
    rng = np.random.default_rng(seed)
    minute = np.arange(round(days * 1440))
    rate = 0.5 + rng.uniform(0, 1) + 0.4 * np.sin(2 * np.pi * (minute / 1440 - rng.uniform()))
    counts = rng.poisson(rate)
    at = START_S + 60 * np.repeat(minute, counts) + 60 * rng.random(counts.sum())
    none = np.zeros(at.size, np.int64)
    new = LogSource(0, 1, name, "", "log")
    store.append_requests(new, new, [RequestBatch(name, np.sort(at), none, none)])


def learnt(store: Store, names: list[str]) -> dict[str, list[tuple[Any, ...]]]:
    """What every version says; numbers and times of day are of the run."""
    return {
        name: [(row.champion, row.live, row.scores, row.calibration, row.verdict) for row in store.models(name)]
        for name in names
    }  # fmt: skip


@pytest.fixture
def twins(postgres: EmbeddedServer, dsn: str) -> Any:
    """Two databases with the same demand."""
    names = [f"s{n:02}" for n in range(SERVICES)]
    with Store.open(dsn) as store:
        for n, name in enumerate(names):
            ingest(store, name, n)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        template = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
        connection.execute(f"create database twin template {template}")
        yield names, dsn, make_conninfo(postgres.dsn, dbname="twin")
        connection.execute("drop database twin with (force)")


def stored(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(
        "select coalesce(sum(cardinality(batches)), 0) from retrain_run"
    ).fetchone()
    assert row is not None
    return int(row[0])


def begin(dsn: str, home: Path, config: Path, *more: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TIDEGATE_DSN": dsn, "TIDEGATE_HOME": str(home),
                   "TIDEGATE_CONFIG": str(config)}  # fmt: skip
    argv = [sys.executable, "-m", "forecaster.cli", "retrain", "--format", "json", *more]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_ten_kills_change_nothing(
    twins: tuple[list[str], str, str], open_folder: Callable[[], Path], tmp_path: Path
) -> None:
    names, whole, killed = twins
    config = tmp_path / "t.toml"
    config.write_text("[retrain]\nslot_s = 1800\n")
    dice = random.Random(7)
    kills = 0
    with psycopg.connect(killed, autocommit=True) as watcher:
        for turn in range(KILLS):
            # one of them with children of its own; somewhere before, in or after a batch
            child = begin(killed, open_folder(), config, "--jobs", "2" if turn == 3 else "1")
            target = stored(watcher) + dice.randint(0, 1)
            while child.poll() is None and stored(watcher) < target:
                pass
            try:
                child.wait(dice.uniform(0, 0.05 if target else 1.0))
            except subprocess.TimeoutExpired:
                child.kill()
                kills += 1
            child.communicate()
    assert kills == KILLS
    last = begin(killed, open_folder(), config, "--jobs", "1")
    out, problems = last.communicate()
    assert last.returncode == 0, problems
    told = json.loads(out)
    assert len(told["resumed"]) + len(told["services"]) == SERVICES
    assert told["resumed"]
    with Store.open(whole) as store:
        done = retrain(store, SETTINGS, names, Terms(jobs=1), START_S + 9 * DAY_S)
        assert len(done.reports) == SERVICES
        undisturbed = learnt(store, names)
    with Store.open(killed) as store:
        assert learnt(store, names) == undisturbed
    assert all(len(rows) == 1 for rows in undisturbed.values())


def test_over_processes_it_is_the_same_as_here(store: Store) -> None:
    names = ["a", "b", "c"]
    for n, name in enumerate(names):
        ingest(store, name, n)
    ingest(store, "young", 9, days=1)
    seen: list[float] = []
    both = [
        retrain(store, SETTINGS, [*names, "young"], terms, START_S + 9 * DAY_S, lambda done, note: seen.append(done))
        for terms in (Terms(jobs=1), Terms(jobs=2, fresh=True))
    ]  # fmt: skip
    for done in both:
        assert [each.service for each in done.reports] == names
        assert "72.0 h are needed" in str(done.skipped[0])
    assert seen[:4] == sorted(seen[:4])
    assert seen[-1] == 4
    for name in names:
        newer, older = store.models(name)
        assert newer.calibration == older.calibration
        assert newer.live != older.live


def test_ray_without_ray_says_what_to_install(
    cli: Runner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, "a", 1)
    monkeypatch.setitem(sys.modules, "ray", None)
    line = cli("retrain", "--engine", "ray").error
    assert "pip install 'tidegate[ray]'" in line


def test_on_a_local_ray_it_is_the_same_as_here(store: Store) -> None:
    pytest.importorskip(
        "ray", reason="Ray is not installed: pip install 'tidegate[ray]' to run this"
    )
    for n in range(4):
        ingest(store, f"s{n}", n)
    names = [f"s{n}" for n in range(4)]
    for engine in (Engine.LOCAL, Engine.RAY):
        terms = Terms(engine, jobs=2, fresh=True)
        retrain(store, SETTINGS, names, terms, START_S + 9 * DAY_S)
    for name in names:
        newer, older = store.models(name)
        assert newer.calibration == older.calibration
