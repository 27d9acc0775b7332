"""Ingest of the real logs: rows per second of CPU (client and server) and of wall time, memory.

Each log is read by processes of their own into fresh databases on a real server: five times (the
median run counts), each time twice, and the second reading must add nothing. CPU is that of the
reading process and of every process of the server, in nanoseconds of the scheduler; starting
Python and connecting (0.02 s of the server, once a process) are not rows and are not counted.
Run ``python -m benchmarks.ingest``; the traces lie beside the repository.
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
RUNS = 5


def read_once(dsn: str, path: str, postmaster: int) -> dict[str, float]:
    """Ingest in this process; figures of this process, and of the server while it reads."""
    with Store.open(dsn) as store:
        before = server_cpu_s(postmaster)
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        report = ingest_file(path, store)
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        after = server_cpu_s(postmaster)
        again = ingest_file(path, store)
    most_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    server_s = sum(used_s - before.get(pid, 0.0) for pid, used_s in after.items())
    return {
        "rows": report.rows,
        "accepted": report.accepted,
        "again": again.rows,
        "again_s": again.seconds,
        "client_s": cpu_s,
        "server_s": server_s,
        "rows_per_cpu_s": report.rows / (cpu_s + server_s),
        "wall_s": wall_s,
        "rss_mb": most_kib / 1024,
    }


def server_cpu_s(postmaster: int) -> dict[int, float]:
    """CPU seconds so far of each living process of the server."""
    used_s = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == postmaster:
                run_ns = int((stat.parent / "schedstat").read_text().split()[0])
                used_s[int(stat.parent.name)] = run_ns / 1e9
        except OSError:
            continue
    return used_s


def main() -> int:
    if len(sys.argv) == 4:
        print(json.dumps(read_once(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
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
            data_folder = Path(folder) / "home" / "postgres" / "data"
            postmaster = int((data_folder / "postmaster.pid").read_text().splitlines()[0])
            for path in sorted((TRACES / "requests").glob("*.gz")):
                ok &= report(path, [run_once(path, server.dsn, postmaster) for _ in range(RUNS)])
    return 0 if ok else 1


def run_once(path: Path, server_dsn: str, postmaster: int) -> dict[str, float]:
    """Read the log in a process of its own into a database of its own."""
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute("drop database if exists bench")
        connection.execute("create database bench")
    dsn = make_conninfo(server_dsn, dbname="bench")
    with Store.open(dsn) as store:
        store.migrate()
    command = [sys.executable, "-m", "benchmarks.ingest", dsn, str(path), str(postmaster)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def report(path: Path, runs: list[dict[str, float]]) -> bool:
    """Print the median run; return whether every target was met."""
    run = sorted(runs, key=lambda run: run["rows_per_cpu_s"])[len(runs) // 2]
    figures = [
        path.name.removesuffix(".csv.gz"),
        f"{run['rows']:,}",
        f"{run['rows_per_cpu_s']:,.0f}",
        f"{run['rows'] / run['wall_s']:,.0f}",
        f"{run['client_s']:.3f}",
        f"{run['server_s']:.3f}",
        f"{run['wall_s']:.3f}",
        f"{run['again_s']:.3f}",
        f"{max(run['rss_mb'] for run in runs):.0f}",
    ]
    print(" | ".join(figures), flush=True)
    return run["rows_per_cpu_s"] >= TARGET_ROWS_PER_CPU_S and all(
        run["rss_mb"] <= TARGET_RSS_MB and run["accepted"] == run["rows"] and run["again"] == 0
        for run in runs
    )


if __name__ == "__main__":
    raise SystemExit(main())
