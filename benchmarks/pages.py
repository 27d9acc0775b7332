"""How long each page of the demo's dashboard takes to show what it has, and how often it moves.

python -m benchmarks.pages [seconds of demo before]
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.screenshot import FLAGS, demo

PAGES = ("overview", "service", "fleet", "money", "quality", "whatif", "activity")
ROUNDS = 5
WATCH_S = 30.0
CHANGES = """() => {
  window.changes = [];
  new MutationObserver(() => window.changes.push(performance.now()))
    .observe(document.getElementById('clock'), { childList: true, characterData: true, subtree: true });
}"""


def shown_s(page: Page, url: str, name: str) -> float:
    """Seconds from the address to the page with its data drawn, everything read anew."""
    page.goto("about:blank")
    begin_s = time.perf_counter()
    page.goto(f"{url}/#{name}")
    page.wait_for_function("typeof found !== 'undefined' && found !== null")
    return time.perf_counter() - begin_s


def main(seconds: float) -> None:
    with demo() as url, sync_playwright() as playwright:
        time.sleep(seconds)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        print(f"load average {os.getloadavg()[0]:.1f}")
        for name in PAGES:
            spent = [shown_s(page, url, name) for _ in range(ROUNDS)]
            print(f"{name}: {np.median(spent):.2f} s, the first time {spent[0]:.2f} s", flush=True)
        shown_s(page, url, "service")
        page.evaluate(CHANGES)
        page.wait_for_timeout(1000 * WATCH_S)
        gaps = np.diff(page.evaluate("window.changes")) / 1000
        print(
            f"between two updates: {np.median(gaps):.2f} s, {gaps.max():.2f} s at most in {WATCH_S:g} s"
        )
        browser.close()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
