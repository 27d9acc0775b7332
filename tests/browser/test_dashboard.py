"""The dashboard of a running demo, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import OpenAI
from playwright.sync_api import Browser, Page, expect

from tests.browser.watched import contrast, luminance, opened, serious, unnamed
from tests.integration.tier_helpers import until

pytestmark = pytest.mark.browser
NUMBER = re.compile(r"\d")
PAGES = ("overview", "service", "fleet", "money", "quality", "whatif", "activity")


@pytest.fixture
def page(browser: Browser, dashboard: str) -> Iterator[Page]:
    with opened(browser, dashboard) as found:
        yield found


def test_the_cards_are_filled_with_the_figures_of_the_api(page: Page, dashboard: str) -> None:
    for card in ("units", "slo", "saved", "load"):
        expect(page.locator(f"#{card}")).to_have_text(NUMBER)
    expect(page.locator("#units-detail")).to_have_text(re.compile(r"need \d+, hold \d+"))
    expect(page.locator("#slo-detail")).to_have_text(
        re.compile(r"\d+ requests, TTFT p99 .* of 1000 ms")
    )
    expect(page.locator("#saved-detail")).to_have_text(
        re.compile(r"unit-hours, static peak of \d+")
    )
    expect(page.locator("#load-detail")).to_have_text(re.compile(r"planned for [\d.]+ /s"))
    expect(page.locator("#clock")).to_have_text(re.compile(r"a day passes in \d+ minutes"))
    expect(page.locator("#about")).to_contain_text("Tidegate")
    expect(page.locator("#problem")).to_be_hidden()
    chat = httpx.get(f"{dashboard}/v1/services/chat", timeout=20.0).json()
    expect(page.locator("#load-detail")).to_contain_text(chat["champion"])


def test_the_chart_shows_load_units_and_plan(page: Page) -> None:
    expect(page.locator("#chart .scatterlayer .trace")).not_to_have_count(0)
    names = page.evaluate("document.getElementById('chart').data.map((t) => t.name)")
    assert {"ready", "warming", "draining", "planned units", "forecast", "load"} <= set(names)
    drawn = page.evaluate(
        "document.getElementById('chart').data.find((t) => t.name === 'load').y.filter(Boolean).length"
    )
    assert drawn > 20
    rows = page.locator("#table tbody tr")
    page.locator("#service-page summary").click()
    assert rows.count() >= 3


def test_figures_and_clock_move_without_a_reload(page: Page) -> None:
    before = page.locator("#clock").text_content()
    expect(page.locator("#clock")).not_to_have_text(before or "")
    saved = page.locator("#saved-detail").text_content()
    expect(page.locator("#saved-detail")).not_to_have_text(saved or "")


def test_the_units_figure_follows_an_order(page: Page, dashboard: str) -> None:
    """What the card says is what the API says, whenever it changes."""
    says = "document.getElementById('units').textContent"
    page.wait_for_function(
        f"""async () => {{
          const found = await (await fetch('/v1/services/chat')).json();
          return {says}.startsWith(String(found.units.ready));
        }}"""
    )
    page.evaluate("document.getElementById('units').textContent = 'stale'")
    expect(page.locator("#units")).to_have_text(NUMBER)


def test_a_freeze_and_the_mode_are_one_click_away_and_kept(page: Page, dashboard: str) -> None:
    freeze = page.locator("#freeze")
    freeze.click()
    expect(freeze).to_have_attribute("aria-pressed", "true")
    assert httpx.get(f"{dashboard}/v1/services/chat", timeout=20.0).json()["frozen"] is True
    freeze.click()
    expect(freeze).to_have_attribute("aria-pressed", "false")
    page.locator("#mode").select_option("approve")
    page.wait_for_function("service().mode === 'approve'")
    changes = httpx.get(f"{dashboard}/v1/audit", timeout=20.0).json()["changes"]
    assert [(row["name"], row["value"]) for row in changes][:3] == [
        ("mode", "approve"),
        ("freeze", "off"),
        ("freeze", "on"),
    ]
    chat = httpx.get(f"{dashboard}/v1/services/chat", timeout=20.0).json()
    units = chat["units"]["ready"] + chat["units"]["warming"]
    pin = {"units": units + 1 if units < 8 else units - 1, "seconds": 7200}
    assert httpx.put(f"{dashboard}/v1/services/chat/pin", json=pin, timeout=20.0).is_success
    page.wait_for_function("service().waiting !== null")
    waiting = page.evaluate("service().waiting.order_id")
    page.locator("#approve").click()
    page.wait_for_function(f"!service().waiting || service().waiting.order_id !== '{waiting}'")
    assert httpx.delete(f"{dashboard}/v1/services/chat/pin", timeout=20.0).is_success
    page.locator("#mode").select_option("act")
    page.wait_for_function("service().mode === 'act'")


def test_services_are_switched_with_the_keyboard_alone(page: Page) -> None:
    first, second = page.locator("#services button").all()
    expect(first).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Tab")
    expect(first).to_be_focused()
    page.keyboard.press("Tab")
    expect(second).to_be_focused()
    page.keyboard.press("Enter")
    expect(second).to_have_attribute("aria-pressed", "true")
    expect(first).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#slo-detail")).to_have_text(re.compile(r"latency p99 .* of 250 ms"))
    assert page.url.endswith("?service=classify")
    page.wait_for_function("tide?.service === 'classify'")
    expect(second).to_be_focused()
    page.reload()
    expect(page.locator("#services button").nth(1)).to_have_attribute("aria-pressed", "true")


def test_a_click_on_the_chart_says_why(page: Page) -> None:
    picked = page.locator("#picked")
    expect(picked).to_have_text(re.compile("Click a slot"))
    area = page.locator("#chart .nsewdrag").first.bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + 0.8 * area["width"], area["y"] + 0.5 * area["height"])
    page.mouse.click(area["x"] + 0.8 * area["width"], area["y"] + 0.5 * area["height"])
    expect(picked).to_have_text(re.compile(r"^\d\d:\d\d: hold \d+ \(\w+\); .* need \d+"))


def test_what_was_decided_is_explained(page: Page) -> None:
    expect(page.locator("#why")).to_have_text(re.compile(r"^\d\d:\d\d (hold|pre-warm|drain) \d+"))
    expect(page.locator("#decisions li").first).to_have_text(re.compile(r"^\d\d:\d\d "))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_can_be_read(browser: Browser, dashboard: str, scheme: str) -> None:
    with opened(browser, dashboard, color_scheme=scheme) as page:
        ink, paper = page.evaluate(
            """() => ['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name])"""
        )
        assert contrast(ink, paper) > 7
        assert (luminance(paper) < 0.2) is (scheme == "dark")
        small = page.evaluate("getComputedStyle(document.getElementById('picked')).color")
        assert contrast(small, paper) > 4.5


