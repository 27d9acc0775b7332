"""A page that is watched: what it complains of, whom it asks, and whether it can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

WITHIN_MS = 60_000
BAD = {"error", "warning"}
expect.set_options(timeout=WITHIN_MS)  # a busy machine fills a card late; only "never" is a failure


@contextmanager
def opened(
    browser: Browser, url: str, path: str = "/", shows: str = "#chart .main-svg", **screen: object
) -> Iterator[Page]:
    """A page that must stay without complaint and must ask nobody but the daemon."""
    complaints: list[str] = []
    context = browser.new_context(**screen)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(WITHIN_MS)
    page.on("console", lambda said: complaints.append(said.text) if said.type in BAD else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: complaints.append(asked.url) if foreign(asked.url) else None)
    page.on(
        "response", lambda r: complaints.append(f"{r.status} {r.url}") if r.status >= 400 else None
    )

    def foreign(address: str) -> bool:
        return not address.startswith((url + "/", "data:", "blob:"))

    page.goto(url + path, wait_until="load")
    expect(page.locator(shows).first).to_be_visible()
    yield page
    context.close()
    assert complaints == [], complaints


def luminance(colour: str) -> float:
    """Relative luminance of ``rgb(r, g, b)`` (WCAG 2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio (WCAG 2): 21 = black on white."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def unnamed(page: Page) -> list[str]:
    """Controls in view that a screen reader could not name, and other faults of structure."""
    found: list[str] = page.evaluate(STRUCTURE)
    return found


def serious(page: Page) -> list[str]:
    """What axe-core calls serious or worse."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response
    return [
        f"{each['id']}: {node['html'][:120]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


STRUCTURE = """() => {
  const seen = (each) => each.checkVisibility(), faults = [];
  const named = (each) => (each.getAttribute('aria-label') || each.textContent.trim()
    || [...(each.labels ?? [])].map((label) => label.textContent.trim()).join(''));
  for (const each of document.querySelectorAll('a, button, summary, [role=img]'))
    if (seen(each) && !named(each)) faults.push('no name: ' + each.outerHTML.slice(0, 120));
  for (const each of document.querySelectorAll('select, input'))
    if (seen(each) && !each.getAttribute('aria-label') && ![...each.labels].some((l) => l.textContent.trim()))
      faults.push('no label: ' + each.outerHTML.slice(0, 120));
  for (const [what, times] of [['h1', 1], ['main', 1], ['body > header', 1], ['body > footer', 1], ['nav[aria-label]', 2]])
    if (document.querySelectorAll(what).length !== times) faults.push(`not ${times}: ${what}`);
  const levels = [...document.querySelectorAll('h1, h2, h3')].filter(seen).map((each) => Number(each.tagName[1]));
  if (levels.some((level, i) => level > (levels[i - 1] ?? 0) + 1)) faults.push('headings skip: ' + levels);
  for (const each of document.querySelectorAll('thead th')) if (each.scope !== 'col') faults.push('no scope: ' + each.textContent);
  if (document.querySelectorAll('[id]').length !== new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size) faults.push('an id twice');
  return faults;
}"""
