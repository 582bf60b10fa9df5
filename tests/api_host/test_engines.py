"""Which of a model and its equivalent answers, and what is said of it."""

from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor

from api_host.compiled import equivalents
from api_host.compiled.compilation import compile_model
from api_host.compiled.engines import Answers, Engines, Measurement
from api_host.compiled.kernels import compile_linear
from api_host.settings import ApiSettings
from api_host.table import Matrix, Natural, Table
from tests.api_host.conftest import Start
from tests.api_host.conftest import iris as measured_iris
from tests.api_host.conftest import save, until_served
from tests.api_host.registry_server import RegistryServer
from tests.api_host.twins import iris

X, SPECIES = iris()
FAST, SLOW = 1e-6, 1e-3


class Scripted:
    """An engine that does as it is told, and knows how often it was asked."""

    name = "scripted"

    def __init__(self, predict: Callable[[Matrix], Answers | None]) -> None:
        self._predict = predict
        self.asked = 0

    def predict(self, matrix: Matrix) -> Answers | None:
        self.asked += 1
        return self._predict(matrix)


def original(rows: Natural) -> Answers:
    return np.full(len(rows), "original")


def fast(rows: Matrix) -> Answers:
    return np.full(len(rows), "engine")


def engines(predict: Callable[[Matrix], Answers | None] = fast, *measured: Measurement) -> Engines:
    return Engines(original, "it is a test", Scripted(predict), measured)


def table(rows: int) -> Table:
    return Table.of_numbers(np.zeros((rows, 2)), lambda matrix: matrix)


def who_answers(chosen: Engines, rows: int) -> str:
    answers = chosen.predict(table(rows))
    assert len(answers) == rows
    return str(answers[0])


def documented(chosen: Engines) -> Any:
    return msgspec.to_builtins(chosen.document())


def test_the_faster_one_answers_for_each_number_of_rows() -> None:
    chosen = engines(
        fast,
        Measurement(1, original=SLOW, engine=FAST),
        Measurement(100, original=SLOW, engine=FAST),
        Measurement(10_000, original=FAST, engine=SLOW),
    )
    assert [who_answers(chosen, rows) for rows in (1, 50, 1000)] == ["engine"] * 3
    assert [who_answers(chosen, rows) for rows in (1001, 20_000)] == ["original"] * 2
    assert documented(chosen)["rows"] == [
        {"from": 1, "to": 1000, "engine": "scripted"},
        {"from": 1001, "to": None, "engine": "original"},
    ]


def test_a_document_says_what_was_measured() -> None:
    document = documented(engines(fast, Measurement(1, original=4e-3, engine=8e-6)))
    assert document["why"] == "it is a test"
    assert document["rows"] == [{"from": 1, "to": None, "engine": "scripted"}]
    assert document["measured"] == [
        {"rows": 1, "original_microseconds": 4000.0, "engine_microseconds": 8.0, "factor": 500.0}
    ]


def test_how_long_rows_take_is_worked_out_from_what_was_measured() -> None:
    chosen = engines(
        fast,
        Measurement(1, original=9.0, engine=1.0),
        Measurement(11, original=2.0, engine=3.0),
    )
    assert [chosen.seconds(rows) for rows in (1, 6, 11, 22)] == [1.0, 1.5, 2.0, 4.0]
    assert Engines(original, "").seconds(1) is None


def test_the_original_answers_what_the_engine_leaves_to_it() -> None:
    assert who_answers(engines(lambda _: None), 3) == "original"


def test_the_original_answers_when_an_engine_breaks() -> None:
    def breaks(_: Matrix) -> Answers:
        raise RuntimeError("broken")

    assert who_answers(engines(breaks), 3) == "original"


def test_the_original_answers_for_what_is_not_all_numbers() -> None:
    chosen = engines()
    assert chosen.predict(Table(np.zeros((2, 2))))[0] == "original"


def compiled(model: Any, **options: Any) -> Engines:
    arguments = {"wanted": True, "example": X[:3], "natural": lambda matrix: matrix, **options}
    return compile_model(model, "predict", **arguments)


def served_by_original(chosen: Engines) -> bool:
    return [each.engine for each in chosen.document().rows] == ["original"]