def test_a_telephone_needs_no_sideways_scroll(browser: Browser, dashboard: str) -> None:
    with opened(browser, dashboard, viewport={"width": 390, "height": 844}) as page:
        expect(page.locator("#units")).to_have_text(NUMBER)
        page.locator("#service-page summary").click()
        wide, seen = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= seen == 390


def test_a_service_that_does_not_exist_shows_the_first(browser: Browser, dashboard: str) -> None:
    with opened(browser, dashboard, "/?service=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E") as page:
        expect(page.locator("#services button").first).to_have_attribute("aria-pressed", "true")
        assert page.locator("img[src='x']").count() == 0


def visit(page: Page, name: str) -> None:
    """Follow a link of the navigation."""
    page.locator(f"#pages a[href='#{name}']").click()
    expect(page.locator(f"#{name}-page")).to_be_visible()
    expect(page.locator("main > .page:visible")).to_have_count(1)


def test_the_overview_lists_every_service_and_leads_to_it(page: Page, dashboard: str) -> None:
    visit(page, "overview")
    expect(page).to_have_title("Overview – Tidegate")
    names = [s["name"] for s in httpx.get(f"{dashboard}/v1/services").json()["services"]]
    links = page.locator("#service-table tbody th a")
    expect(links).to_have_text(names)
    expect(page.locator("#service-search")).to_be_hidden()  # two services are found without it
    expect(page.locator("#month-paid")).to_have_text(NUMBER)
    expect(page.locator("#alert-count")).to_have_text(NUMBER)
    links.nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#service-name")).to_have_text(names[1])
    expect(page.locator("#chart .main-svg").first).to_be_visible()
    assert page.url.endswith(f"?service={names[1]}#service")
    page.locator("#services button").first.click()


