"""The dashboard of an API with a token and TLS: the form, the cookie, and nothing before either."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from forecaster.config.settings import ApiSettings
from forecaster.store import Store
from forecaster.wiring.running import serve_api
from tests.browser.watched import unnamed
from tests.integration.daemon_world import world
from tests.local_server import self_signed

pytestmark = pytest.mark.browser
SECRET = "ebb; and=flow ✓"


def test_a_page_asks_for_the_token_once_and_keeps_it_to_itself(
    browser: Browser, store: Store, tmp_path: Path
) -> None:
    cert, key = self_signed(tmp_path)
    found = world(store, tmp_path / "home")
    found.step()
    api = ApiSettings(port=0, viewer_token=SECRET, token="master", tls_cert=cert, tls_key=key)
    with serve_api(found.settings.model_copy(update={"api": api}), found.board) as url:
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        page.goto(url)
        form, token = page.locator("#token-form"), page.locator("#token")
        expect(form).to_be_visible()
        expect(token).to_be_focused()
        assert unnamed(page) == []
        assert page.locator("#services button").count() == 0
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#token-said")).to_have_text("This token is not known.")
        expect(token).to_have_value("")
        page.keyboard.type(SECRET)
        page.keyboard.press("Enter")
        expect(page.locator("#services button")).to_have_text(["chat"])
        expect(form).to_be_hidden()
        (cookie,) = context.cookies()
        assert (cookie["secure"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
        assert "ebb" not in page.url
        assert page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})") == "{}"
        page.locator("#freeze").click()  # a viewer may look, and is told so
        expect(page.locator("#refused")).to_contain_text("the role viewer may not do this")
        assert found.board.service("chat")["frozen"] is False
        page.reload()
        expect(page.locator("#services button")).to_have_text(["chat"])
        expect(form).to_be_hidden()
        context.close()
