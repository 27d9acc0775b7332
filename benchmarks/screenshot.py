"""Makes the README's picture: the demo's dashboard in a real browser.

python -m benchmarks.screenshot [seconds of demo before the picture]
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "dashboard.png"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def demo() -> Iterator[str]:
    """Run the demo in a folder of its own; its address."""
    home = Path(tempfile.mkdtemp(prefix="tidegate-shot-"))
    home.chmod(0o755)
    command = [sys.executable, "-m", "forecaster.cli", "run", "--demo", "--format", "json"]
    command += ["--api-port", "0", "--tier-port", "0"]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "TIDEGATE_HOME": str(home)}, cwd=ROOT
    )
    assert running.stdout is not None
    text = b""
    while not text.rstrip().endswith(b"\n}"):
        text += running.stdout.readline()
    try:
        yield json.loads(text)["url"]
    finally:
        running.send_signal(signal.SIGINT)
        running.wait()


def main(seconds: float) -> None:
    with demo() as url, sync_playwright() as playwright:
        time.sleep(seconds)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(url)
        page.wait_for_selector("#chart .main-svg")
        page.wait_for_timeout(3000)
        page.screenshot(path=TARGET)
        browser.close()
    print(f"{TARGET.relative_to(ROOT)} after {seconds:g} s")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 235.0)
