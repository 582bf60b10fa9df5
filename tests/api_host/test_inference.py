"""`/v2`, the Open Inference Protocol, as its clients see it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier

from api_host.bounds import Bounds
from api_host.problems import Problem
from api_host.schema import compile_signature
from api_host.settings import ApiSettings
from api_host.v2.columns import describe_inputs, to_arrays, to_table
from api_host.v2.tensors import Tensor
from api_host.v2.tensors_json import JSON_LENGTH
from hostkit import release
from tests.api_host.conftest import IRIS, Start, iris, save, until, until_served
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_app import assert_problem

pytestmark = pytest.mark.anyio

ROW = [5.1, 3.5, 1.4, 0.2]
INFER = "/v2/models/iris/infer"
LOAD, UNLOAD = "/v2/repository/models/iris/load", "/v2/repository/models/iris/unload"


@pytest.fixture
async def api(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> AsyncIterator[httpx.AsyncClient]:
    registry.promote("iris", models / "linear", alias="challenger")
    registry.promote("iris", models / "forest")
    registry.promote("array", models / "array")
    registry.promote("mixed", models / "mixed")
    small = settings.model_copy(update={"api_max_body_bytes": 10_000, "api_max_rows": 100})
    async with start(small) as client:
        await until_served(client, "2")
        await until_served(client, "1", "array")
        await until_served(client, "1", "mixed")
        yield client


def one(rows: int = 1, datatype: str = "FP64", name: str = "any") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [rows, 4], "data": [ROW] * rows}


def each(rows: int = 1) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": "FP32", "shape": [rows], "data": [value] * rows}
        for name, value in zip(IRIS, ROW, strict=True)
    ]


async def ask(api: httpx.AsyncClient, *inputs: Any, path: str = INFER, **members: Any) -> Any:
    answer = await api.post(path, json={"inputs": inputs, **members})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def places(api: httpx.AsyncClient, *inputs: Any, path: str = INFER) -> list[str]:
    answer = await api.post(path, json={"inputs": inputs})
    document = assert_problem(answer, 422, "invalid-input")
    assert document["error"] == document["detail"]
    return [error["pointer"] for error in document["errors"]]


async def test_the_server_and_its_health(api: httpx.AsyncClient) -> None:
    assert (await api.get("/v2")).json() == {
        "name": "api-host",
        "version": release.VERSION,
        "extensions": ["binary_tensor_data", "model_repository"],
    }
    assert (await api.get("/v2/health/live")).json() == {"live": True}
    assert (await api.get("/v2/health/ready")).json() == {"ready": True}


async def test_before_the_first_model_the_server_is_live_and_not_ready(
    settings: ApiSettings, start: Start
) -> None:
    async with start(settings) as api:
        assert (await api.get("/v2/health/live")).status_code == 200
        for path in ("/v2/health/ready", "/v2/models/iris/ready", "/v2/models/iris"):
            document = assert_problem(await api.get(path), 503, "no-model")
            assert document["error"] == document["detail"]


async def test_a_model_and_its_versions(api: httpx.AsyncClient) -> None:
    for path in ("/v2/models/iris", "/v2/models/iris/versions/1"):
        answer = await api.get(path)
        assert answer.json() == {
            "name": "iris",
            "versions": ["1", "2"],
            "platform": "sklearn_skops",
            "inputs": [{"name": name, "datatype": "FP64", "shape": [-1]} for name in IRIS],
            "outputs": [{"name": "output-0", "datatype": "BYTES", "shape": [-1]}],
        }
        ready = await api.get(f"{path}/ready")
        assert ready.json() == {"name": "iris", "ready": True}
        assert ready.headers["Tripod-Model"] == answer.headers["Tripod-Model"]
    mixed = (await api.get("/v2/models/mixed")).json()
    kinds = {tensor["name"]: tensor["datatype"] for tensor in mixed["inputs"]}
    assert kinds == {
        "city": "BYTES",
        "rooms": "INT64",
        "floor": "INT32",
        "new": "BOOL",
        "area": "FP32",
        "tax": "FP64",
    }
    array = (await api.get("/v2/models/array")).json()
    assert array["inputs"] == [{"name": "input-0", "datatype": "FP64", "shape": [-1, 4]}]


async def test_one_tensor_for_all_columns_or_one_a_column(api: httpx.AsyncClient) -> None:
    expected = {
        "model_name": "iris",
        "model_version": "2",
        "outputs": [
            {"name": "output-0", "shape": [2], "datatype": "BYTES", "data": ["setosa", "setosa"]}
        ],
    }
    flat = {**one(2), "data": ROW * 2}
    narrow = [{**tensor, "shape": [2, 1]} for tensor in each(2)]
    for inputs in ([one(2)], [flat], [one(2, "FP32")], each(2), each(2)[::-1], narrow):
        assert await ask(api, *inputs) == expected
    answer = await ask(api, *each(2), path="/v2/models/iris/versions/1/infer", id="42")
    assert answer == {**expected, "model_version": "1", "id": "42"}
    assert (await ask(api, one(), path="/v2/models/array/infer"))["model_name"] == "array"
    by_number = [{**t, "name": str(i)} for i, t in enumerate(each())]
    assert (await ask(api, *by_number, path="/v2/models/array/infer"))["model_name"] == "array"


async def test_a_prediction_is_that_of_v1(api: httpx.AsyncClient) -> None:
    rows = (await api.get("/v1/models/mixed")).json()["example"]
    expected = (await api.post("/v1/models/mixed/predict", json={"rows": rows})).json()
    inputs = [
        {**tensor, "shape": [3], "data": [row[tensor["name"]] for row in rows]}
        for tensor in (await api.get("/v2/models/mixed")).json()["inputs"]
    ]
    answer = await ask(api, *inputs, path="/v2/models/mixed/infer")
    assert answer["outputs"][0]["data"] == expected["predictions"]
    assert answer["outputs"][0]["datatype"] == "FP64"


async def test_binary_data_both_ways(api: httpx.AsyncClient) -> None:
    values = np.array([ROW, ROW], np.float32).tobytes()
    tensor = {**one(2, "FP32"), "parameters": {"binary_data_size": len(values)}}
    del tensor["data"]
    document = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    text = json.dumps(document).encode()
    answer = await api.post(INFER, content=text + values, headers={JSON_LENGTH: str(len(text))})
    assert answer.headers["Content-Type"] == "application/octet-stream"
    length = int(answer.headers[JSON_LENGTH])
    assert json.loads(answer.content[:length])["outputs"] == [
        {
            "name": "output-0",
            "shape": [2],
            "datatype": "BYTES",
            "parameters": {"binary_data_size": 20},
        }
    ]
    assert answer.content[length:] == b"\6\0\0\0setosa" * 2


async def test_outputs_are_chosen(api: httpx.AsyncClient) -> None:
    assert len((await ask(api, one(), outputs=[{"name": "output-0"}]))["outputs"]) == 1
    answer = await api.post(INFER, json={"inputs": [one()], "outputs": [{"name": "none"}]})
    document = assert_problem(answer, 422, "invalid-input")
    assert document["errors"][0]["pointer"] == "/outputs/0/name"


async def test_wrong_inputs_are_named_with_their_place(api: httpx.AsyncClient) -> None:
    first, *others = each()
    assert await places(api, *others) == ["/inputs"]
    assert await places(api, first, first, *others) == ["/inputs/1/name"]
    assert await places(api, {**first, "name": "other"}, *others) == ["/inputs", "/inputs/0/name"]
    longer = {**first, "shape": [2], "data": [1, 2]}
    assert await places(api, *others, longer) == ["/inputs/3/shape"]
    assert await places(api, {**one(), "shape": [2, 2], "data": ROW}) == ["/inputs/0/shape"]
    words = {**one(datatype="BYTES"), "data": [["1", "2", "3", "4"]]}
    assert await places(api, words) == [f"/inputs/0/data/0/{index}" for index in range(4)]
    truths = {**others[0], "datatype": "BOOL", "data": [True]}
    assert await places(api, first, truths, *others[1:]) == ["/inputs/1/data/0"]
    mixed = {"name": "any", "datatype": "FP64", "shape": [1, 6], "data": [1, 1.5, 2, 0, 1e300, 1]}
    wrong = [f"/inputs/0/data/{index}" for index in (0, 1, 3, 4)]
    assert await places(api, mixed, path="/v2/models/mixed/infer") == wrong


async def test_limits_are_those_of_the_other_routes(api: httpx.AsyncClient) -> None:
    for body, status, name in (
        (b" " * 10_001, 413, "body-too-large"),
        (b"{", 400, "invalid-body"),
        (json.dumps({"inputs": [one(101)]}).encode(), 413, "too-many-rows"),
    ):
        document = assert_problem(await api.post(INFER, content=body), status, name)
        assert document["error"] == document["detail"]
    answer = await api.post(INFER, content=b"", headers={"Content-Encoding": "gzip"})
    assert_problem(answer, 415, "unsupported-media-type")
    nothing = {**one(), "data": [[None] * 4]}
    answer = await api.post("/v2/models/array/infer", json={"inputs": [nothing]})
    assert "NaN" in assert_problem(answer, 422, "prediction-failed")["error"]


async def test_errors_of_v2_are_the_json_that_its_clients_read(api: httpx.AsyncClient) -> None:
    for method, path, status, name in (
        ("GET", "/v2/none", 404, "not-found"),
        ("GET", "/v2/", 404, "not-found"),
        ("GET", INFER, 405, "method-not-allowed"),
        ("GET", "/v2/models/none", 404, "unknown-model"),
        ("GET", "/v2/models/iris/versions/99", 404, "unknown-model"),
        ("POST", "/v2/models/none/infer", 404, "unknown-model"),
    ):
        document = assert_problem(await api.request(method, path), status, name)
        assert document["error"] == document["detail"]
    for path in ("/v1/none", "/v22"):
        answer = await api.get(path)
        assert "error" not in answer.json()
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_model_without_a_signature_takes_what_it_is_given(
    registry: RegistryServer, settings: ApiSettings, start: Start, tmp_path: Path
) -> None:
    x, y = iris()
    model = LogisticRegression(max_iter=1000).fit(x, y)
    folder = save(model, tmp_path / "model", x, signature=None, input_example=None)
    registry.promote("iris", folder)
    async with start(settings) as api:
        await until_served(api, "1")
        metadata = (await api.get("/v2/models/iris")).json()
        assert (metadata["inputs"], metadata["outputs"]) == ([], [])
        assert (await ask(api, *each()))["outputs"][0]["data"] == ["setosa"]
        longer = {**each()[0], "name": "x", "shape": [2], "data": [1, 2]}
        answer = await api.post(INFER, json={"inputs": [longer, *each()]})
        assert_problem(answer, 422, "invalid-input")


def test_bytes_are_what_the_column_says() -> None:
    specs = [
        {"type": kind, "name": kind, "required": True} for kind in ("string", "binary", "datetime")
    ]
    signature = compile_signature(json.dumps(specs))
    assert signature is not None
    values = {"string": "é".encode(), "binary": b"\xff", "datetime": b"2020-01-01"}

    def table(**changed: bytes) -> Any:
        found = {**values, **changed}
        return to_table(
            [
                Tensor(index, name, (1,), np.array([value], dtype=object))
                for index, (name, value) in enumerate(found.items())
            ],
            signature,
            Bounds(),
        ).natural()

    row = table().iloc[0].tolist()
    assert row == ["é", b"\xff", pd.Timestamp("2020-01-01")]
    for name in ("string", "datetime"):
        with pytest.raises(Problem) as refused:
            table(**{name: b"\xff"})
        assert refused.value.mistakes[0].pointer.endswith("/data/0")
    assert [tensor.datatype for tensor in describe_inputs(signature)] == ["BYTES"] * 3


def test_several_predictions_are_several_outputs() -> None:
    x, y = iris()
    model = MultiOutputClassifier(LogisticRegression(max_iter=1000)).fit(x, np.c_[y, y])
    arrays = to_arrays(model.predict_proba(x))
    assert {name: array.shape for name, array in arrays.items()} == {
        "output-0": (150, 3),
        "output-1": (150, 3),
    }


async def index(api: httpx.AsyncClient, **body: Any) -> Any:
    answer = await api.post("/v2/repository/index", json=body)
    assert answer.status_code == 200
    return answer.json()


async def test_the_index_says_what_is_not_served_and_why(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path, tmp_path: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        assert (await api.post("/v2/repository/index")).json() == await index(api)
        ready = {"name": "iris", "version": "1", "state": "READY", "reason": ""}
        assert await index(api) == [ready]
        broken = tmp_path / "broken"
        broken.mkdir()
        (broken / "MLmodel").write_text("flavors: {}")
        registry.promote("iris", broken)
        registry.promote("other", broken)

        async def is_refused() -> Any:
            entries = await index(api)
            refused = [entry for entry in entries if "mlflow.sklearn" in entry["reason"]]
            return len(refused) == 2 and entries

        first, second, other = await until(is_refused)
        assert first == ready
        assert (second["version"], second["state"]) == ("2", "UNAVAILABLE")
        assert (other["name"], other["state"]) == ("other", "UNAVAILABLE")
        assert await index(api, ready=True) == [ready]
        bodies: list[Any] = [{"ready": 1}, []]
        for body in bodies:
            answer = await api.post("/v2/repository/index", json=body)
            assert_problem(answer, 422, "invalid-input")
        document = assert_problem(await api.post(LOAD), 422, "model-refused")
        assert "version 2" in document["error"]
        registry.models["iris"].aliases.clear()
        assert_problem(await api.post(LOAD), 404, "unknown-model")
        (entry,) = await index(api, ready=True)
        assert "served still" in entry["reason"]


async def test_load_answers_when_what_the_registry_wants_is_served(
    registry: RegistryServer,
    settings: ApiSettings,
    start: Start,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        # By itself it would not look again during this test.
        monkeypatch.setattr("api_host.models.follower.POLL_SECONDS", 600.0)
        registry.promote("iris", models / "forest")
        for _ in range(2):
            assert (await api.post(LOAD)).status_code == 200
            assert (await ask(api, one()))["model_version"] == "2"
        answer = await api.post(LOAD, json={"parameters": {"config": "{}"}})
        document = assert_problem(answer, 422, "invalid-input")
        assert document["errors"][0]["pointer"] == "/parameters"
        answer = await api.post("/v2/repository/models/none/load")
        assert_problem(answer, 404, "unknown-model")
        registry.status = 500
        assert_problem(await api.post(LOAD), 503, "registry-away")
        assert (await ask(api, one()))["model_version"] == "2"


async def test_a_load_that_breaks_off_says_so(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        registry.cut = True
        registry.promote("iris", models / "forest")
        document = assert_problem(await api.post(LOAD), 503, "no-model")
        assert "version 2 is not here yet" in document["error"]
        registry.cut = False
        assert (await api.post(LOAD)).status_code == 200
        assert (await ask(api, one()))["model_version"] == "2"


async def test_unload_is_refused_and_says_what_to_do(api: httpx.AsyncClient) -> None:
    document = assert_problem(await api.post(UNLOAD), 409, "registry-decides")
    assert "MODEL_NAMES" in document["error"]
    assert (await ask(api, one()))["model_version"] == "2"
    answer = await api.post("/v2/repository/models/none/unload")
    assert_problem(answer, 404, "unknown-model")
