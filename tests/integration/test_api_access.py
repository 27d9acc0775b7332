"""Who may ask, how often, and what HTTP adds: roles on every route, limits, tags, orders carried out once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from psycopg.conninfo import make_conninfo

from forecaster.api.access import Access, Role, needed
from forecaster.client import Client
from forecaster.config.settings import ApiSettings
from forecaster.domain.errors import DataError
from forecaster.store import EmbeddedServer, Store
from forecaster.wiring.running import serve_api
from tests.integration.daemon_world import CHAT, World, learn, world

TOKENS = {Role.VIEWER: "look-only", Role.OPERATOR: "hands-on", Role.ADMIN: "all-of-it"}
METHODS = ("get", "put", "post", "delete")


@pytest.fixture(scope="module")
def noon(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("create database access template tidegate_template")
        with Store.open(make_conninfo(postgres.dsn, dbname="access")) as store:
            learn(store)
            found = world(store, tmp_path_factory.mktemp("home"), at_h=11.5)
            found.overload = False
            for _ in found.steps(3):
                pass
            yield found
        connection.execute("drop database access with (force)")


def serve(found: World, **api: Any) -> Any:
    chosen = found.settings.model_copy(update={"api": ApiSettings(port=0, **api)})
    return serve_api(chosen, found.board)


@pytest.fixture(scope="module")
def url(noon: World) -> Iterator[str]:
    named = {"token": TOKENS[Role.ADMIN], "operator_token": TOKENS[Role.OPERATOR],
             "viewer_token": TOKENS[Role.VIEWER], "requests_per_minute": 0}  # fmt: skip
    with serve(noon, **named) as found:
        yield found


def bearer(role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[role]}"}


def test_every_route_asks_for_a_token_and_for_the_role_it_needs(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json", headers=bearer(Role.ADMIN)).json()
    assert document["openapi"].startswith("3.1")
    asked = 0
    with httpx.Client(base_url=url, timeout=20.0) as http:
        assert http.get("/openapi.json").status_code == 401
        for path, verbs in document["paths"].items():
            if path in ("/healthz", "/readyz"):
                assert http.get(path).status_code in (200, 503)
                continue
            for method in verbs.keys() & set(METHODS):
                filled = path.replace("{service}", "nobody").replace("{job_id}", "x")
                for headers in (
                    {},
                    {"Authorization": "Bearer wrong"},
                    {"Cookie": "tidegate_token=%FF"},
                ):
                    refused = http.request(method, filled, headers=headers)
                    assert refused.status_code == 401, (method, path)
                    assert refused.headers["content-type"] == "application/problem+json"
                least = needed(method.upper(), path)
                for role in Role:
                    if path == "/v1/events" and role >= least:
                        continue  # a stream without an end
                    status = http.request(method, filled, headers=bearer(role)).status_code
                    assert (status == 403) == (role < least), (method, path, role, status)
                    asked += 1
    assert asked > 60


def test_an_unknown_route_and_method_are_problems(url: str) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("DELETE", "/v1/services", 405)):
        refused = httpx.request(method, url + path, headers=bearer(Role.ADMIN))
        assert refused.status_code == status
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["status"] == status


def test_what_did_not_change_is_not_sent_again(url: str) -> None:
    with httpx.Client(base_url=url, headers=bearer(Role.VIEWER)) as http:
        first = http.get(f"/v1/services/{CHAT}/plan")
        again = http.get(
            f"/v1/services/{CHAT}/plan", headers={"If-None-Match": first.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        other = http.get(f"/v1/services/{CHAT}/plan", headers={"If-None-Match": '"else"'})
        assert other.status_code == 200
        assert other.content == first.content


def test_an_order_with_a_key_is_carried_out_once(url: str, noon: World) -> None:
    path, wish = f"/v1/services/{CHAT}/pin", {"units": 3, "seconds": 600.0, "why": "once"}
    audited = len(noon.store.switches(1000))
    with httpx.Client(base_url=url, headers=bearer(Role.OPERATOR), timeout=20.0) as http:
        key = {"Idempotency-Key": "pin-1"}
        first = http.put(path, json=wish, headers=key)
        again = http.put(path, json=wish, headers=key)
        assert first.status_code == again.status_code == 200
        assert first.content == again.content
        assert len(noon.store.switches(1000)) == audited + 1
        other = http.put(path, json=wish | {"units": 4}, headers=key)
        assert other.status_code == 422
        assert "another body" in other.json()["detail"]
        theirs = http.put(path, json=wish, headers=key | bearer(Role.ADMIN))
        assert theirs.status_code == 200
        assert len(noon.store.switches(1000)) == audited + 2, "keys are each caller's own"
        http.delete(path)


def test_whoever_asks_too_often_waits_and_others_do_not(noon: World) -> None:
    named = {"token": "all-of-it", "viewer_token": "look-only", "requests_per_minute": 5}
    with serve(noon, **named) as url, httpx.Client(base_url=url) as http:
        seen = [http.get("/v1/audit", headers=bearer(Role.ADMIN)) for _ in range(8)]
        assert [each.status_code for each in seen] == [200] * 5 + [429] * 3
        assert seen[-1].headers["retry-after"] == "10"
        assert http.get("/v1/alerts", headers=bearer(Role.VIEWER)).status_code == 200
        assert http.get("/healthz").status_code == 200


def test_roles_are_found_whatever_is_given() -> None:
    access = Access(tuple((token, role) for role, token in TOKENS.items()))
    assert [access.role_of(token) for token in TOKENS.values()] == list(TOKENS)
    assert [access.role_of(each) for each in ("", "all-of-i", "all-of-it ", "\udcff")] == [None] * 4
    assert Access((("", Role.VIEWER),)).role_of("") is Role.ADMIN


def test_the_python_client_reads_orders_and_says_refusals(url: str) -> None:
    with Client(url, TOKENS[Role.ADMIN]) as tidegate:
        assert [each["name"] for each in tidegate.services()] == [CHAT]
        assert tidegate.plan(CHAT)["service"] == CHAT
        assert tidegate.pin(CHAT, 3, seconds=600, why="client")["pin"]["units"] == 3
        assert tidegate.unpin(CHAT)["pin"] is None
        assert tidegate.freeze(True, "drill") == {"frozen": True}
        tidegate.freeze(False)
        first = next(iter(tidegate.events()))
        assert first["services"][0]["name"] == CHAT
        assert [row["name"] for row in tidegate.audit(page=2)][:3] == ["freeze", "freeze", "pin"]
        with pytest.raises(DataError, match="no service 'nobody'"):
            tidegate.service("nobody")


def test_every_answer_is_documented_and_none_is_a_defect(noon: World) -> None:
    """Generated requests on every route but the endless stream; the check is schemathesis' own."""
    with serve(noon, requests_per_minute=0) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path="/v1/events")
        tried: list[str] = []

        for operation in schema.get_all_operations():
            run = operation.ok()
            test = settings(
                max_examples=12, deadline=None, derandomize=True, database=None,
                suppress_health_check=list(HealthCheck), phases=[Phase.generate],
            )(given(case=run.as_strategy())(lambda case: one(case, tried)))  # fmt: skip
            test()
    assert len(tried) > 150


def one(case: Any, tried: list[str]) -> None:
    tried.append(case.operation.label)
    answer = case.call()
    documented = case.operation.definition.raw["responses"]
    assert answer.status_code != 500, answer.text
    assert str(answer.status_code) in documented, (case.operation.label, answer.status_code)
