from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.integration.run_helpers import DEMO, Tidegate, nothing_left, ready
from tests.integration.tier_helpers import until

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; ended with the module, because Playwright keeps an event loop running until then."""
    if not CHROMIUM.exists():
        pytest.skip(f"Debian's chromium is not at {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def dashboard(browser: Browser, open_folder: Callable[[], Path]) -> Iterator[str]:
    """Address of a running demo, every service with a plan and a ready unit."""
    home = open_folder()
    with Tidegate(home, *DEMO, "--format", "json") as running:
        url = running.document()["url"]
        until(ready(url), "a ready unit of every service")
        until(
            lambda: httpx.get(f"{url}/readyz").status_code == 200, "a plan of every service", 180.0
        )
        yield url
        running.process.terminate()
        assert running.ended() == 0, running.said
        nothing_left(home)
