"""Probabilities of classes, whoever gives them and by which protocol they are asked for."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import nanoarrow as na
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture

from api_host.compiled import onnx_trees
from api_host.compiled.onnx_session import open_session
from api_host.models.model import load
from api_host.settings import ApiSettings
from tests.api_host.arrow_streams import ARROW, column, read, written
from tests.api_host.conftest import IRIS, TREES, Start, iris, save, until, until_served
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_app import ROW, assert_problem

pytestmark = pytest.mark.anyio

CLASSES = ["setosa", "versicolor", "virginica"]
OTHER = {"sepal_length": 6.0, "sepal_width": 2.7, "petal_length": 5.0, "petal_width": 1.6}
ROWS = [ROW, OTHER]
NDJSON = "application/x-ndjson"
PATH = "/v1/models/iris/predict_proba"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models: `ridge`, `proba`, `several`, `mixture`."""
    found = tmp_path_factory.mktemp("probabilities")
    x, y = iris()
    save(Ridge().fit(x, x.sum(axis=1)), found / "ridge", x)
    linear = LogisticRegression(max_iter=1000).fit(x, y)
    save(linear, found / "proba", x, pyfunc_predict_fn="predict_proba")
    several = RandomForestClassifier(5, random_state=0)
    several.fit(x, np.column_stack([y, x["petal_width"] > 1]))
    save(several, found / "several", x, skops_trusted_types=TREES, signature=None)
    save(GaussianMixture(3, random_state=0).fit(x), found / "mixture", x)
    return found


@pytest.fixture
async def api(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path, folder: Path
) -> AsyncIterator[httpx.AsyncClient]:
    registry.promote("iris", models / "linear", alias="challenger")
    registry.promote("iris", models / "forest")
    for name in ("ridge", "proba", "several"):
        registry.promote(name, folder / name)
    async with start(settings) as client:
        await until_served(client, "2")
        for name in ("ridge", "proba", "several"):
            await until_served(client, "1", name)
        yield client


def original(folder: Path) -> Any:
    file = next(folder.glob("model.skops*"))
    return skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))


async def compiled(api: httpx.AsyncClient, name: str = "iris") -> Any:
    """The engine of the probabilities, when one was looked for."""

    async def is_known() -> Any:
        engine = (await api.get(f"/v1/models/{name}")).json()["probabilities"]["engine"]
        return engine if engine and "being looked for" not in engine["why"] else None

    return await until(is_known)


@pytest.mark.parametrize(
    ("path", "version", "model"),
    [
        ("iris", "2", "forest"),
        ("iris@champion", "2", "forest"),
        ("iris@challenger", "1", "linear"),
        ("iris/versions/1", "1", "linear"),
    ],
)
async def test_each_row_has_one_of_each_class_in_their_order(
    api: httpx.AsyncClient, models: Path, path: str, version: str, model: str
) -> None:
    answer = await api.post(f"/v1/models/{path}/predict_proba", json={"rows": ROWS})
    document = answer.json()
    assert document["model"] == {"name": "iris", "version": version}
    assert document["classes"] == CLASSES
    expected = original(models / model).predict_proba(pd.DataFrame(ROWS))
    np.testing.assert_allclose(document["probabilities"], expected, rtol=1e-6)
    assert answer.headers["Tripod-Model"] == f"iris/{version}"


async def test_an_equivalent_that_was_proven_answers_once_it_is_there(
    api: httpx.AsyncClient,
) -> None:
    before = await api.post(PATH, json={"rows": ROWS})
    engine = await compiled(api)
    assert engine["why"].startswith("the engine gave the answers of the original on ")
    assert engine["rows"][0]["engine"] == "onnxruntime"
    after = await api.post(PATH, json={"rows": ROWS})
    np.testing.assert_allclose(
        after.json()["probabilities"], before.json()["probabilities"], rtol=1e-6
    )