def test_many_services_are_picked_from_a_list_and_found_by_name(page: Page) -> None:
    visit(page, "overview")
    picker, lines, last, count = page.evaluate(
        """() => {  // between two events, which show the demo's two again
          const one = overview.services[0];
          overview = { ...overview, services: Array.from({ length: 300 }, (_, i) => ({ ...one, name: "many-" + i })) };
          show();
          const read = () => document.querySelectorAll("#service-table tbody tr").length;
          const first = [document.querySelectorAll("#services select option").length, read()];
          byId("service-filter").value = "Y-29";
          showServiceTable();
          return [...first, read(), byId("service-count").textContent];
        }"""
    )
    assert (picker, lines) == (300, 200)
    assert (last, count) == (11, "11 of 300 services")  # many-29 and many-290 to 299
    page.locator("#services button").first.wait_for()
    page.evaluate("byId('service-filter').value = ''")


def test_the_fleet_page_draws_every_life_with_its_reasons(page: Page, dashboard: str) -> None:
    visit(page, "fleet")
    expect(page.locator("#fleet-chart .bars path")).not_to_have_count(0)
    said = httpx.get(f"{dashboard}/v1/services/chat/lives", timeout=20.0).json()["units"]
    page.wait_for_function(f"found?.units?.length >= {len(said)}")
    traces = page.evaluate("document.getElementById('fleet-chart').data.map((t) => [t.name, t.y])")
    assert [name for name, _ in traces] == ["ordered", "warming", "ready", "draining", "failed"]
    assert {unit["unit_id"] for unit in said} <= {unit for _, units in traces for unit in units}
    reasons = page.evaluate("document.getElementById('fleet-chart').data[2].customdata")
    assert all(len(reason) > 1 for _, _, reason in reasons)
    (quota,) = httpx.get(f"{dashboard}/v1/quotas").json()["quotas"]
    expect(page.locator("#quota-note")).to_contain_text(f"of {quota['gpus']} GPUs are held")
    expect(page.locator("#quota-table tbody th")).to_have_text(["chat", "classify"])
    page.locator("#fleet-page summary").click()
    expect(page.locator("#fleet-table tbody tr")).not_to_have_count(0)
    expect(page.locator("#fleet-table tbody tr").last).to_contain_text(re.compile("pre-warm|drain"))


def test_the_fleet_page_shows_batch_work_that_waits(page: Page) -> None:
    models = re.search(r"http://[\d.:]+", page.locator("#about").inner_text())
    assert models is not None
    with OpenAI(base_url=f"{models[0]}/v1", api_key="none") as client:
        lines = [
            {
                "custom_id": f"note {n}",
                "method": "POST",
                "url": "/v1/completions",
                "body": {"model": "chat", "prompt": f"Note {n}:", "max_tokens": 60},
            }
            for n in range(5000)
        ]
        content = "\n".join(map(json.dumps, lines)).encode()
        file = client.files.create(file=("notes.jsonl", content), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/completions", completion_window="24h"
        )
        visit(page, "fleet")
        expect(page.locator("#batch-table tbody tr")).to_have_count(1)
        expect(page.locator("#batch-table tbody")).to_have_text(re.compile(r"\d\d:\d\d.*\d\.\d\d"))
        expect(page.locator("#batch-note")).to_have_text(re.compile(r"^\d+ requests are being"))
        client.batches.cancel(batch.id)
        until(lambda: client.batches.retrieve(batch.id).status == "cancelled", "it is cancelled")
    expect(page.locator("#batch-section")).to_be_hidden()


