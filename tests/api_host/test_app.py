"""The application as its callers see it."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from pydantic import SecretStr
from sklearn.neighbors import KNeighborsRegressor

from api_host.settings import ApiSettings
from tests.api_host.conftest import Start, save, until, until_served
from tests.api_host.registry_server import RegistryServer
from tests.docs.pages import documented_metrics, documented_process_metrics, shown_metrics

pytestmark = pytest.mark.anyio

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
PREDICT = "/v1/models/iris/predict"


@pytest.fixture
async def api(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> AsyncIterator[httpx.AsyncClient]:
    registry.promote("iris", models / "linear", alias="challenger")
    registry.promote("iris", models / "forest")
    small = settings.model_copy(update={"api_max_body_bytes": 10_000, "api_max_rows": 100})
    async with start(small) as client:
        await until_served(client, "2")
        yield client


def assert_problem(answer: httpx.Response, status: int, name: str) -> dict[str, Any]:
    assert answer.status_code == status
    plain = answer.request.url.path.startswith("/v2")  # As clients of that protocol want it.
    media_type = "application/json" if plain else "application/problem+json"
    assert answer.headers["Content-Type"] == media_type
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:tripod:problem:{name}"
    assert document["status"] == status
    assert document["request_id"] == answer.headers["X-Request-ID"]
    assert "Traceback" not in answer.text
    return document


async def test_predictions_by_name_alias_and_version(api: httpx.AsyncClient) -> None:
    for path, version in {
        "iris": "2",
        "iris@champion": "2",
        "iris@challenger": "1",
        "iris/versions/2": "2",
        "iris/versions/1": "1",
    }.items():
        answer = await api.post(f"/v1/models/{path}/predict", json={"rows": [ROW, ROW]})
        assert answer.json() == {
            "model": {"name": "iris", "version": version},
            "predictions": ["setosa", "setosa"],
        }
        assert answer.headers["Tripod-Model"] == f"iris/{version}"


async def test_the_example_of_a_model_can_be_sent_back_to_it(api: httpx.AsyncClient) -> None:
    example = (await api.get("/v1/models/iris")).json()["example"]
    assert len(example) == 3
    answer = await api.post(PREDICT, json={"rows": example})
    assert answer.json()["predictions"] == ["setosa"] * 3


async def test_versions_that_are_asked_for_at_once_are_loaded_once(
    api: httpx.AsyncClient,
) -> None:
    path = "/v1/models/iris/versions/1/predict"
    answers = await asyncio.gather(*(api.post(path, json={"rows": [ROW]}) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/models/none", "unknown-model"),
        ("/v1/models/none/predict", "unknown-model"),
        ("/v1/models/iris@none/predict", "unknown-model"),
        ("/v1/models/iris/versions/99/predict", "unknown-model"),
        ("/v1/none", "not-found"),
        ("/livez/", "not-found"),
    ],
)
async def test_what_is_not_there(api: httpx.AsyncClient, path: str, name: str) -> None:
    method = "POST" if path.endswith("predict") else "GET"
    assert_problem(await api.request(method, path), 404, name)


async def test_before_the_first_model_its_name_is_not_wrong(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    named = settings.model_copy(update={"model_name": "iris"})
    async with start(named) as client:

        async def is_seen() -> bool:
            return (await client.get("/v1/models")).json()["registry"]["seen"] is not None

        await until(is_seen)
        for path in (PREDICT, "/v1/models/other/predict", "/invocations"):
            answer = await client.post(path, json={"rows": [ROW]})
            assert_problem(answer, 503, "no-model")
            assert "Retry-After" in answer.headers
        registry.promote("other", models / "linear")
        await until_served(client, "1", "other")
        assert_problem(await client.post("/invocations", json={"rows": [ROW]}), 503, "no-model")
        assert_problem(
            await client.post("/v1/models/third/predict", json={"rows": [ROW]}),
            404,
            "unknown-model",
        )


@pytest.mark.parametrize(
    ("password", "told"),
    [
        (None, "MLflow wants an account, and MLFLOW_TRACKING_PASSWORD is not set"),
        ("another one", "MLflow refuses the account api: MLFLOW_TRACKING_PASSWORD is not its"),
        ("the right one", None),
    ],
)
async def test_an_account_that_mlflow_refuses_is_told(
    registry: RegistryServer,
    settings: ApiSettings,
    start: Start,
    models: Path,
    password: str | None,
    told: str | None,
) -> None:
    registry.promote("iris", models / "linear")
    registry.account = f"Basic {b64encode(b'api:the right one').decode()}"
    secret = SecretStr(password) if password else None
    async with start(settings.model_copy(update={"mlflow_tracking_password": secret})) as client:
        if told is None:
            await until_served(client, "1")
            return

        async def is_told() -> bool:
            link = (await client.get("/")).json()["links"]["mlflow"]
            return not link["healthy"] and told in link["detail"]

        await until(is_told)
        assert told in (await client.get("/readyz")).json()["detail"]


async def test_other_methods(api: httpx.AsyncClient) -> None:
    answer = await api.get(PREDICT)
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == "POST"


async def test_wrong_input_is_named_with_its_place(api: httpx.AsyncClient) -> None:
    answer = await api.post(PREDICT, json={"rows": [ROW, {**ROW, "petal_width": "wide"}]})
    document = assert_problem(answer, 422, "invalid-input")
    assert [error["pointer"] for error in document["errors"]] == ["/rows/1/petal_width"]
    assert answer.headers["Tripod-Model"] == "iris/2"


async def test_wrong_bodies(api: httpx.AsyncClient) -> None:
    as_json = {"Content-Type": "application/json"}
    answer = await api.post(PREDICT, content=b"{", headers=as_json)
    assert_problem(answer, 400, "invalid-body")
    answer = await api.post(PREDICT, content=b"{}", headers={"Content-Type": "text/plain"})
    assert_problem(answer, 415, "unsupported-media-type")
    answer = await api.post(PREDICT, content=b" " * 10_001, headers=as_json)
    assert_problem(answer, 413, "body-too-large")
    answer = await api.post(PREDICT, json={"rows": [[]] * 101})
    assert_problem(answer, 413, "too-many-rows")


async def test_a_model_that_cannot_predict_from_good_input_says_why(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        answer = await api.post(PREDICT, json={"rows": [{**ROW, "petal_width": None}]})
        assert "NaN" in assert_problem(answer, 422, "prediction-failed")["detail"]


async def test_mlflow_scoring_protocol(api: httpx.AsyncClient) -> None:
    for body in (
        {"dataframe_records": [ROW]},
        {"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())]}},
        {"inputs": {name: [value] for name, value in ROW.items()}},
        {"instances": [ROW]},
    ):
        answer = await api.post("/invocations", json=body)
        assert answer.json() == {"predictions": ["setosa"]}
        assert answer.headers["Tripod-Model"] == "iris/2"
    csv = f"{','.join(ROW)}\n{','.join(map(str, ROW.values()))}\n"
    answer = await api.post("/invocations", content=csv, headers={"Content-Type": "text/csv"})
    assert answer.json() == {"predictions": ["setosa"]}
    answer = await api.post("/invocations", json={"inputs": {"sepal_width": [1]}})
    assert assert_problem(answer, 400, "invalid-invocation")["error_code"] == (
        "INVALID_PARAMETER_VALUE"
    )
    for path in ("/ping", "/health"):
        answer = await api.get(path)
        assert (answer.status_code, answer.text) == (200, "\n")
    assert (await api.get("/version")).text.count(".") == 2


async def test_invocations_with_several_models(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    registry.promote("other", models / "forest")
    body = {"dataframe_records": [ROW]}
    async with start(settings) as api:
        await until_served(api, "1")
        await until_served(api, "1", "other")
        assert_problem(await api.post("/invocations", json=body), 409, "ambiguous-model")
    async with start(settings.model_copy(update={"model_name": "other"})) as api:
        await until_served(api, "1", "other")
        answer = await api.post("/invocations", json=body)
        assert answer.headers["Tripod-Model"] == "other/1"


async def test_more_than_a_model_can_answer_is_refused_and_all_else_answers(
    registry: RegistryServer, settings: ApiSettings, start: Start, tmp_path: Path
) -> None:
    x = pd.DataFrame(np.random.default_rng(0).random((20_000, 4)), columns=list(ROW))
    slow = KNeighborsRegressor(n_neighbors=50, algorithm="brute").fit(x, x.sum(axis=1))
    registry.promote("slow", save(slow, tmp_path / "slow", x))
    rows = {"rows": [ROW] * 20}
    async with start(settings.model_copy(update={"api_max_waiting": 5})) as api:
        await until_served(api, "1", "slow")
        calls = [api.post("/v1/models/slow/predict", json=rows) for _ in range(30)]
        *answers, health = await asyncio.gather(*calls, api.get("/livez"))
    assert health.status_code == 200
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < 30
    for answer in refused:
        assert_problem(answer, 503, "overloaded")
        assert answer.headers["Retry-After"] == "1"


async def test_what_is_served(api: httpx.AsyncClient) -> None:
    (model,) = (await api.get("/v1/models")).json()["models"]
    assert (model["name"], model["version"], model["alias"]) == ("iris", "2", "champion")
    assert model["ready"]
    model = (await api.get("/v1/models/iris")).json()
    assert [column["name"] for column in model["signature"]["inputs"]] == list(ROW)
    assert model["metrics"] == {"accuracy": 0.9}
    assert model["run_id"] == "run-2"
    assert model["tags"] == {"promotion": "promoted"}


async def test_home_is_json_and_a_page(api: httpx.AsyncClient) -> None:
    home = (await api.get("/")).json()
    assert home["models"] == [{"name": "iris", "version": "2", "problem": None}]
    assert home["links"].keys() == {"mlflow", "airflow"}
    page = await api.get("/", headers={"Accept": "text/html,*/*"})
    assert page.headers["Content-Type"].startswith("text/html")
    assert "iris" in page.text
    assert "http" not in page.text.split("</style>")[0]


async def test_request_ids(api: httpx.AsyncClient) -> None:
    given = await api.get("/livez", headers={"X-Request-ID": "from-the-caller"})
    assert given.headers["X-Request-ID"] == "from-the-caller"
    for bad in ("x" * 129, "two words"):
        made = await api.get("/livez", headers={"X-Request-ID": bad})
        assert len(made.headers["X-Request-ID"]) == 32


async def test_metrics(api: httpx.AsyncClient) -> None:
    await api.post(PREDICT, json={"rows": [ROW, ROW]})
    await api.get("/one/of/many")
    text = (await api.get("/metrics")).text
    assert 'tripod_api_model_served{model="iris",version="2"} 1.0' in text
    assert 'route="predict",status="200"' in text
    assert 'tripod_api_link_up{link="airflow"}' in text
    assert "/one/of/many" not in text
    documented = documented_metrics("api-host") | documented_process_metrics()
    assert shown_metrics(text) == documented
