"""What the API says of itself, as OpenAPI and as a page."""

import re
from collections.abc import AsyncIterator, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from api_host import problems
from api_host.app import ROUTES
from api_host.auth.caller import Access
from api_host.problems import HEADERS_TOO_LARGE, INTERNAL, INVALID_REQUEST, METHOD_NOT_ALLOWED, Kind
from api_host.reference.examples import SHIPPED
from api_host.reference.openapi import make_document
from api_host.reference.routes import reference
from api_host.settings import ApiSettings
from tests.api_host import airflow_server
from tests.api_host.airflow_server import AirflowServer
from tests.api_host.conftest import Start, until_served
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_auth import bearer, make_key

pytestmark = pytest.mark.anyio

MODELS = ("forest", "mixed", "array")
OPERATIONS = [operation for group in reference(SHIPPED) for operation in group.operations]


@pytest.fixture
def airflow() -> Iterator[AirflowServer]:
    with airflow_server.running() as server:
        yield server


@pytest.fixture(params=MODELS)
async def api(
    request: pytest.FixtureRequest,
    registry: RegistryServer,
    airflow: AirflowServer,
    settings: ApiSettings,
    start: Start,
    models: Path,
) -> AsyncIterator[httpx.AsyncClient]:
    """An API that serves one model, and starts trainings."""
    registry.promote("a model", models / request.param)
    async with start(settings.model_copy(update={"airflow_base_url": airflow.url})) as client:
        await until_served(client, "1", "a model")
        yield client


def test_every_route_is_described_and_no_other() -> None:
    routes = {
        (method, route.path) for route in ROUTES for method in (route.methods or set()) - {"HEAD"}
    }
    assert {(operation.method, operation.path) for operation in OPERATIONS} == routes
    paths = make_document()["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert described == routes


def test_every_kind_of_problem_is_an_answer_of_some_route() -> None:
    kinds = {kind for kind in vars(problems).values() if isinstance(kind, Kind)}
    described = {kind for operation in OPERATIONS for kind in operation.problems}
    assert described == kinds - {
        INTERNAL,
        METHOD_NOT_ALLOWED,
        # Of what comes to no route.
        INVALID_REQUEST,
        HEADERS_TOO_LARGE,
    }


def test_every_type_and_attribute_that_a_docstring_explains_is_explained() -> None:
    schemas = make_document()["components"]["schemas"]
    assert all(schema["description"].endswith(".") for schema in schemas.values())
    assert all("`" not in schema["description"] for schema in schemas.values())
    problem = schemas["ProblemDocument"]["properties"]
    assert problem["message"] == {
        "type": "string",
        "description": "The same as MLflow's scoring server says it.",
    }
    inherited = schemas["ModelDescription"]["properties"]["wanted"]
    assert inherited["description"] == "The version that the registry wants served."


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/v1/models/{name}", "application/problem+json"),
        ("/v2/models/{name}", "application/json"),
    ],
)
async def test_problems_have_the_content_type_that_is_described(
    api: httpx.AsyncClient, path: str, media_type: str
) -> None:
    answer = await api.get(path.format(name="none"))
    assert answer.headers["Content-Type"] == media_type
    document = (await api.get("/openapi.json")).json()
    assert document["paths"][path]["get"]["responses"]["404"]["content"].keys() == {media_type}


