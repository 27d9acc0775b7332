"""`tidegate retrain` of thousands of services as a user runs it: demand from PostgreSQL, models into it.

``python -m benchmarks.forecast_database --services 500`` fills an embedded server with four weeks and a
day of minutes for each service (not timed), then times three runs of `forecaster.wiring.retrain` with its
shipped settings: one that backtests four weeks of minutes that nobody has read (days of minutes are packed as they are
read the first time, once), the same again, and one of the day after that goes on from it.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psycopg

from benchmarks.forecast_speed import DAYS, START_S, reference_s, services
from benchmarks.ingest import server_cpu_s
from forecaster.config import Settings
from forecaster.daemon.training import READ_MOST
from forecaster.store import EmbeddedServer, Store
from forecaster.wiring import engines
from forecaster.wiring.retrain import Terms, retrain

PER_SLOT = 5
"""Minutes of a slot of five: its count is spread over them."""


def fill(dsn: str, count: int) -> None:
    """Minute sums of `count` services, straight into the table."""
    minutes = (DAYS + 1) * 1440
    starts = START_S + 60.0 * np.arange(minutes)
    stamps = [f"{each:.0f}" for each in starts]
    blank = "\\\\x" + "00" * 120
    with psycopg.connect(dsn, autocommit=True) as connection:
        rng = np.random.default_rng(1)
        for first in range(0, count, 50):
            Y = services(first, min(50, count - first))
            Y = np.concatenate([Y, Y[-7 * 288 : -6 * 288]])
            for n in range(Y.shape[1]):
                name = f"s{first + n:05}"
                counts = rng.poisson(np.repeat(Y[:, n] / PER_SLOT, PER_SLOT))
                row = connection.execute(
                    "insert into service (name, requests, first_arrival, last_arrival) values"
                    " (%s, %s, to_timestamp(%s), to_timestamp(%s)) returning id",
                    (name, int(counts.sum()), starts[0], starts[-1] + 59),
                ).fetchone()
                assert row is not None
                with connection.cursor() as cursor:
                    cursor.execute("create temp table if not exists part (at float8, n int8)")
                    cursor.execute("truncate part")
                    with cursor.copy("copy part from stdin") as copy:
                        copy.write(
                            "\n".join(
                                f"{s}\t{c}"
                                for s, c in zip(stamps, counts.tolist(), strict=True)
                                if c
                            )
                        )
                    cursor.execute(
                        "insert into demand_slot select %s, to_timestamp(at), n, 0, 0, 0, 0, 0,"
                        " set_byte(set_byte(%s::bytea, 0, (n & 255)::int), 1, (n >> 8 & 255)::int) from part",
                        (row[0], blank.replace("\\\\", "\\")),
                    )


def settle(dsn: str) -> None:
    """What autovacuum does within minutes of so large a change."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze demand_slot")


def measure(count: int) -> str:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    reference = min(reference_s() for _ in range(3))
    folder = Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
    folder.chmod(0o755)
    # batches as large as those of 10,000 services
    engines.BATCHES_LEAST = max(count // engines.BATCH_MOST, 2)
    scale = 10_000 / count
    lines = []
    try:
        with EmbeddedServer(folder) as embedded, Store.open(embedded.dsn) as store:
            store.migrate()
            fill(embedded.dsn, count)
            settle(embedded.dsn)
            names = [each.name for each in store.services()]
            postmaster = int(next(folder.rglob("postmaster.pid")).read_text().splitlines()[0])
            for label, days, terms in (
                ("all backtested, days never read", DAYS, Terms()),
                ("all backtested", DAYS, Terms(fresh=True)),
                ("a day later", DAYS + 1, Terms()),
            ):
                now_s = START_S + days * 86_400.0
                began = time.perf_counter()
                store.learning.known(
                    dict.fromkeys(names[:READ_MOST], ""), DAYS, now_s, 300.0, False
                )
                read_s = (time.perf_counter() - began) / READ_MOST
                server = server_cpu_s(postmaster)
                began, before = time.perf_counter(), os.times()
                done = retrain(store, Settings(), names, terms, now_s)
                wall_s, after = time.perf_counter() - began, os.times()
                assert len(done.reports) == count, done.skipped[:1]
                train_s = sum(each.seconds for each in done.reports)
                main_s = after.user + after.system - before.user - before.system
                used = server_cpu_s(postmaster).items()
                server_s = sum(used_s - server.get(pid, 0.0) for pid, used_s in used)
                cpu_ms = [1000 * each / count for each in (train_s, main_s, server_s)]
                lines.append(
                    f"| {label} | {wall_s:.1f} | {wall_s * scale:.0f} | {1000 * read_s:.1f}"
                    f" | {' | '.join(f'{each:.1f}' for each in cpu_ms)} | {sum(cpu_ms) * 10 / 2:.0f} |"
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    head = [
        "### With the database",
        "",
        f"`tidegate retrain` of {count:,} services x {DAYS} days of minutes in an embedded PostgreSQL, over"
        f" {os.cpu_count()} processes, batches of {min(count // engines.BATCHES_LEAST, engines.BATCH_MOST)};"
        f" the largest process has {peak:.1f} GB. One 1500 x 1500 product took {reference:.2f} CPU s in this"
        " run (0.10-0.12 on a quiet machine). `python -m benchmarks.forecast_database --services"
        f" {count}`",
        "",
        "| run | s | s per 10,000 (bar 120) | ms to read a service | CPU ms a service: training | reading and"
        " writing | PostgreSQL | CPU s per 10,000 over two cores |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join([*head, *lines]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    given = parser.parse_args()
    if given.services < 50:
        sys.exit("--services must be 50 or more")
    print(measure(given.services))


if __name__ == "__main__":
    main()