async def test_who_asks_while_it_is_looked_for_is_answered(api: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(api.post(PATH, json={"rows": [ROW]}) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}


def test_the_trees_of_predictions_and_probabilities_are_in_memory_once(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_and_note(model: bytes) -> Any:
        opened.append(model)
        return open_session(model)

    monkeypatch.setattr(onnx_trees, "open_session", open_and_note)
    model = load(models / "forest")
    assert model.probabilities is not None
    probabilities = model.probabilities.compiled()
    assert probabilities.engines.engine is not None
    assert len(opened) == 1


async def test_a_model_without_them_says_so(api: httpx.AsyncClient) -> None:
    path = "/v1/models/ridge/predict_proba"
    document = assert_problem(await api.post(path, json={"rows": [ROW]}), 422, "no-probabilities")
    assert "ridge version 1 has no predict_proba" in document["detail"]
    stream = await api.post(path, content=b"", headers={"Content-Type": NDJSON})
    assert_problem(stream, 422, "no-probabilities")


async def test_a_model_says_which_functions_it_has(api: httpx.AsyncClient) -> None:
    iris = (await api.get("/v1/models/iris")).json()
    assert iris["functions"] == ["predict", "predict_proba"]
    assert iris["probabilities"] == {"classes": CLASSES, "engine": None}
    ridge = (await api.get("/v1/models/ridge")).json()
    assert (ridge["functions"], ridge["probabilities"]) == (["predict"], None)


async def test_where_they_are_what_the_model_predicts_both_are_the_same(
    api: httpx.AsyncClient,
) -> None:
    answers = [
        (await api.post(f"/v1/models/proba/{function}", json={"rows": ROWS})).json()
        for function in ("predict", "predict_proba")
    ]
    assert answers[0]["predictions"] == answers[1]["probabilities"]
    assert answers[1]["classes"] == CLASSES


async def test_a_model_of_several_answers_a_row_has_a_list_for_each(
    api: httpx.AsyncClient, folder: Path
) -> None:
    answer = await api.post("/v1/models/several/predict_proba", json={"rows": ROWS})
    document = answer.json()
    model = original(folder / "several")
    assert document["classes"] == [each.tolist() for each in model.classes_]
    first, second = model.predict_proba(pd.DataFrame(ROWS))
    assert document["probabilities"] == [
        [row.tolist(), other.tolist()] for row, other in zip(first, second, strict=True)
    ]


async def test_a_model_that_does_not_name_its_classes_names_none(
    registry: RegistryServer, settings: ApiSettings, start: Start, folder: Path
) -> None:
    registry.promote("mixture", folder / "mixture")
    async with start(settings) as api:
        await until_served(api, "1", "mixture")
        answer = await api.post("/v1/models/mixture/predict_proba", json={"rows": ROWS})
    assert answer.json()["classes"] == []
    expected = original(folder / "mixture").predict_proba(pd.DataFrame(ROWS))
    np.testing.assert_allclose(answer.json()["probabilities"], expected, rtol=1e-6)


async def test_wrong_rows_are_refused_as_predictions_refuse_them(api: httpx.AsyncClient) -> None:
    answer = await api.post(PATH, json={"rows": [ROW, {**ROW, "petal_width": "wide"}]})
    document = assert_problem(answer, 422, "invalid-input")
    assert [error["pointer"] for error in document["errors"]] == ["/rows/1/petal_width"]


async def test_lines_have_the_classes_too(api: httpx.AsyncClient) -> None:
    plain = (await api.post(PATH, json={"rows": ROWS})).json()["probabilities"]
    await compiled(api)
    body = b"".join(json.dumps(row).encode() + b"\n" for row in (*ROWS, {}))
    answer = await api.post(f"{PATH}?from_row=5", content=body, headers={"Content-Type": NDJSON})
    *good, bad = [json.loads(line) for line in answer.text.splitlines()]
    assert [(line["row"], line["classes"]) for line in good] == [(5, CLASSES), (6, CLASSES)]
    np.testing.assert_allclose([line["probabilities"] for line in good], plain, rtol=1e-6)
    assert (bad["row"], bad["problem"]["status"]) == (7, 422)


async def test_arrow_has_the_classes_in_its_schema(api: httpx.AsyncClient) -> None:
    plain = (await api.post(PATH, json={"rows": ROWS})).json()["probabilities"]
    await compiled(api)
    body = written({name: column([row[name] for row in ROWS]) for name in IRIS})
    answer = await api.post(PATH, content=body, headers={"Content-Type": ARROW})
    assert [row["row"] for row in read(answer.content)] == [0, 1]
    found = [row["probabilities"] for row in read(answer.content)]
    np.testing.assert_allclose(found, plain, rtol=1e-6)
    metadata = dict(na.ArrayStream.from_readable(answer.content).schema.metadata.items())
    assert {name: json.loads(text) for name, text in metadata.items()} == {b"classes": CLASSES}


def tensors(*outputs: str) -> dict[str, Any]:
    data = [list(row.values()) for row in ROWS]
    tensor = {"name": "any", "shape": [2, 4], "datatype": "FP64", "data": data}
    return {"inputs": [tensor], "outputs": [{"name": name} for name in outputs]}


async def test_v2_gives_the_outputs_that_are_named_as_mlserver_names_them(
    api: httpx.AsyncClient,
) -> None:
    infer = "/v2/models/iris/infer"
    plain = (await api.post(PATH, json={"rows": ROWS})).json()["probabilities"]
    predict = await api.post("/v1/models/iris/predict", json={"rows": ROWS})
    for names in (("predict",), ("predict_proba",), ("predict_proba", "predict"), ("output-0",)):
        answer = await api.post(infer, json=tensors(*names))
        outputs = {output["name"]: output for output in answer.json()["outputs"]}
        assert tuple(outputs) == names
        for name in set(names) - {"predict_proba"}:
            assert outputs[name]["data"] == predict.json()["predictions"]
        if "predict_proba" in names:
            found = outputs["predict_proba"]
            assert (found["datatype"], found["shape"]) == ("FP64", [2, 3])
            np.testing.assert_allclose(found["data"], np.ravel(plain), rtol=1e-6)
    answer = await api.post(infer, json=tensors())
    assert [output["name"] for output in answer.json()["outputs"]] == ["output-0"]
    answer = await api.post("/v2/models/ridge/infer", json=tensors("predict_proba"))
    assert_problem(answer, 422, "no-probabilities")
    answer = await api.post(infer, json=tensors("predict_proba", "none"))
    assert_problem(answer, 422, "invalid-input")
