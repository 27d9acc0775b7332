"""The HTTP API over a real socket: every refusal, the bearer token, a lost database, the files."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from forecaster.config.settings import ApiSettings
from forecaster.domain.errors import SettingError
from forecaster.store import EmbeddedServer, Store
from forecaster.wiring.running import serve_api
from tests.integration.api_world import serve
from tests.integration.daemon_world import CHAT, World, learn, world

TOKEN = "ebb-and-flow"


@pytest.mark.parametrize("tail", ["", "/forecast", "/plan", "/units", "/explain", "/decisions",
                                  "/ledger", "/statement", "/lives", "/report", "/tide"])  # fmt: skip
def test_an_unknown_service_is_a_problem_with_a_remedy(api: httpx.Client, tail: str) -> None:
    refused = api.get(f"/v1/services/nobody{tail}")
    assert refused.status_code == 404
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json() == {
        "type": "about:blank",
        "title": "Data",
        "status": 404,
        "detail": "there is no service 'nobody'",
        "remedy": f"known services: {CHAT}",
    }


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("forecast?quantile=1.5", "quantile"),
        ("forecast?quantile=0", "quantile"),
        ("forecast?quantile=nan", "quantile"),
        ("forecast?quantile=high", "0"),
        ("forecast?horizon_s=nan", "horizon_s"),
        ("forecast?horizon_s=1e12", "horizon_s"),
        ("decisions?limit=0", "limit"),
        ("decisions?limit=1000", "limit"),
        ("explain?at_s=nan", "at_s"),
        ("explain?at_s=-1", "at_s"),
        ("explain?at_s=1e300", "at_s"),
        ("explain?at_s=inf", "at_s"),
        ("explain?at_s=yesterday", "at_s"),
    ],
)
def test_a_parameter_out_of_range_is_refused_in_the_same_words(
    api: httpx.Client, path: str, key: str
) -> None:
    refused = api.get(f"/v1/services/{CHAT}/{path}")
    assert refused.status_code == 422, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["detail"].startswith(f"{key} = ")
    assert "is refused: " in problem["detail"]
    assert problem["remedy"]


def test_a_token_guards_everything_but_health_and_the_empty_page(noon: World) -> None:
    with serve(noon, TOKEN) as guarded, httpx.Client(base_url=guarded, timeout=20.0) as client:
        guarded_paths = ["/metrics", "/openapi.json", "/v1/events", "/v1/services",
                         f"/v1/services/{CHAT}/plan"]  # fmt: skip
        for path in guarded_paths:
            refused = client.get(path)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert CHAT not in refused.text
        assert client.get("/healthz").text == "ok\n"
        assert client.get("/readyz").status_code == 200
        assert 'id="token"' in client.get("/").text
        assert client.get("/static/dashboard.js").status_code == 200
        cookie = {"Cookie": f"tidegate_token={quote(TOKEN)}"}
        assert client.get("/v1/services", headers=cookie).status_code == 200
        assert client.get("/v1/services", headers={"Cookie": "tidegate_token=x"}).status_code == 401
        wrong = ["", "Bearer", f"bearer {TOKEN}", f"Bearer {TOKEN}x",
                 f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN]  # fmt: skip
        for given in wrong:
            answer = client.get("/v1/services", headers={"Authorization": given})
            assert answer.status_code == 401, given
        answer = client.get("/v1/services", headers={"Authorization": f"Bearer {TOKEN}".encode()})
        assert answer.status_code == 200
        strange = client.get(
            "/v1/services", headers={"Authorization": "Bearer \xff\xfe".encode("latin-1")}
        )
        assert strange.status_code == 401


def test_ready_is_said_when_there_is_a_plan(store: Store, tmp_path: Path) -> None:
    new = world(store, tmp_path)
    with serve(new) as fresh, httpx.Client(base_url=fresh, timeout=20.0) as client:
        assert client.get("/healthz").status_code == 200
        new.step()
        waiting = client.get("/readyz")
        assert (waiting.status_code, waiting.text) == (503, "no plan yet: chat\n")
        assert client.get("/v1/services").json()["services"][0]["hold_units"] is None
        for tail in ("plan", "forecast"):
            refused = client.get(f"/v1/services/chat/{tail}")
            assert refused.status_code == 409
            assert "tidegate retrain" in refused.json()["remedy"]
        assert client.get("/v1/services/chat/tide").json()["observed"]["rate_rps"] == []
        assert client.get("/metrics").status_code == 200
        learn(store)
        new.step()
        assert new.note == ""
        assert client.get("/readyz").text == "ready\n"


def test_a_lost_database_is_a_problem_that_names_its_remedy(
    open_folder: Callable[[], Path], tmp_path: Path
) -> None:
    server = EmbeddedServer(open_folder() / "home")
    with Store.open(server.start()) as store:
        store.migrate()
        found = world(store, tmp_path)
        found.step()
        with serve(found) as url, httpx.Client(base_url=url, timeout=40.0) as client:
            before = client.get("/v1/services").json()
            assert before["away"] == ""
            server.stop()
            lost = client.get("/v1/services").json()
            assert "the database is away" in lost["away"]
            assert lost["services"] == before["services"], "the plan and the last figures"
            assert "tidegate_database_up 0.0" in client.get("/metrics").text
            refused = client.get("/v1/services/chat/ledger")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert "the database is away" in refused.json()["detail"]
            assert client.get("/healthz").status_code == 200
            assert client.get("/v1/services/chat/units").status_code == 200  # needs no database
            server.start()
            assert client.get("/v1/services").json()["away"] == ""
            assert "tidegate_database_up 1.0" in client.get("/metrics").text
        server.stop()


def test_a_taken_port_is_one_clear_refusal(noon: World, url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    settings = noon.settings.model_copy(update={"api": ApiSettings(port=port)})
    said = rf"api\.port = {port} is refused: cannot listen"
    with pytest.raises(SettingError, match=said), serve_api(settings, noon.board):
        pass


def test_the_dashboard_and_its_files_come_from_here(api: httpx.Client) -> None:
    page = api.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "http:" not in page.text
    assert "https:" not in page.text
    for name, kind in (("dashboard.js", "text/javascript"), ("dashboard.css", "text/css"),
                       ("tide.svg", "image/svg+xml"), ("plotly.min.js", "text/javascript")):  # fmt: skip
        answer = api.get(f"/static/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert len(answer.content) > 100


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd",
     "/static/..%5capp.py", "/static/index.html", "/static/dashboard.js%00.svg", "/../../etc/passwd",
     "/static/plotly.min.js/../../../../__init__.py"],
)  # fmt: skip
def test_no_path_leads_out_of_the_files(url: str, path: str) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request("GET", path)  # as it stands: no client tidies it up
    answer = connection.getresponse()
    assert answer.status == 404
    assert b"import" not in answer.read()
    connection.close()
