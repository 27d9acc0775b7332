"""Who may ask, how often, and what HTTP adds: roles on every route, limits, tags, orders carried out once."""

from __future__ import annotations

import math
import os
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from forecaster.api.access import Access, Role, allowed
from forecaster.api.app import make_app
from forecaster.api.examples import examples
from forecaster.client import Client
from forecaster.config.settings import ApiSettings
from forecaster.domain.errors import DataError
from forecaster.store import EmbeddedServer
from forecaster.wiring.pushes import Intake
from forecaster.wiring.replay_jobs import ReplayJobs
from forecaster.wiring.running import serve_api
from tests.integration.daemon_world import CHAT, World, learned_database, world
from tests.integration.tier_helpers import LLAMA_TYPE
from tests.local_server import self_signed

TOKENS = {
    Role.PUSHER: "push-only",
    Role.VIEWER: "look-only",
    Role.OPERATOR: "hands-on",
    Role.ADMIN: "all-of-it",
}
METHODS = ("get", "put", "post", "delete")
schemathesis.serializer.alias("application/x-protobuf", "application/octet-stream")
FUZZ_CASES = int(os.environ.get("FUZZ_CASES", "360"))
CHECKS = (
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance,
)  # fmt: skip


@pytest.fixture(scope="module")
def noon(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with learned_database(postgres, "access") as store:
        found = world(store, tmp_path_factory.mktemp("home"), at_h=11.5)
        found.overload = False
        for _ in found.steps(3):
            pass
        yield found


@pytest.fixture(scope="module")
def jobs(noon: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayJobs]:
    home = tmp_path_factory.mktemp("jobs")
    with ReplayJobs(noon.settings, home, noon.store, {CHAT: LLAMA_TYPE}) as found:
        yield found


def serve(found: World, replays: ReplayJobs | None = None, **api: Any) -> Any:
    chosen = found.settings.model_copy(update={"api": ApiSettings(port=0, **api)})
    return serve_api(chosen, found.board, replays, Intake(chosen, found.store))


@pytest.fixture(scope="module")
def url(noon: World, jobs: ReplayJobs) -> Iterator[str]:
    named = {"token": TOKENS[Role.ADMIN], "operator_token": TOKENS[Role.OPERATOR],
             "viewer_token": TOKENS[Role.VIEWER], "push_token": TOKENS[Role.PUSHER],
             "requests_per_minute": 0}  # fmt: skip
    with serve(noon, jobs, **named) as found:
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
                for role in Role:
                    may = allowed(role, method.upper(), path)
                    if path == "/v1/events" and may:
                        continue  # a stream without an end
                    status = http.request(method, filled, headers=bearer(role)).status_code
                    assert (status == 403) == (not may), (method, path, role, status)
                    asked += 1
    assert asked > 60


def test_no_route_is_hidden_from_the_walk(noon: World, jobs: ReplayJobs) -> None:
    """What is not in the document is the empty page, its files, or the document itself."""
    app = make_app(noon.board, Access(), jobs, Intake(noon.settings, noon.store))
    hidden = {route.path for route in app.routes} - set(app.openapi()["paths"])  # type: ignore[attr-defined]
    assert hidden == {"/openapi.json", "/", "/static/plotly.min.js", "/static/{name}"}
    for path, verbs in app.openapi()["paths"].items():
        for verb, operation in verbs.items():
            assert bool(operation["security"]) is (path not in ("/healthz", "/readyz")), (
                verb,
                path,
            )


def test_every_route_under_v1_has_an_example_of_the_shape_that_it_answers(
    noon: World, url: str
) -> None:
    document = httpx.get(f"{url}/openapi.json", headers=bearer(Role.ADMIN)).json()
    for path, verbs in document["paths"].items():
        for verb in verbs:
            if path.startswith("/v1/") and path != "/v1/events":
                assert f"{verb.upper()} {path}" in examples(), "examples.json lacks it"
    job = ""
    with httpx.Client(base_url=url, headers=bearer(Role.ADMIN), timeout=60.0) as http:
        for key, example in examples().items():
            method, path = key.split(" ")
            filled = path.replace("{service}", CHAT).replace("{job_id}", job)
            if path.endswith("/frontier") and method == "POST":
                http.delete(f"/v1/replay/{job}")
            answer = http.request(method, filled, json=example.get("request"))
            if path.endswith("/answer"):  # nothing waits; what was sent is understood
                assert answer.status_code == 404
                continue
            assert answer.is_success, (key, answer.text)
            assert other_shape(example["response"], answer.json()) == "", key
            if answer.status_code == 202:
                job = answer.json()["id"]
                http.delete(f"/v1/replay/{job}")
        http.put("/v1/freeze", json={"frozen": False})


def other_shape(said: Any, came: Any, where: str = "$") -> str:
    """Where two answers differ in keys or kinds; nothing and an empty list or object are like all."""
    if said in (None, {}, []) or came in (None, {}, []):
        return ""
    if isinstance(said, dict) and isinstance(came, dict):
        if said.keys() != came.keys():
            return f"{where}: {sorted(said.keys() ^ came.keys())}"
        found = (other_shape(said[key], came[key], f"{where}.{key}") for key in said)
        return next(filter(None, found), "")
    if isinstance(said, list) and isinstance(came, list):
        return other_shape(said[0], came[0], f"{where}[]")
    kinds = [float if type(each) is int else type(each) for each in (said, came)]
    return "" if kinds[0] is kinds[1] else f"{where}: {kinds}"


def test_over_tls_and_nothing_beside_it(noon: World, tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    named = {"token": "all-of-it", "tls_cert": cert, "tls_key": key}
    with serve(noon, **named) as found:
        assert found.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(cert))
        with httpx.Client(base_url=found, verify=trusting, headers=bearer(Role.ADMIN)) as http:
            assert http.get("/v1/services").json()["services"][0]["name"] == CHAT
            with http.stream("GET", "/v1/events") as stream:
                assert next(stream.iter_lines()) == "event: overview"
        assert httpx.get(f"{found}/v1/services", verify=trusting).status_code == 401
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{found}/healthz")
        with pytest.raises(httpx.HTTPError):
            httpx.get(found.replace("https", "http") + "/healthz")
        old = ssl.create_default_context(cafile=str(cert))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{found}/healthz", verify=old)


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


def test_every_answer_is_documented_and_none_is_a_defect(noon: World, jobs: ReplayJobs) -> None:
    """Generated requests on every route but the endless stream, held by schemathesis' own checks.

    `FUZZ_CASES` says how many; `make fuzz-api` tries thousands, other ones each time.
    """
    with serve(noon, jobs, requests_per_minute=0) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path="/v1/events")
        operations = [each.ok() for each in schema.get_all_operations()]
        tried: list[str] = []
        for operation in operations:
            test = settings(
                max_examples=math.ceil(FUZZ_CASES / len(operations)), deadline=None,
                derandomize="FUZZ_CASES" not in os.environ, database=None, suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
            )(given(case=operation.as_strategy())(lambda case: one(case, tried)))  # fmt: skip
            test()
    assert len(tried) > 0.9 * FUZZ_CASES, "routes without parameters are tried once"


def one(case: Any, tried: list[str]) -> None:
    tried.append(case.operation.label)
    if "service" in (case.path_parameters or {}) and len(tried) % 2:
        case.path_parameters["service"] = CHAT  # chance hardly ever finds a name that exists
    answer = case.call()
    documented = case.operation.definition.raw["responses"]
    assert answer.status_code != 500, answer.text
    assert str(answer.status_code) in documented, (case.operation.label, answer.status_code)
    case.validate_response(answer, checks=CHECKS)
    if answer.status_code == 202:
        httpx.delete(f"{case.operation.base_url}{answer.headers['location'][0]}")
