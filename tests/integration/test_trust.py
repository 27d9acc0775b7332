"""The trust ladder over a real socket: what waits, who said yes, what a restart remembers."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from forecaster.config.settings import ApiSettings
from forecaster.domain.word import Word
from forecaster.wiring.running import serve_api
from tests.integration.daemon_world import CHAT, World

PATH = f"/v1/services/{CHAT}"


@pytest.fixture
def api(shadow: World) -> Iterator[httpx.Client]:
    settings = shadow.settings.model_copy(update={"api": ApiSettings(port=0)})
    with serve_api(settings, shadow.board) as url, httpx.Client(base_url=url, timeout=20.0) as http:
        yield http


def test_an_order_waits_is_approved_and_audited(api: httpx.Client, shadow: World) -> None:
    assert shadow.supply == 0
    chat = api.get(PATH).json()
    assert chat["mode"] == "approve"
    assert chat["note"].startswith("waits for approval: prewarm")
    waiting = chat["waiting"]
    wrong = api.post(f"{PATH}/answer", json={"order_id": "chat-1-prewarm-9"})
    assert wrong.status_code == 404
    assert waiting["order_id"] in wrong.json()["remedy"]
    assert shadow.supply == 0
    done = api.post(f"{PATH}/answer", json={"order_id": waiting["order_id"], "why": "morning"})
    assert done.json()["approved"] is True
    assert shadow.supply == waiting["units"]
    (row, *_) = api.get("/v1/audit").json()["changes"]
    assert (row["service"], row["name"], row["why"]) == (CHAT, "order", "morning")
    assert row["value"] == f"approved {waiting['order_id']}"
    ordered = [r for r in shadow.store.decisions(CHAT, 10) if r.ordered]
    assert len(ordered) == 1


def test_modes_and_the_freeze_survive_a_restart(api: httpx.Client, shadow: World) -> None:
    assert api.put("/v1/freeze", json={"frozen": True, "why": "incident"}).json() == {
        "frozen": True
    }
    assert api.put(f"{PATH}/mode", json={"mode": "act"}).json()["mode"] == "act"
    assert shadow.supply == 0
    assert shadow.note.startswith("frozen")
    shadow.restart()
    shadow.step()
    assert shadow.supply == 0
    assert shadow.note.startswith("frozen")
    assert shadow.board.service(CHAT)["mode"] == "act"
    shadow.board.freeze(False, Word("over"))
    assert shadow.supply > 0
    page = shadow.board.audit(2, None)
    assert [row["name"] for row in page["changes"]] == ["freeze", "mode"]
    rest = shadow.board.audit(2, page["before_id"])
    assert [row["value"] for row in rest["changes"]] == ["on"]
    assert rest["before_id"] is None


def test_what_is_out_of_range_is_refused(api: httpx.Client) -> None:
    assert api.put(f"{PATH}/mode", json={"mode": "yolo"}).status_code == 422
    assert api.put("/v1/freeze", json={}).status_code == 422
    assert api.put("/v1/services/nobody/mode", json={"mode": "act"}).status_code == 404
    assert api.get("/v1/audit", params={"limit": 0}).status_code == 422