async def test_every_example_works_with_the_model_that_is_served(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    sent = 0
    for path, methods in document["paths"].items():
        for content_type, example in examples(methods.get("post", {})):
            url = filled(path, methods["post"]["parameters"])
            body = (
                {"content": example, "headers": {"Content-Type": content_type}}
                if isinstance(example, str)
                else {"json": example}
            )
            answer = await api.post(url, **body)
            assert answer.is_success, (url, answer.text)
            assert str(answer.status_code) in methods["post"]["responses"]
            sent += 1
    assert sent >= len(("predict", "by alias", "by version", "training", "invoke", "v2", "index"))


def examples(operation: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for content_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if "example" in content:
            yield content_type, content["example"]


def filled(path: str, parameters: list[dict[str, Any]]) -> str:
    for parameter in parameters:
        if parameter.get("in") == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(parameter["example"], safe=""))
    return path


async def test_the_rows_of_a_served_model_are_described(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("homes", models / "mixed")
    async with start(settings) as api:
        before = (await api.get("/openapi.json")).json()
        assert {"homes.row", "Rows"} & set(before["components"]["schemas"]) >= {"Rows"}
        await until_served(api, "1", "homes")
        row = (await api.get("/openapi.json")).json()["components"]["schemas"]["homes.row"]
        assert row["required"] == ["city", "rooms", "floor", "new", "area"]
        assert row["properties"]["new"] == {"type": "boolean"}
        assert row["properties"]["floor"] == {"type": "integer", "format": "int32"}


async def test_without_a_model_the_examples_are_those_of_the_shipped_one(
    settings: ApiSettings, start: Start
) -> None:
    async with start(settings) as api:
        assert (await api.get("/openapi.json")).json() == make_document(auth=False)


async def test_the_document_names_the_url_that_clients_use(
    settings: ApiSettings, start: Start
) -> None:
    public = settings.model_copy(
        update={"api_public_url": "https://api.example.com", "api_auth": "no"}
    )
    async with start(public) as api:
        document = (await api.get("/openapi.json")).json()
        assert document["servers"] == [{"url": "https://api.example.com"}]
        page = (await api.get("/docs")).text
        assert "curl --fail-with-body https://api.example.com/livez" in page


async def test_where_callers_must_show_a_key_the_document_and_the_page_say_how(
    settings: ApiSettings, start: Start, tmp_path: Path
) -> None:
    text = make_key(tmp_path / "keys.json", "docs", Access.PREDICT)
    locked = {"api_auth": "yes", "api_keys_file": tmp_path / "keys.json"}
    async with start(settings.model_copy(update=locked)) as api:
        document = (await api.get("/openapi.json", headers=bearer(text))).json()
        assert document == make_document()
        page = unescape((await api.get("/docs", headers=bearer(text))).text)
    assert document["components"]["securitySchemes"].keys() == {"bearer", "key", "basic"}
    for path, methods in document["paths"].items():
        ((method, operation),) = methods.items()
        assert ({"basic": []} in operation["security"]) == (method == "get")
        assert ({} in operation["security"]) == (path in ("/", "/livez", "/readyz"))
        assert ("401" in operation["responses"]) == ({} not in operation["security"])
    assert '/v1/models \\\n  --header "Authorization: Bearer $API_KEY"' in page
    assert "/livez</code>" in page
    assert 'id="key" type="password"' in page
    assert text not in page
    # Nothing keeps it, and nothing sends it away.
    assert not re.search("fetch|localStorage|cookie|XMLHttp|src=|action=", page)


async def test_the_page_needs_nothing_from_elsewhere(api: httpx.AsyncClient) -> None:
    page = (await api.get("/docs")).text
    assert 'name="viewport"' in page
    assert not re.search(r"<(script|link|img|iframe)|@import|url\(", page)
    links = re.findall(r'href="([^"]*)"', page)
    assert {link for link in links if not link.startswith("#")} == {"/", "/openapi.json"}
    anchors = set(re.findall(r'id="([^"]*)"', page))
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    assert {operation.id for operation in OPERATIONS} <= anchors


async def test_the_commands_of_the_page_are_short_and_escaped(api: httpx.AsyncClient) -> None:
    page = (await api.get("/docs", headers={"Host": "<b>"})).text
    assert "<b>/" not in page
    commands = re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)
    assert len(commands) >= len(OPERATIONS)
    assert not any("outputs" in command for command in commands)  # It has a default.
    assert any("a%20model/predict \\\n  --json '{" in unescape(command) for command in commands)


async def test_of_several_models_the_example_is_the_one_that_mlflows_protocol_asks(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    for name in ("a", "b", "c"):
        registry.promote(name, models / "linear")
    async with start(settings.model_copy(update={"model_name": "b"})) as api:
        for name in ("a", "b", "c"):
            await until_served(api, "1", name)
        page = (await api.get("/docs")).text
    assert "/v1/models/b/predict" in page
    assert "/v1/models/a/predict" not in page
