"""The OWASP API Security Top 10 of 2023, as far as this host alone answers for it."""

import asyncio
import gzip
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from api_host import peers
from api_host.app import ROUTES
from api_host.settings import ApiSettings
from tests.api_host import airflow_server
from tests.api_host.conftest import Start, until, until_served
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_app import assert_problem
from tests.api_host.test_serve import ROW

pytestmark = pytest.mark.anyio

PREDICT = "/v1/models/iris/predict"
MOST_SECONDS = 30


class _Peer(ThreadingHTTPServer):
    """What answers in the place of another host.

    `answer`: writes an answer to a request.
    `asked`: the paths that were asked for.
    """

    daemon_threads = True

    def __init__(self, port: int, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        peer = self
        self.asked: list[str] = []
        self.ended = Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                peer.asked.append(self.path)
                answer(self)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, *_: Any) -> None:
        """Whoever is answered like this hangs up."""


@contextmanager
def peer(answer: Callable[[BaseHTTPRequestHandler], None], port: int = 0) -> Iterator[_Peer]:
    server = _Peer(port, answer)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()


def say(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def without_end(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 10**6)


def slowly(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    server = handler.server
    assert isinstance(server, _Peer)
    while not server.ended.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def pages_without_end(handler: BaseHTTPRequestHandler) -> None:
    say(handler, b'{"registered_models": [], "next_page_token": "x"}')


HOSTILE: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "without end": without_end,
    "a byte now and then": slowly,
    "pages without end": pages_without_end,
    "compressed": lambda handler: say(
        handler, gzip.compress(bytes(10**8), 9), Content_Encoding="gzip"
    ),
    "garbage": lambda handler: say(handler, bytes(range(256))),
    "deep": lambda handler: say(handler, b"[" * 10**6),
    "a number": lambda handler: say(handler, b"1"),
    "wrong types": lambda handler: say(
        handler,
        b'{"registered_models": [{"name": 1, "creation_timestamp": {}, "aliases": "x"}],'
        b' "access_token": [], "dag_run_id": {}, "state": 7, "task_instances": {"a": 1}}',
    ),
    "nothing": lambda handler: say(handler, b""),
    "a web page": lambda handler: say(handler, b"<html>", Content_Type="text/html"),
    "an error": lambda handler: say(handler, b"y" * 10**6, 500),
}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too slow or too large, is so soon."""
    monkeypatch.setattr(peers, "MOST_SECONDS", 0.5)
    monkeypatch.setattr(peers, "MOST_BYTES", 10**7)


@pytest.mark.usefixtures("hasty")
async def test_api10_whatever_mlflow_answers_the_last_good_model_serves_on(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        right = (await api.post(PREDICT, json={"rows": [ROW]})).json()
        registry.stop()
        for name, answer in HOSTILE.items():
            with peer(answer, registry.port) as server:
                before = time.monotonic()

                async def is_away(since: float = before, server: _Peer = server) -> bool:
                    state = (await api.get("/v1/models")).json()["registry"]
                    assert (await api.post(PREDICT, json={"rows": [ROW]})).json() == right
                    return bool(server.asked) and not state["answers"]

                await until(is_away)
            assert (await api.get("/readyz")).status_code == 200, name
        registry.start()
        registry.promote("iris", models / "forest")
        await until_served(api, "2")


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "pages without end"])
async def test_api10_whatever_airflow_answers_is_a_503(
    settings: ApiSettings, start: Start, name: str
) -> None:
    with peer(HOSTILE[name]) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        async with start(settings.model_copy(update={"airflow_base_url": url})) as api:
            for answer in (await api.post("/v1/trainings"), await api.get("/v1/trainings/x")):
                document = assert_problem(answer, 503, "airflow-away")
                assert len(document["detail"]) < 1000


RUN = {"dag_run_id": "x", "state": "failed"}


@pytest.mark.parametrize(
    "run",
    [
        {**RUN, "conf": "x"},
        {**RUN, "conf": [1]},
        {**RUN, "state": None},
        {**RUN, "dag_run_id": 1},
        [RUN],
        "x",
    ],
    ids=range(6),
)
async def test_api10_a_run_of_the_wrong_types_is_a_503(
    settings: ApiSettings, start: Start, run: Any
) -> None:
    with airflow_server.running() as airflow:
        airflow.runs["x"] = run
        async with start(settings.model_copy(update={"airflow_base_url": airflow.url})) as api:
            assert_problem(await api.get("/v1/trainings/x"), 503, "airflow-away")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_api7_a_redirect_of_another_host_is_followed_nowhere(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path, status: int
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
    registry.stop()
    with peer(lambda handler: say(handler, b"secret")) as inside:
        target = f"http://127.0.0.1:{inside.server_port}/latest/meta-data"

        def lead_on(handler: BaseHTTPRequestHandler) -> None:
            say(handler, b"", status, Location=target)

        with peer(lead_on, registry.port) as registry_peer, peer(lead_on) as airflow_peer:
            url = f"http://127.0.0.1:{airflow_peer.server_port}"
            async with start(settings.model_copy(update={"airflow_base_url": url})) as api:
                assert_problem(await api.post("/v1/trainings"), 503, "airflow-away")
                assert_problem(await api.get("/v2/models/iris/versions/7"), 503, "registry-away")
                assert (await api.post(PREDICT, json={"rows": [ROW]})).status_code == 200
            assert registry_peer.asked
            assert airflow_peer.asked
        assert inside.asked == []


async def test_api7_nothing_in_a_request_makes_this_host_ask_elsewhere(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    with peer(lambda handler: say(handler, b"{}")) as inside:
        url = f"http://127.0.0.1:{inside.server_port}"
        host = url.removeprefix("http://")
        async with start(settings) as api:
            await until_served(api, "1")
            headers = {"Host": host, "X-Forwarded-Host": host, "Referer": url, "Forwarded": host}
            for name in (f"{host}", f"@{host}", f"..%2f..%2f{host}", f"%0d%0aHost:%20{host}"):
                await api.get(f"/v2/models/{name}/versions/1", headers=headers)
                await api.get(f"/v1/trainings/{name}", headers=headers)
            order = {"data_uri": f"{url}/table.csv"}
            assert_problem(await api.post("/v1/trainings", json=order), 503, "airflow-away")
        assert inside.asked == []


@pytest.fixture
async def api(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> AsyncIterator[httpx.AsyncClient]:
    registry.promote("iris", models / "linear")
    async with start(settings) as client:
        await until_served(client, "1")
        yield client


ERRORS = (
    ("GET", "/nowhere"),
    ("GET", "/v1/models/nobody"),
    ("GET", PREDICT),
    ("POST", PREDICT),
    ("POST", "/v1/trainings"),
    ("POST", "/v2/models/iris/infer"),
    ("POST", "/invocations"),
)


async def test_api8_no_answer_says_what_this_host_is_made_of(api: httpx.AsyncClient) -> None:
    for method, path in ERRORS:
        answer = await api.request(method, path, content=b"{", headers={"Content-Type": "x"})
        assert answer.status_code >= 400
        for word in ("Traceback", "site-packages", ".py", "hypercorn", "starlette", "Python/"):
            assert word.lower() not in answer.text.lower() + str(answer.headers).lower()
        assert "server" not in answer.headers


async def test_api8_no_page_of_another_site_may_read_an_answer(api: httpx.AsyncClient) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method in ("GET", "OPTIONS"):
        for path in ("/", "/v1/models", "/docs"):
            answer = await api.request(method, path, headers=headers)
            assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_api8_methods_that_no_route_has_are_refused(api: httpx.AsyncClient) -> None:
    for method in ("TRACE", "TRACK", "CONNECT", "DELETE", "PUT", "PATCH", "PROPFIND", "DEBUG"):
        for route in ROUTES:
            path = re.sub(r"\{\w+\}", "iris", route.path)
            assert (await api.request(method, path)).status_code == 405, (method, path)


def test_api8_by_default_nobody_else_reaches_this_host() -> None:
    settings = ApiSettings()
    assert settings.api_host == "127.0.0.1"
    assert settings.api_grpc_port is None


async def test_api9_every_route_that_answers_is_in_the_document(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    documented = {
        (path, method.upper())
        for path, item in paths.items()
        for method in item
        if "{" not in method
    }
    served = {
        (route.path, method)
        for route in ROUTES
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert served == documented


GUESSES = (
    *("admin", "debug", "console", "shell", "status", "config", "env", "actuator", "actuator/env"),
    *("swagger", "swagger.json", "swagger-ui", "redoc", "graphql", "api", "api/v1", "internal"),
    *(
        ".env",
        ".git/config",
        "robots.txt",
        "server-status",
        "phpinfo.php",
        "static/",
        "favicon.ico",
    ),
    *("v0/models", "v3/models", "v1", "v1/models/iris/explain", "v1/models/iris/raw", "v1/keys"),
    *("v2/repository", "v2/logging", "v2/trace/setting", "v2/systemsharedmemory/status"),
    *("v2/cudasharedmemory/status", "v2/models/iris/config", "v2/models/iris/stats"),
    *("beta/models", "test", "old", "backup", "dump", "heapdump", "threaddump", "profile", "pprof"),
)


async def test_api9_what_is_not_documented_does_not_answer(api: httpx.AsyncClient) -> None:
    documented = {route.path for route in ROUTES}
    for guess in GUESSES:
        assert f"/{guess}" not in documented
        for method in ("GET", "POST"):
            assert (await api.request(method, f"/{guess}")).status_code == 404, guess


async def test_api4_many_who_ask_at_once_are_answered_or_told_when_to_come_back(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "mixed")
    few = {"api_max_waiting": 2, "api_batch_rows": 1, "model_compile": "no"}
    async with start(settings.model_copy(update=few)) as api:
        await until_served(api, "1")
        rows = (await api.get("/v1/models/iris")).json()["example"]
        calls = [api.post(PREDICT, json={"rows": rows}) for _ in range(50)]
        answers = await asyncio.gather(*calls)
        assert {answer.status_code for answer in answers} == {200, 503}
        assert all(a.headers["Retry-After"] for a in answers if a.status_code == 503)
        assert (await api.get("/livez")).status_code == 200


async def test_api4_a_request_that_is_too_large_is_told_which_limit_it_broke(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    small = {"api_max_body_bytes": 2000, "api_max_rows": 3, "api_max_columns": 5}
    async with start(settings.model_copy(update=small)) as api:
        await until_served(api, "1")
        wide = {str(index): 1 for index in range(6)}
        for body, kind in (
            (b" " * 2001, "body-too-large"),
            (json.dumps({"rows": [ROW] * 4}).encode(), "too-many-rows"),
            (json.dumps({"rows": [wide]}).encode(), "too-many-columns"),
        ):
            headers = {"Content-Type": "application/json"}
            assert_problem(await api.post(PREDICT, content=body, headers=headers), 413, kind)
