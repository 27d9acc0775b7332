"""Debian's Prometheus on a free port."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.integration.tier_helpers import until


def skip_without_prometheus() -> None:
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        pytest.skip("Debian's prometheus is not installed: apt-get install prometheus")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running_prometheus(
    folder: Path, config: str, *more: str, stop: int = signal.SIGTERM
) -> Iterator[str]:
    """Run it on the data of `folder` under this configuration; yields its address."""
    (folder / "prometheus.yml").write_text(config)
    port = free_port()
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
             "--storage.tsdb.retention.time=1y", f"--web.listen-address=127.0.0.1:{port}", *more],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        try:
            return httpx.get(f"{url}/-/ready").status_code == 200
        except httpx.HTTPError:
            return False

    try:
        until(ready, "a ready Prometheus")
        yield url
    finally:
        process.send_signal(stop)
        process.wait(20.0)
