"""Lists of the HTTP API page by page, and pins: what is done is listed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from forecaster.domain.alert import Kind, Symptom
from forecaster.domain.word import Word
from tests.integration.daemon_world import CHAT, World


def pages(api: httpx.Client, path: str, rows: str, cursor: str, **asked: Any) -> list[Any]:
    """Every row of a list, page by page."""
    found, following = [], {}
    while True:
        page = api.get(path, params={**asked, **following}).json()
        assert len(page[rows]) <= asked["limit"]
        found += page[rows]
        if page[cursor] is None:
            return found
        following = {cursor: page[cursor]}


def test_decisions_are_read_page_by_page(api: httpx.Client, noon: World) -> None:
    path = f"/v1/services/{CHAT}/decisions"
    (whole,) = [api.get(path, params={"limit": 200}).json()]
    assert whole["before_id"] is None
    assert [each["at_s"] for each in whole["decisions"]] == [
        each.at_s for each in reversed(noon.pilot.state.recent)
    ]
    assert {each["ordered"] for each in whole["decisions"]} == {True, False}
    for limit in (1, 2, len(whole["decisions"])):
        assert pages(api, path, "decisions", "before_id", limit=limit) == whole["decisions"]


def test_activity_is_one_list_of_alerts_changes_and_orders(api: httpx.Client, noon: World) -> None:
    noon.board.freeze(True, Word("incident"))
    noon.board.freeze(False, Word("over"))
    noon.board.unpin(CHAT)
    symptom = Symptom(Kind.STALE_DATA, CHAT, "the log is silent")
    noon.store.alerts.see([symptom], noon.clock.now, [], lambda urgent: 0.0, 60.0)
    noon.store.alerts.see([], noon.clock.now + 90.0, [], lambda urgent: 0.0, 60.0)
    whole = api.get("/v1/activity", params={"limit": 200}).json()
    assert whole["before"] is None
    entries = whole["entries"]
    orders = [each for each in entries if each["kind"] == "order"]
    assert len(orders) == sum(
        d["ordered"] for d in noon.board.decisions(CHAT, 200, None)["decisions"]
    )
    assert orders[-1]["what"].startswith("prewarm ")
    assert orders[-1]["why"]
    (alert,) = [each for each in entries if each["kind"] == "alert"]
    assert (alert["what"], alert["why"]) == ("stale_data", "the log is silent")
    assert alert["resolved_s"] == alert["at_s"] + 90.0
    changes = [each for each in entries if each["kind"] == "change"]
    assert [(c["service"], c["what"], c["why"]) for c in changes[:3]] == [
        (CHAT, "pin off", ""), ("", "freeze off", "over"), ("", "freeze on", "incident"),
    ]  # fmt: skip
    for limit in (1, 2, 3):
        assert pages(api, "/v1/activity", "entries", "before", limit=limit) == entries
    both = pages(api, "/v1/activity", "entries", "before", limit=1, kind=["order", "alert"])
    assert both == [each for each in entries if each["kind"] != "change"]
    # a change of the whole installation is one of each service
    assert pages(api, "/v1/activity", "entries", "before", limit=2, service=CHAT) == entries
    assert api.get("/v1/activity", params={"service": "nobody"}).status_code == 404
    for wrong in ({"before": "1-2"}, {"before": "x-1-1"}, {"kind": "gossip"}, {"limit": 0}):
        refused = api.get("/v1/activity", params=wrong)
        assert refused.status_code == 422, wrong
        assert next(iter(wrong)) in refused.json()["detail"] or "0 = " in refused.json()["detail"]


def test_a_pin_holds_until_it_is_taken_away_and_survives_a_restart(
    api: httpx.Client, noon: World
) -> None:
    path = f"/v1/services/{CHAT}/pin"
    set_to = api.put(path, json={"units": 7, "seconds": 7200, "why": "release night"}).json()
    assert set_to["pin"]["units"] == 7
    assert set_to["pin"]["until_s"] == noon.clock.now + 7200
    chat = api.get(f"/v1/services/{CHAT}").json()
    assert chat["pin"]["why"] == "release night"
    plan = api.get(f"/v1/services/{CHAT}/plan").json()
    lead = int(plan["lead_time_s"] // 60) + 1
    assert set(plan["hold_units"][lead:110]) == {7}
    assert set(plan["reason"][lead:110]) == {"pin"}
    noon.step()
    assert noon.supply == 7
    assert "pinned at 7 (release night)" in api.get(f"/v1/services/{CHAT}/explain").json()["why"]
    noon.restart()
    noon.daemon.replan()
    assert noon.pilot.planner.pin is not None
    gone = noon.board.unpin(CHAT)
    assert gone["pin"] is None
    table = noon.pilot.state.table
    assert table is not None
    assert "pin" not in {slot.reason.value for slot in table.slots}


@pytest.mark.parametrize(
    ("wish", "status", "said"),
    [
        ({"units": 9, "seconds": 600}, 422, "1 to 8 units"),
        ({"units": 2, "seconds": 5}, 422, "seconds"),
        ({"units": 2, "seconds": 600, "extra": 1}, 422, "extra"),
        ({"seconds": 600}, 422, "units"),
    ],
)
def test_a_pin_out_of_range_is_refused(
    api: httpx.Client, wish: dict[str, Any], status: int, said: str
) -> None:
    refused = api.put(f"/v1/services/{CHAT}/pin", json=wish)
    assert refused.status_code == status
    assert said in refused.json()["detail"]
    assert api.delete("/v1/services/nobody/pin").status_code == 404
