"""Who made a change or an order: the token's role and the user that a client names, never the secret."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from forecaster.client import Client
from forecaster.config.settings import ApiSettings
from forecaster.wiring.running import serve_api
from tests.integration.cli_runner import Runner
from tests.integration.daemon_world import CHAT, World

ADMIN, OPERATOR = "all-of-it-7466", "some-of-it-7466"


@pytest.fixture
def url(shadow: World) -> Iterator[str]:
    api = ApiSettings(port=0, token=ADMIN, operator_token=OPERATOR)
    with serve_api(shadow.settings.model_copy(update={"api": api}), shadow.board) as found:
        yield found


def newest(url: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    answer = httpx.get(f"{url}/v1/audit", headers=headers)
    assert ADMIN not in answer.text
    assert OPERATOR not in answer.text
    found: dict[str, Any] = answer.json()["changes"][0]
    return found


def test_every_change_says_whose_it_is(url: str) -> None:
    with Client(url, OPERATOR, user="alice@gate-1") as alice:
        alice.pin(CHAT, 3, seconds=600, why="release")
        assert newest(url)["by"] == "operator token, alice@gate-1"
        alice.unpin(CHAT)
        assert (newest(url)["value"], newest(url)["by"]) == ("off", "operator token, alice@gate-1")
        alice.freeze(True, "drill")
        assert newest(url)["by"] == "operator token, alice@gate-1"
    with Client(url, ADMIN) as admin:
        admin.freeze(False)
        assert newest(url)["by"] == "admin token"
    path = f"{url}/v1/services/{CHAT}/mode"
    hostile = {"Authorization": f"Bearer {ADMIN}", "X-Tidegate-User": "eve\t" + "x" * 500}
    assert httpx.put(path, json={"mode": "act"}, headers=hostile).status_code == 200
    assert newest(url)["by"] == "admin token, eve" + "x" * 77


def test_an_order_says_who_approved_it_and_else_which_daemon_gave_it(
    url: str, shadow: World
) -> None:
    headers = {"Authorization": f"Bearer {OPERATOR}", "X-Tidegate-User": "bob"}
    waiting = shadow.board.service(CHAT)["waiting"]
    httpx.post(
        f"{url}/v1/services/{CHAT}/answer", json={"order_id": waiting["order_id"]}, headers=headers
    ).raise_for_status()
    shadow.board.set_mode(CHAT, "act")
    for _ in shadow.steps(24):
        pass
    activity = httpx.get(f"{url}/v1/activity?kind=order&limit=200", headers=headers).json()
    by = [entry["by"] for entry in activity["entries"]]
    assert by[-1] == "operator token, bob"
    assert set(by[:-1]) == {"daemon test"}


def test_a_command_names_who_typed_it(
    url: str, cli: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_API__TOKEN", ADMIN)
    assert cli("freeze", "--why", "drill", "--url", url).code == 0
    assert newest(url)["by"].startswith(f"admin token, {getpass.getuser()}@")
    listed = cli("audit", "--url", url, "--format", "json").json["changes"][0]
    assert (listed["name"], listed["why"], listed["by"]) == ("freeze", "drill", newest(url)["by"])
