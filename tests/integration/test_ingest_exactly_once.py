"""Exactly once: cut anywhere, killed anywhere, renamed, grown, raced; against real PostgreSQL."""

from __future__ import annotations

import gzip
import io
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pytest

from forecaster.demand import bin_requests
from forecaster.domain.errors import StoreError, StoreUnavailableError
from forecaster.ingest import CutShortLogError, IngestOptions, ingest_file
from forecaster.store import EmbeddedServer, Store

T0_S = 1736121600.0
FAR = (0.0, 4e9)
SMALL_BLOCKS = IngestOptions(block_bytes=4096)


def log_of(rows: int, seed: int = 0, first: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    lines = [
        f"{T0_S + 0.25 * i:.3f},chat,{p},{n}\n"
        for i, p, n in zip(
            range(first, first + rows),
            rng.integers(0, 5000, rows),
            rng.integers(0, 900, rows),
            strict=True,
        )
    ]
    return "".join(lines).encode()


HEADER = b"timestamp,service,prompt_tokens,output_tokens\n"


def assert_store_holds(store: Store, log: bytes) -> None:
    """Raw rows, demand and figures all equal what one reading of `log` gives."""
    table = np.loadtxt(io.BytesIO(log), delimiter=",", usecols=(0, 2, 3), ndmin=2)
    rows = store.request_rows("chat", *FAR)
    order = np.lexsort((rows.output_tokens, rows.prompt_tokens, rows.arrival_s))
    expected = table[np.lexsort((table[:, 2], table[:, 1], table[:, 0]))]
    assert np.allclose(rows.arrival_s[order], expected[:, 0], atol=1e-6)
    assert rows.prompt_tokens[order].tolist() == expected[:, 1].tolist()
    assert rows.output_tokens[order].tolist() == expected[:, 2].tolist()
    slots, binned = store.slots("chat"), bin_requests(rows)
    for name in ("start_s", "arrivals", "prompt_tokens", "prompt_output", "counts_1s"):
        assert np.array_equal(getattr(slots, name), getattr(binned, name)), name
    assert store.services()[0].requests == len(table)


def test_again_renamed_and_recompressed_adds_nothing(tmp_path: Path, store: Store) -> None:
    body = log_of(2000)
    for name, raw in (
        ("log", HEADER + body),
        ("renamed", HEADER + body),
        ("log.gz", gzip.compress(HEADER + body)),
        ("members.gz", gzip.compress(HEADER + body[:999]) + gzip.compress(body[999:])),
        ("log.zst", pa.compress(HEADER + body, "zstd", asbytes=True)),
    ):
        (tmp_path / name).write_bytes(raw)
        report = ingest_file(tmp_path / name, store, SMALL_BLOCKS)
        assert report.rows + report.skipped == 2000
    assert_store_holds(store, body)


@pytest.mark.parametrize("seed", range(4))
def test_a_log_that_grows_from_any_byte_to_any_byte(
    tmp_path: Path, store: Store, seed: int
) -> None:
    body = log_of(400, seed)
    log = HEADER + body
    cuts = np.sort(np.random.default_rng(seed).integers(len(HEADER) + 40, len(log), 12))
    for cut in [*cuts.tolist(), len(log)]:
        (tmp_path / "log").write_bytes(log[:cut])
        ingest_file(tmp_path / "log", store, SMALL_BLOCKS)
    assert_store_holds(store, body)


def test_an_older_shorter_copy_adds_nothing(tmp_path: Path, store: Store) -> None:
    body = log_of(3000)
    (tmp_path / "log").write_bytes(HEADER + body)
    ingest_file(tmp_path / "log", store, SMALL_BLOCKS)
    for size in (2000, 30_000, 66_000):
        (tmp_path / "older").write_bytes((HEADER + body)[:size])
        assert ingest_file(tmp_path / "older", store).rows == 0
    assert_store_holds(store, body)


def test_a_log_that_shares_the_head_is_another_log(tmp_path: Path, store: Store) -> None:
    shared, ours, theirs = log_of(500), log_of(1500, 1, 500), log_of(700, 2, 500)
    (tmp_path / "ours").write_bytes(HEADER + shared + ours)
    (tmp_path / "theirs").write_bytes(HEADER + shared + theirs)
    assert ingest_file(tmp_path / "ours", store, SMALL_BLOCKS).accepted == 2000
    assert ingest_file(tmp_path / "theirs", store, SMALL_BLOCKS).accepted == 1200
    assert ingest_file(tmp_path / "ours", store, SMALL_BLOCKS).rows == 0
    assert ingest_file(tmp_path / "theirs", store, SMALL_BLOCKS).rows == 0
    assert_store_holds(store, shared + ours + shared + theirs)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_cut_short_stream_keeps_its_rows_and_continues(
    tmp_path: Path, store: Store, kind: str
) -> None:
    body = log_of(40_000)
    raw = HEADER + body
    packed = gzip.compress(raw) if kind == "gzip" else pa.compress(raw, "zstd", asbytes=True)
    (tmp_path / "log").write_bytes(packed[: len(packed) * 3 // 4])
    with pytest.raises(CutShortLogError, match=r"ends early.* rows; these are stored") as caught:
        ingest_file(tmp_path / "log", store, SMALL_BLOCKS)
    kept = caught.value.report.accepted
    assert 0 < kept < 40_000
    (tmp_path / "log").write_bytes(packed)
    report = ingest_file(tmp_path / "log", store)
    assert (report.skipped, report.accepted) == (kept, 40_000 - kept)
    assert_store_holds(store, body)


def test_rejects_are_counted_once_over_continued_runs(tmp_path: Path, store: Store) -> None:
    body, bad = log_of(300), b"nonsense,chat,1,1\n"
    log = HEADER + bad + body + bad
    options = IngestOptions(block_bytes=2048, rejects_dir=tmp_path / "rejects")
    for cut in (3000, 6000, len(log) - 4, len(log)):
        (tmp_path / "log").write_bytes(log[:cut])
        report = ingest_file(tmp_path / "log", store, options)
    assert report.rejects_path is not None
    rejects = [json.loads(line) for line in report.rejects_path.read_text().splitlines()]
    assert [(reject["line"], reject["reason"]) for reject in rejects] == [
        (2, "bad_timestamp"),
        (303, "bad_timestamp"),
    ]
    assert_store_holds(store, body)


CHILD = """
import sys
from forecaster.ingest import IngestOptions, ingest_file
from forecaster.store import Store

with Store.open(sys.argv[1]) as store:
    ingest_file(
        sys.argv[2], store, IngestOptions(block_bytes=16384),
        progress=lambda done, total: print(done, flush=True),
    )
"""


def killed_after(dsn: str, path: Path, blocks: int) -> bool:
    """Ingest in a process of its own; kill -9 it after so many blocks. False when it finished."""
    command = [sys.executable, "-c", CHILD, dsn, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for seen, _ in enumerate(child.stdout, start=1):
            if seen == blocks:
                child.send_signal(signal.SIGKILL)
                break
        return child.wait() == -signal.SIGKILL


def test_kill_nine_at_many_moments_neither_loses_nor_doubles(
    tmp_path: Path, dsn: str, store: Store
) -> None:
    body = log_of(30_000)
    (tmp_path / "log").write_bytes(HEADER + body)
    kills = [killed_after(dsn, tmp_path / "log", blocks) for blocks in (1, 4, 9)]
    assert all(kills)
    report = ingest_file(tmp_path / "log", store)
    assert report.skipped > 0
    assert_store_holds(store, body)


def test_two_processes_on_one_log_store_it_once(tmp_path: Path, store: Store) -> None:
    body = log_of(20_000)
    (tmp_path / "log").write_bytes(HEADER + body)
    refused: list[StoreError] = []

    def ingest() -> None:
        try:
            ingest_file(tmp_path / "log", store, IngestOptions(block_bytes=16384))
        except StoreError as error:
            refused.append(error)

    threads = [threading.Thread(target=ingest) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("another process is ingesting" in str(error) for error in refused)
    ingest_file(tmp_path / "log", store)
    assert_store_holds(store, body)


def test_many_logs_at_once_add_up(tmp_path: Path, store: Store) -> None:
    bodies = [log_of(4000, seed, 7000 * seed) for seed in range(4)]
    for number, body in enumerate(bodies):
        (tmp_path / f"log{number}").write_bytes(HEADER + body)
    threads = [
        threading.Thread(target=ingest_file, args=(tmp_path / f"log{number}", store, SMALL_BLOCKS))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_store_holds(store, b"".join(bodies))


def test_database_lost_in_the_middle_then_continued(
    tmp_path: Path, dsn: str, store: Store, postgres: EmbeddedServer
) -> None:
    body = log_of(20_000)
    (tmp_path / "log").write_bytes(HEADER + body)
    blocks = 0

    def cut_off(_done: int, _total: int) -> None:
        nonlocal blocks
        blocks += 1
        if blocks == 10:
            with psycopg.connect(postgres.dsn, autocommit=True) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where application_name = 'tidegate' and datname = %s",
                    (dsn.split("dbname=")[1].split()[0],),
                )

    try:
        ingest_file(tmp_path / "log", store, IngestOptions(block_bytes=16384), cut_off)
    except StoreUnavailableError as error:
        assert "\n" not in str(error)
    ingest_file(tmp_path / "log", store)
    assert_store_holds(store, body)


def test_standard_input_is_a_log_like_any_other(tmp_path: Path, dsn: str, store: Store) -> None:
    body = log_of(3000)
    lines = body.splitlines(keepends=True)
    for log in (HEADER + b"".join(lines[:1500]), gzip.compress(HEADER + body), HEADER + body):
        command = [sys.executable, "-c", CHILD, dsn, "-"]
        subprocess.run(command, input=log, check=True, stdout=subprocess.DEVNULL)
    assert_store_holds(store, body)
