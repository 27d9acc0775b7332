"""The report of a replay from a file, in a real browser, without any network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from forecaster.domain.profile import GenerativeProfile, UnitType
from forecaster.domain.service import Slo
from forecaster.replay.contest import Terms
from forecaster.replay.report import report
from forecaster.replay.sample import Sample, between
from forecaster.wiring.replays import Order, play
from forecaster.wiring.tables import Tables

pytestmark = pytest.mark.browser
MONDAY_S = 1_767_571_200.0
UNIT = UnitType("little", GenerativeProfile(0.02, 2e-3, 1e-6, 5e-4, max_batch=16))
PLAYED = ("static-peak", "smoothed", "tide-clairvoyant")


@pytest.fixture(scope="module")
def page_file(open_folder: Callable[[], Path]) -> Path:
    folder = open_folder()
    log = between(Sample("chat", 0.02, 60, 40, seed=5), MONDAY_S, MONDAY_S + 86_400)
    order = Order(Terms(UNIT, Slo(ttft_p99_s=1.0), 180.0, days=0.5), 200.0, PLAYED)
    file = folder / "report.html"
    file.write_text(report(play(log, order, Tables(folder / "tables"))))
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_opens_offline_and_switches_policies(
    browser: Browser, page_file: Path, scheme: str
) -> None:
    complaints: list[str] = []
    context = browser.new_context(color_scheme=scheme, offline=True)  # type: ignore[arg-type]
    page = context.new_page()
    page.on("console", lambda said: complaints.append(said.text) if said.type in BAD else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: complaints.append(asked.url) if foreign(asked.url) else None)

    def foreign(address: str) -> bool:
        return not address.startswith((page_file.as_uri(), "data:", "blob:"))

    page.goto(page_file.as_uri())
    expect(page.locator("#chart .main-svg").first).to_be_visible()
    names = "document.getElementById('chart').data.map((t) => t.name)"
    assert {"ready", "warming", "load, in units needed", "tide clairvoyant"} <= set(
        page.evaluate(names)
    )
    blocks = "document.getElementById('chart').data[0].y.length"
    peak = page.evaluate(blocks)
    page.get_by_role("button", name="smoothed").click()
    expect(page.get_by_role("button", name="smoothed")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate(blocks) > peak
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="tide-clairvoyant")).to_have_attribute(
        "aria-pressed", "true"
    )
    shade = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(v) for v in shade[4:-1].split(",")) < 200) == (scheme == "dark")
    context.close()
    assert complaints == []


BAD = {"error", "warning"}