def test_the_money_page_shows_days_beside_rivals_and_leads_to_the_statement(
    page: Page, dashboard: str
) -> None:
    visit(page, "money")
    expect(page.locator("#hours-chart .bars path").first).to_be_visible()
    expect(page.locator("#paid")).to_have_text(NUMBER)
    page.wait_for_function("found?.rivals?.['static-peak'] !== undefined")  # an hour is judged late
    expect(page.locator("#saved-static-peak")).to_have_text(NUMBER)
    expect(page.locator("#rival-table tbody th")).to_have_text(
        ["static-peak", "hpa", "seasonal-naive"]
    )
    names = page.evaluate("document.getElementById('price-chart').data.map((t) => t.name)")
    assert names == ["fleet", "static-peak", "hpa", "seasonal-naive"]
    shown, billed_s = page.evaluate(
        """[document.getElementById('hours-chart').data.filter((t) => t.type === 'bar')
              .flatMap((t) => t.y).reduce((a, b) => a + b), found.billed_s]"""
    )
    assert shown == pytest.approx(billed_s / 3600)
    for paper, begins in (("csv", "service,day,unit"), ("html", "<!doctype html>")):
        link = page.locator(f"#statement-{paper}").get_attribute("href")
        assert httpx.get(f"{dashboard}{link}", timeout=20.0).text.startswith(begins)
    expect(page.locator("#month")).to_have_value(re.compile(r"^\d{4}-\d{2}$"))  # the present one
    page.locator("#month").fill("2026-01")
    expect(page.locator("#statement-csv")).to_have_attribute("href", re.compile("month=2026-01$"))


def test_the_quality_page_shows_what_the_forecasts_were_worth(page: Page, dashboard: str) -> None:
    visit(page, "quality")
    page.wait_for_function("found?.accuracy?.leads.length > 0")
    expect(page.locator("#champion")).to_have_text(re.compile(r"\w"))
    expect(page.locator("#drift")).to_have_text(re.compile("drift"))
    leads = page.evaluate("found.accuracy.leads.length")
    expect(page.locator("#lead-table tbody th")).to_have_count(leads)
    coverage = page.evaluate("document.getElementById('coverage-chart').data.map((t) => t.x)")
    assert len(coverage) == leads + 1
    assert coverage[0] == [0, 1]
    assert all(level == sorted(level) for level in coverage)
    versions = httpx.get(f"{dashboard}/v1/services/chat/champions", timeout=20.0).json()
    live = [each["champion"] for each in versions["champions"] if each["live"]]
    expect(page.locator("#champion")).to_have_text(live[0])
    expect(page.locator("#anomaly-count")).to_have_text(NUMBER)


def test_a_pin_is_set_and_taken_away_on_the_service_page(page: Page, dashboard: str) -> None:
    def pinned() -> Any:
        return httpx.get(f"{dashboard}/v1/services/chat", timeout=20.0).json()["pin"]

    page.locator("#pin-units").fill("3")
    page.locator("#pin-hours").select_option("24")
    page.locator("#pin-why").fill("<b>drill</b>")
    expect(page.locator("#pin-until")).to_have_text(
        re.compile(r"^until \d{4}-\d\d-\d\d \d\d:\d\d$")
    )
    page.keyboard.press("Enter")
    expect(page.locator("#pinned-said")).to_have_text(
        re.compile(r"^3 units until .* · <b>drill</b>$")
    )
    set_to = pinned()
    assert (set_to["units"], set_to["until_s"] - set_to["from_s"]) == (3, 86_400)
    page.locator("#unpin").click()
    expect(page.locator("#pinned")).to_be_hidden()
    assert pinned() is None
    page.locator("#pin-units").fill("99")
    page.locator("#pin-form button").click()
    assert page.evaluate("document.getElementById('pin-units').validity.rangeOverflow")
    assert pinned() is None