def test_a_forest_is_compiled_and_faster() -> None:
    forest = RandomForestClassifier(20, random_state=0).fit(X, SPECIES)
    chosen = compiled(forest)
    assert chosen.why.startswith("the engine gave the answers of the original on ")
    assert chosen.measured[0].factor > 5
    assert chosen.document().rows[0].engine == "onnxruntime"
    rows = Table.of_numbers(X, lambda matrix: matrix)
    assert chosen.predict(rows).tolist() == forest.predict(X).tolist()


def test_a_model_that_has_no_equivalent_says_so() -> None:
    chosen = compiled(KNeighborsRegressor().fit(X, X[:, 0]))
    assert served_by_original(chosen)
    assert chosen.why == "a KNeighborsRegressor has no faster equivalent"


def test_compiling_can_be_turned_off() -> None:
    chosen = compiled(LogisticRegression(max_iter=1000).fit(X, SPECIES), wanted=False)
    assert served_by_original(chosen)
    assert chosen.why == "MODEL_COMPILE is no"


def test_whatever_goes_wrong_in_compiling_the_original_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks(*_: Any) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(equivalents, "compile_linear", breaks)
    chosen = compiled(LogisticRegression(max_iter=1000).fit(X, SPECIES))
    assert served_by_original(chosen)
    assert chosen.why == "compiling it failed: MemoryError('no more')"


def test_an_equivalent_that_differs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(estimator: Any, function: str) -> Any:
        other = deepcopy(estimator)
        other.intercept_[0] += 0.05
        return compile_linear(other, function)

    monkeypatch.setattr(equivalents, "compile_linear", wrong)
    chosen = compiled(LogisticRegression(max_iter=1000).fit(X, SPECIES))
    assert served_by_original(chosen)
    assert chosen.why.startswith("it differs from the original by a label")


@pytest.fixture
async def api(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> AsyncIterator[httpx.AsyncClient]:
    registry.promote("iris", models / "linear")
    registry.promote("wood", models / "forest")
    registry.promote("mixed", models / "mixed")
    async with start(settings) as client:
        for name in ("iris", "wood", "mixed"):
            await until_served(client, "1", name)
        yield client


async def engine_of(api: httpx.AsyncClient, name: str) -> Any:
    return (await api.get(f"/v1/models/{name}")).json()["engine"]


@pytest.mark.anyio
async def test_a_model_says_what_serves_it(api: httpx.AsyncClient) -> None:
    linear, forest, mixed = [await engine_of(api, name) for name in ("iris", "wood", "mixed")]
    assert linear["rows"][0]["engine"] == "numpy"
    assert forest["rows"][0]["engine"] == "onnxruntime"
    assert forest["measured"][0]["factor"] > 5
    assert mixed["rows"] == [{"from": 1, "to": None, "engine": "original"}]
    assert mixed["why"] == "its signature has columns that are no numbers, or there is none"
    assert mixed["measured"] == []


@pytest.mark.anyio
async def test_missing_values_are_refused_or_answered_as_by_the_original(
    api: httpx.AsyncClient,
) -> None:
    row = {"sepal_length": 5.1, "sepal_width": None, "petal_length": 1.4, "petal_width": 0.2}
    refused = await api.post("/v1/models/iris/predict", json={"rows": [row]})
    assert refused.status_code == 422
    assert "Input X contains NaN" in refused.json()["detail"]
    answered = await api.post("/v1/models/wood/predict", json={"rows": [row]})
    assert answered.json()["predictions"] == ["setosa"]


@pytest.mark.anyio
async def test_the_setting_turns_it_off(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings.model_copy(update={"model_compile": "no"})) as api:
        await until_served(api, "1")
        assert (await engine_of(api, "iris"))["why"] == "MODEL_COMPILE is no"


@pytest.mark.anyio
async def test_a_model_without_an_example_is_compiled_too(
    registry: RegistryServer, settings: ApiSettings, start: Start, tmp_path: Path
) -> None:
    x, y = measured_iris()
    model = LogisticRegression(max_iter=1000).fit(x, y)
    registry.promote("iris", save(model, tmp_path / "bare", x, input_example=None))
    async with start(settings) as api:
        await until_served(api, "1")
        assert (await engine_of(api, "iris"))["rows"][0]["engine"] == "numpy"
