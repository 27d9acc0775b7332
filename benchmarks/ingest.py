"""Ingest of the real logs: rows per second of CPU (client and server) and of wall time, memory.

Each log is read twice by a process of its own into a fresh database on a real server: the second
run must add nothing. Run ``python -m benchmarks.ingest``; the traces lie beside the repository.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from forecaster.ingest import ingest_file
from forecaster.store import EmbeddedServer, Store

TRACES = Path(__file__).resolve().parents[2] / "shared" / "traces"
TARGET_ROWS_PER_CPU_S = 400_000
TARGET_RSS_MB = 500
ROWS_FOR_RATE = 100_000
"""Below it the fixed costs of a first run (about 0.08 s of CPU) are most of the figure."""


def read_once(dsn: str, path: str) -> dict[str, float]:
    """Ingest in this process; figures of this process only."""
    with Store.open(dsn) as store:
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        report = ingest_file(path, store)
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        again = ingest_file(path, store)
    most_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": report.rows,
        "accepted": report.accepted,
        "again": again.rows,
        "again_s": again.seconds,
        "client_s": cpu_s,
        "wall_s": wall_s,
        "rss_mb": most_kib / 1024,
    }


def server_cpu_s(data_folder: Path) -> float:
    """CPU seconds of the server so far: its postmaster and every child that has ended or lives."""
    pid = int((data_folder / "postmaster.pid").read_text().splitlines()[0])
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat.parent.name) == pid:
            ticks += sum(map(int, fields[11:15]))  # own and waited-for children
        elif int(fields[1]) == pid:
            ticks += sum(map(int, fields[11:13]))
    return ticks / 100


def main() -> int:
    if len(sys.argv) == 3:
        print(json.dumps(read_once(sys.argv[1], sys.argv[2])))
        return 0
    if not TRACES.is_dir():
        print(f"the real traces are not at {TRACES}", file=sys.stderr)
        return 1
    print("log | rows | rows/CPU-s | rows/s | client s | server s | wall s | again s | RSS MB")
    print("--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---:")
    ok = True
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        Path(folder).chmod(0o755)
        with EmbeddedServer(Path(folder) / "home") as server:
            for number, path in enumerate(sorted((TRACES / "requests").glob("*.gz"))):
                with psycopg.connect(server.dsn, autocommit=True) as connection:
                    connection.execute(f"create database bench_{number}")
                dsn = make_conninfo(server.dsn, dbname=f"bench_{number}")
                with Store.open(dsn) as store:
                    store.migrate()
                ok &= report(path, dsn, Path(folder) / "home" / "postgres" / "data")
    return 0 if ok else 1


def report(path: Path, dsn: str, data_folder: Path) -> bool:
    before_s = server_cpu_s(data_folder)
    command = [sys.executable, "-m", "benchmarks.ingest", dsn, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    run = json.loads(done.stdout)
    server_s = server_cpu_s(data_folder) - before_s
    per_cpu_s = run["rows"] / (run["client_s"] + server_s)
    figures = [
        path.name.removesuffix(".csv.gz"),
        f"{run['rows']:,}",
        f"{per_cpu_s:,.0f}",
        f"{run['rows'] / run['wall_s']:,.0f}",
        f"{run['client_s']:.2f}",
        f"{server_s:.2f}",
        f"{run['wall_s']:.2f}",
        f"{run['again_s']:.2f}",
        f"{run['rss_mb']:.0f}",
    ]
    print(" | ".join(figures))
    return (
        (per_cpu_s >= TARGET_ROWS_PER_CPU_S or run["rows"] < ROWS_FOR_RATE)
        and run["rss_mb"] <= TARGET_RSS_MB
        and run["accepted"] == run["rows"]
        and run["again"] == 0
    )


if __name__ == "__main__":
    raise SystemExit(main())