def test_a_hover_says_why_and_events_are_marked(page: Page) -> None:
    page.evaluate(
        """() => {
          const draw = pages.service.draw, day = 86400;
          pages.service.draw = (read) => draw({ ...read, picture: { ...read.picture, marks: [
            { kind: "event", name: "<b>Launch</b>", start_s: read.picture.now_s + day / 4, end_s: read.picture.now_s + day / 2 },
            { kind: "holiday", name: "New Year", start_s: read.picture.now_s - 3 * day, end_s: read.picture.now_s - 2 * day }] } });
          redraw();
        }"""
    )
    expect(page.locator("#marks")).to_contain_text("event: <b>Launch</b>, ")
    expect(page.locator("#marks")).to_contain_text("holiday: New Year, ")
    shapes, said = page.evaluate(
        "(({layout}) => [layout.shapes.length, layout.annotations.map((a) => a.text)])(document.getElementById('chart'))"
    )
    assert (shapes, said) == (2, ["‹b>Launch‹/b>", "now"])  # the holiday is out of view
    area = page.locator("#chart .nsewdrag").first.bounding_box()
    assert area is not None
    middle = area["y"] + 0.5 * area["height"]
    for share in (0.8, 0.801):  # a first move only enters the chart
        page.mouse.move(area["x"] + share * area["width"], middle)
    expect(page.locator("#chart .hoverlayer")).to_contain_text(
        re.compile(r"hold \d+ \(\w+\), need \d+, \w+ binds")
    )
    reasons = page.evaluate(
        "document.getElementById('chart').data.find((t) => t.name === 'ready').customdata"
    )
    assert re.search(r"(hold|pre-warm|drain) \d+", reasons[-1])


def test_the_dials_show_what_was_played_and_nothing_between(page: Page, dashboard: str) -> None:
    path = f"{dashboard}/v1/services/chat/frontier"
    wish = {"days": 0.25, "rate_scale": 5.0, "elasticities": [0.5], "targets": [0.9]}
    visit(page, "whatif")
    expect(page.locator("#whatif-note")).to_have_text("Nothing was played yet for this service.")
    expect(page.locator("#dial-target")).to_be_disabled()
    page.locator("#whatif-play").click()
    expect(page.locator("#whatif-progress")).to_be_visible()
    assert httpx.post(path, json=wish, timeout=20.0).status_code == 429
    page.locator("#whatif-stop").click()
    expect(page.locator("#whatif-progress")).to_be_hidden()
    begun = until(lambda: (r := httpx.post(path, json=wish)).status_code == 202 and r, "a turn", 30)
    assert begun.json()["kind"] == "frontier"
    page.reload()
    page.wait_for_function("found?.frontier", timeout=200_000)
    frontier = httpx.get(path, timeout=20.0).json()["frontier"]
    points = {(p["elasticity"], p["target"]): p for p in frontier["points"]}
    assert set(points) == {(e, t) for e in (0.5, 1.0) for t in (0.9, 0.99)}
    expect(page.locator("#said-elasticity")).to_have_text("1")  # as the service is set
    expect(page.locator("#whatif-saved-detail")).to_have_text("as it is set now")
    page.locator("#dial-elasticity").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#said-elasticity")).to_have_text("0.5")
    expect(page.locator("#dial-elasticity")).to_have_attribute("aria-valuetext", "0.5")
    page.locator("#dial-target").focus()
    page.keyboard.press("ArrowLeft")
    chosen = points[0.5, 0.9]
    expect(page.locator("#whatif-saved")).to_have_text(f"{100 * chosen['saved_share']:.1f} %")
    expect(page.locator("#whatif-attainment")).to_have_text(f"{100 * chosen['attainment']:.2f} %")
    expect(page.locator("#whatif-units")).to_have_text(f"{chosen['unit_hours'] / 6:.2f}")
    expect(page.locator("#whatif-units-detail")).to_have_text(re.compile("^now: "))
    expect(page.locator("#whatif-toml")).to_contain_text("elasticity = 0.5")
    drawn = page.evaluate("document.getElementById('frontier-chart').data.map((t) => t.x.length)")
    assert drawn == [2, 2, 1, 1]
    expect(page.locator("#frontier-table tbody tr")).to_have_count(4)


