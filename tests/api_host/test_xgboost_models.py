"""Models of XGBoost: the answers of the library itself, from a file that it need not open."""

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from api_host.errors import ModelRefusedError
from api_host.models.flavors.ubjson import read_ubjson
from api_host.models.model import Model, load
from api_host.settings import ApiSettings
from tests.api_host.conftest import Start, until_served
from tests.api_host.registry_server import RegistryServer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow.xgboost
    from mlflow.models import infer_signature

CLASSES = ("multi:softprob", "multi:softmax")
POSITIVE = ("count:poisson", "reg:gamma", "reg:tweedie")


def table(rows: int = 300) -> pd.DataFrame:
    """Numbers with gaps, some of them whole."""
    found = np.random.default_rng(2)
    frame = pd.DataFrame(found.normal(size=(rows, 3)), columns=list("abc"))
    frame["n"] = found.integers(0, 9, rows)
    frame.loc[::7, "b"] = np.nan
    return frame


def save(model: Any, folder: Path, example: Any, **options: Any) -> Path:
    """Writes a model as a training would."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options.setdefault("signature", infer_signature(example))
        mlflow.xgboost.save_model(
            model, folder, input_example=example[:3], pip_requirements=["xgboost"], **options
        )
    return folder


def booster(objective: str = "binary:logistic", rounds: int = 20, **more: Any) -> xgb.Booster:
    """A booster that has learned something."""
    x = table()
    y = (x["a"] + x["n"] / 9 > 0).astype(float)
    if objective in CLASSES:
        y += x["c"] > 1
        more["num_class"] = 3
    if objective in POSITIVE:
        y = y * 3 + 0.5
    if objective.startswith("reg:") and objective not in POSITIVE and objective != "reg:logistic":
        y = x["a"] * 3 + x["n"]
    data = xgb.DMatrix(x, y)
    if objective.startswith("rank:"):
        data.set_group([30] * 10)
    options = {"objective": objective, "max_depth": 4, **more}
    return xgb.train({k: v for k, v in options.items() if v is not None}, data, rounds)


def assert_same(folder: Path, rows: pd.DataFrame) -> Model:
    """Compares with MLflow, all rows together and one alone, as data frame and as numbers."""
    ours, theirs = load(folder), mlflow.pyfunc.load_model(str(folder))
    assert ours.signature is not None
    for part in (rows, rows[:1]):
        expected = theirs.predict(part)
        checked = ours.signature.from_rows(
            part.astype(object).where(part.notna(), None).to_dict("records")
        )
        for found in (ours.predict(checked), ours.engines.original(part)):
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    return ours


@pytest.mark.parametrize(
    "objective",
    [
        "reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:logistic",
        "binary:logistic", *CLASSES, *POSITIVE, "rank:ndcg", "rank:pairwise",
    ],
)  # fmt: skip
def test_a_booster_predicts_as_with_mlflow(tmp_path: Path, objective: str) -> None:
    assert_same(save(booster(objective), tmp_path / "model", table()), table())


@pytest.mark.filterwarnings("ignore:.*Unknown file format")
@pytest.mark.parametrize("form", ["ubj", "json", "xgb"])
def test_each_form_of_file_is_read(tmp_path: Path, form: str) -> None:
    folder = save(booster(), tmp_path / "model", table(), model_format=form)
    assert_same(folder, table())


@pytest.mark.parametrize(
    "options",
    [
        {"num_parallel_tree": 3, "subsample": 0.5},
        {"gamma": 5, "tree_method": "exact"},
        {"grow_policy": "lossguide", "max_leaves": 9},
        {"max_depth": 0, "max_leaves": 1, "min_child_weight": 1e9},
        {"base_score": 0.1},
    ],
    ids=["parallel", "pruned", "lossguide", "only roots", "base"],
)
def test_trees_of_every_kind_are_read(tmp_path: Path, options: dict[str, Any]) -> None:
    assert_same(save(booster(**options), tmp_path / "model", table()), table())


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("kind", [xgb.XGBClassifier, xgb.XGBRFClassifier])
def test_a_classifier_predicts_classes_and_their_probabilities(
    tmp_path: Path, kind: Callable[..., Any], count: int
) -> None:
    x = table()
    model = kind(n_estimators=8).fit(x, pd.cut(x["a"], count, labels=False))
    ours = assert_same(save(model, tmp_path / "model", x), x)
    assert ours.classes == list(range(count))
    assert ours.probabilities is not None
    found = ours.probabilities.compiled().engines.original(x)
    np.testing.assert_allclose(found, model.predict_proba(x), rtol=1e-5, atol=1e-6)


def test_one_that_stopped_early_predicts_with_its_best_trees(tmp_path: Path) -> None:
    x = table()
    noise = np.random.default_rng(5).normal(size=len(x))
    model = xgb.XGBRegressor(n_estimators=60, early_stopping_rounds=5)
    model.fit(x[:200], noise[:200], eval_set=[(x[200:], noise[200:])], verbose=False)
    assert model.best_iteration < model.get_booster().num_boosted_rounds() - 1
    assert_same(save(model, tmp_path / "model", x), x)


@pytest.mark.anyio
async def test_it_is_served_by_every_protocol(
    registry: RegistryServer, settings: ApiSettings, start: Start, tmp_path: Path
) -> None:
    x = table().dropna()
    model = xgb.XGBClassifier(n_estimators=5).fit(x, x["a"] > 0)
    registry.promote("iris", save(model, tmp_path / "model", x))
    rows = x[:4].to_dict(orient="records")
    async with start(settings) as api:
        await until_served(api, "1")
        described = (await api.get("/v1/models/iris")).json()
        assert described["flavor"] == "xgboost"
        assert described["engine"]["rows"] == [{"from": 1, "to": None, "engine": "onnxruntime"}]
        assert described["functions"] == ["predict", "predict_proba"]
        expected = model.predict(x[:4]).tolist()
        one = await api.post("/v1/models/iris/predict", json={"rows": rows})
        assert one.json()["predictions"] == expected
        two = await api.post("/invocations", json={"dataframe_records": rows})
        assert two.json()["predictions"] == expected
        inputs = [
            {"name": name, "datatype": kind, "shape": [4], "data": x[name][:4].tolist()}
            for name, kind in zip(x.columns, ["FP64", "FP64", "FP64", "INT64"], strict=True)
        ]
        three = await api.post("/v2/models/iris/infer", json={"inputs": inputs})
        assert three.json()["outputs"][0]["data"] == expected
        four = await api.post("/v1/models/iris/predict_proba", json={"rows": rows})
        assert np.allclose(four.json()["probabilities"], model.predict_proba(x[:4]), atol=1e-6)


def test_infinity_is_refused_as_xgboost_does(tmp_path: Path) -> None:
    model = load(save(booster(), tmp_path / "model", table()))
    for number in (np.inf, 1e300):
        with pytest.raises(ValueError, match="infinity"):
            model.engines.original(table()[:1].assign(a=number))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: booster(booster="dart"), "its booster is dart"),
        (lambda: booster(booster="gblinear", max_depth=None), "its booster is gblinear"),
        (lambda: booster("binary:hinge"), "its objective is binary:hinge"),
    ],
)
def test_what_is_not_served_is_refused_with_a_reason(
    tmp_path: Path, model: Callable[[], xgb.Booster], reason: str
) -> None:
    with pytest.raises(ModelRefusedError, match=reason):
        load(save(model(), tmp_path / "model", table()))


def test_columns_in_another_order_are_refused(tmp_path: Path) -> None:
    folder = save(booster(), tmp_path / "model", table())
    told = folder / "MLmodel"
    told.write_text(told.read_text().replace('"name": "a"', '"name": "z"'))
    with pytest.raises(ModelRefusedError, match="its columns are a, b, c, n"):
        load(folder)


def test_a_class_that_is_not_known_is_refused(tmp_path: Path) -> None:
    folder = save(booster(), tmp_path / "model", table())
    told = folder / "MLmodel"
    told.write_text(told.read_text().replace("xgboost.core.Booster", "os.system"))
    with pytest.raises(ModelRefusedError, match=r"it is a os\.system"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("left_children", 10_000, "leads out of itself"),
        ("left_children", 0, "has a circle"),
        ("right_children", 1, "has a circle"),
        ("right_children", -5, "leads out of itself"),
        ("split_indices", 4, "a column that is not there"),
        ("split_indices", -1, "a column that is not there"),
        ("split_type", 1, "split by categories"),
    ],
)
def test_a_tree_that_leads_nowhere_is_refused(
    tmp_path: Path, name: str, value: int, reason: str
) -> None:
    folder = save(booster(), tmp_path / "model", table(), model_format="json")
    document = json.loads((folder / "model.json").read_bytes())
    document["learner"]["gradient_booster"]["model"]["trees"][3][name][0] = value
    (folder / "model.json").write_text(json.dumps(document))
    with pytest.raises(ModelRefusedError, match=reason):
        load(folder)


@pytest.mark.parametrize("form", ["ubj", "json"])
def test_a_spoiled_file_is_refused_or_predicts(tmp_path: Path, form: str) -> None:
    folder = save(booster(rounds=3), tmp_path / "model", table(), model_format=form)
    file = folder / f"model.{form}"
    whole, chance = file.read_bytes(), random.Random(3)
    for number in range(400):
        text = bytearray(whole)
        begin = chance.randrange(len(text))
        if number % 4:
            text[begin : begin + 3] = chance.randbytes(chance.randrange(4))
        else:
            del text[begin:]
        file.write_bytes(text)
        try:
            load(folder)
        except ModelRefusedError:
            continue


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[" * 1000, b"[#L" + b"\x7f" * 8, b"[$d#L" + b"\x7f" * 8, b"{L" + b"\xff" * 8],
)
def test_numbers_of_things_that_are_not_there_take_no_memory(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_ubjson(data)