def test_the_activity_page_lists_filters_and_goes_back(page: Page, dashboard: str) -> None:
    for frozen in (True, False, True, False):
        done = httpx.put(f"{dashboard}/v1/freeze", json={"frozen": frozen, "why": "<i>drill</i>"})
        assert done.is_success
    few = "limit=2"
    page.route("**/v1/activity*", lambda r: r.continue_(url=r.request.url.replace("limit=50", few)))
    visit(page, "activity")
    rows = page.locator("#activity-table tbody tr")
    expect(rows).to_have_count(2)
    page.locator("#activity-filter [value=order]").uncheck()
    page.locator("#activity-filter [value=alert]").uncheck()
    expect(rows.nth(0)).to_contain_text("freeze off")
    expect(rows.nth(1)).to_contain_text("freeze on")
    expect(rows.nth(1).locator(".reason")).to_have_text("<i>drill</i>")
    page.locator("#activity-older").click()
    expect(page.locator("#activity-count")).to_have_text("4 entries")
    expect(rows.nth(1)).to_contain_text("freeze on")
    page.locator("#activity-filter [value=change]").uncheck()
    expect(page.locator("#activity-count")).to_have_text("0 entries")
    page.locator("#activity-filter [value=order]").check()
    expect(page.locator("#activity-table .kind").first).to_have_text("order")
    page.locator("#activity-service").select_option("classify")
    expect(rows.first).to_contain_text("prewarm 1")
    expect(page.locator("#activity-table tbody tr td:nth-child(3)").first).to_have_text("classify")


def test_the_page_speaks_chinese_and_remembers_it(page: Page) -> None:
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.locator("#language").select_option("zh-CN")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#pages a[href='#money']")).to_have_text("费用")
    expect(page.locator("#units-detail")).to_have_text(re.compile(r"需要 \d+，保持 \d+"))
    expect(page.locator("#services")).to_have_attribute("aria-label", "服务")
    page.reload()
    expect(page.locator("#pages a[href='#fleet']")).to_have_text("机群")
    expect(page.locator("#units-detail")).to_have_text(re.compile("需要"))
    page.locator("#language").select_option("en")
    expect(page.locator("#pages a[href='#fleet']")).to_have_text("Fleet")
    expect(page.locator("#freeze")).to_have_attribute("title", re.compile("^stop every order"))


def test_every_page_can_be_heard_and_fits_a_telephone(browser: Browser, dashboard: str) -> None:
    """By our own checks of structure and by axe-core's."""
    faults: dict[str, object] = {}
    for scheme in ("light", "dark"):
        telephone = {"width": 390, "height": 844}
        with opened(browser, dashboard, viewport=telephone, color_scheme=scheme) as page:
            for name in PAGES:
                visit(page, name)
                page.wait_for_function("found !== null")
                wide, seen = page.evaluate(
                    "[document.documentElement.scrollWidth, window.innerWidth]"
                )
                found = [*unnamed(page), *serious(page)]
                if found or wide > seen:
                    faults[f"{name}, {scheme}"] = (found, wide)
    assert faults == {}
