"""Models of LightGBM: the answers of the library itself, from a file that it need not open."""

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest

from api_host.errors import ModelRefusedError
from api_host.models.model import Model, load
from api_host.settings import ApiSettings
from tests.api_host.conftest import Start, until_served
from tests.api_host.registry_server import RegistryServer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow.lightgbm
    from mlflow.models import infer_signature

CLASSES = ("multiclass", "multiclassova")
POSITIVE = ("poisson", "gamma", "tweedie")
RANKS = ("lambdarank", "rank_xendcg")
CHANCES = ("binary", "cross_entropy")


def table(rows: int = 300) -> pd.DataFrame:
    """Numbers with gaps, some of them whole."""
    found = np.random.default_rng(2)
    frame = pd.DataFrame(found.normal(size=(rows, 3)), columns=list("abc"))
    frame["n"] = found.integers(0, 9, rows)
    frame.loc[::7, "b"] = np.nan
    return frame


def with_more_gaps() -> pd.DataFrame:
    """The same with a gap in each row, also in columns that had none when the trees were made."""
    rows = table().astype({"n": float})
    for at, name in enumerate(rows):
        rows.loc[at :: len(rows.columns), name] = np.nan
    return rows


def booster(objective: str = "binary", rounds: int = 20, **more: Any) -> lgb.Booster:
    """A booster that has learned something."""
    x = table()
    y = x["a"] * 3 + x["n"]
    if objective in CHANCES:
        y = (y > 3).astype(float)
    if objective in CLASSES:
        y = pd.cut(y, 3, labels=False)
        more["num_class"] = 3
    if objective in POSITIVE:
        y = np.exp(y / 9) + 0.5
    group = None
    if objective in RANKS:
        y, group = pd.cut(y, 4, labels=False), [30] * 10
    options = {"objective": objective, "verbose": -1, "num_leaves": 9, "num_threads": 1, **more}
    return lgb.train(options, lgb.Dataset(x, y, group=group), rounds)


def save(model: Any, folder: Path, example: pd.DataFrame | None = None) -> Path:
    """Writes a model as a training would."""
    rows = table() if example is None else example
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.lightgbm.save_model(
            model,
            folder,
            input_example=rows[:3],
            signature=infer_signature(rows),
            pip_requirements=["lightgbm"],
        )
    return folder


def assert_same(folder: Path, rows: pd.DataFrame) -> Model:
    """Compares with MLflow, all rows together and one alone, as data frame and as numbers."""
    ours, theirs = load(folder), mlflow.pyfunc.load_model(str(folder))
    library = theirs.get_raw_model()
    assert ours.signature is not None
    for part in (rows, rows[:1]):
        expected = library.predict(part)
        checked = part.astype(object).where(part.notna(), None).to_dict("records")
        if not part["n"].hasnans:
            checked = [{**row, "n": int(row["n"])} for row in checked]
            found = ours.predict(ours.signature.from_rows(checked))
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        found = ours.engines.original(part)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    return ours


@pytest.mark.parametrize(
    "objective",
    [
        "regression", "regression_l1", "huber", "fair", "quantile", "mape",
        *CHANCES, *CLASSES, *POSITIVE, *RANKS,
    ],
)  # fmt: skip
def test_a_booster_predicts_as_with_mlflow(tmp_path: Path, objective: str) -> None:
    folder = save(booster(objective), tmp_path / "model")
    assert_same(folder, table())
    assert_same(folder, with_more_gaps())


@pytest.mark.parametrize(
    "options",
    [
        {"boosting": "dart"},
        {"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1},
        {"use_missing": False},
        {"min_data_in_leaf": 1000},
        {"sigmoid": 2.5},
        {"max_depth": 1, "feature_fraction": 0.5},
        {"boost_from_average": False, "learning_rate": 0.9},
    ],
    ids=["dart", "forest", "no gaps", "only roots", "sigmoid", "stumps", "from nothing"],
)
def test_trees_of_every_kind_are_read(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = save(booster(**options), tmp_path / "model")
    assert_same(folder, table())
    assert_same(folder, with_more_gaps())


def test_numbers_on_a_threshold_and_infinite_ones_go_where_lightgbm_sends_them(
    tmp_path: Path,
) -> None:
    model = booster()
    trees = model.trees_to_dataframe().dropna(subset=["threshold"])
    found = trees.loc[trees["split_feature"] == "a", "threshold"].to_numpy()
    rows = table(len(found) * 2 + 2)
    around = [found, np.nextafter(found, np.inf), [np.inf, -np.inf]]
    rows["a"] = np.concatenate(around)
    ours = load(save(model, tmp_path / "model"))
    np.testing.assert_allclose(ours.engines.original(rows), model.predict(rows), rtol=1e-12)


def test_one_that_stopped_early_predicts_with_its_best_trees(tmp_path: Path) -> None:
    x = table()
    noise = np.random.default_rng(5).normal(size=len(x))
    model = lgb.train(
        {"objective": "regression", "verbose": -1, "metric": "l2", "num_leaves": 9},
        lgb.Dataset(x[:200], noise[:200]),
        60,
        valid_sets=[lgb.Dataset(x[200:], noise[200:])],
        callbacks=[lgb.early_stopping(5, verbose=False)],
    )
    assert 0 < model.best_iteration < 60
    assert_same(save(model, tmp_path / "model"), x)


@pytest.mark.anyio
async def test_it_is_served_by_every_protocol(
    registry: RegistryServer, settings: ApiSettings, start: Start, tmp_path: Path
) -> None:
    model, x = booster("multiclass"), table().dropna()
    registry.promote("iris", save(model, tmp_path / "model", x))
    rows = x[:4].to_dict(orient="records")
    expected = model.predict(x[:4])
    async with start(settings) as api:
        await until_served(api, "1")
        described = (await api.get("/v1/models/iris")).json()
        assert described["flavor"] == "lightgbm"
        assert described["engine"]["rows"] == [{"from": 1, "to": None, "engine": "onnxruntime"}]
        one = await api.post("/v1/models/iris/predict", json={"rows": rows})
        assert np.allclose(one.json()["predictions"], expected)
        two = await api.post("/invocations", json={"dataframe_records": rows})
        assert np.allclose(two.json()["predictions"], expected)
        inputs = [
            {"name": name, "datatype": kind, "shape": [4], "data": x[name][:4].tolist()}
            for name, kind in zip(x.columns, ["FP64", "FP64", "FP64", "INT64"], strict=True)
        ]
        three = await api.post("/v2/models/iris/infer", json={"inputs": inputs})
        [output] = three.json()["outputs"]
        assert np.allclose(np.reshape(output["data"], output["shape"]), expected)


def by_category() -> lgb.Booster:
    x = table().assign(city=pd.Categorical(list("xyz") * 100))
    return lgb.train({"verbose": -1, "min_data_per_group": 1}, lgb.Dataset(x, x["n"]), 3)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: booster("regression", linear_tree=True), "a linear model in each leaf"),
        (lambda: booster(zero_as_missing=True), "take 0 for a missing value"),
        (lambda: booster("regression", reg_sqrt=True), "its objective is regression sqrt"),
        (by_category, "split by categories"),
        (lambda: lgb.LGBMRegressor(verbose=-1, n_estimators=2).fit(table(), table()["n"]),
         r"mlflow\.lightgbm\.log_model\(model\.booster_\)"),
    ],
    ids=["linear", "zeros", "root", "categories", "of scikit-learn's kind"],
)  # fmt: skip
def test_what_is_not_served_is_refused_with_a_reason(
    tmp_path: Path, model: Callable[[], Any], reason: str
) -> None:
    found = model()
    folder = tmp_path / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.lightgbm.save_model(found, folder, pip_requirements=["lightgbm"])
    with pytest.raises(ModelRefusedError, match=reason):
        load(folder)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("left_child", "500", "leads out of itself"),
        ("left_child", "0", "has a circle"),
        ("right_child", "-500", "leads out of itself"),
        ("split_feature", "4", "a column that is not there"),
        ("split_feature", "-1", "a column that is not there"),
        ("decision_type", "1", "split by categories"),
        ("threshold", "nan", "are not 8 numbers"),
        ("leaf_value", "inf", "are not 9 numbers"),
        ("decision_type", "2.5", "no whole numbers"),
        ("num_leaves", "99999999", "more than"),
    ],
)
def test_a_tree_that_leads_nowhere_is_refused(
    tmp_path: Path, name: str, value: str, reason: str
) -> None:
    folder = save(booster(), tmp_path / "model")
    file = folder / "model.lgb"
    before, _, rest = file.read_text().partition(f"\n{name}=")
    first, separator, others = rest.partition("\n" if name == "num_leaves" else " ")
    assert first
    file.write_text(f"{before}\n{name}={value}{separator}{others}")
    with pytest.raises(ModelRefusedError, match=reason):
        load(folder)


def test_a_signature_of_other_columns_is_refused(tmp_path: Path) -> None:
    x = table().assign(more=1.0)
    with pytest.raises(ModelRefusedError, match="it takes 4 columns, and its signature has 5"):
        load(save(booster(), tmp_path / "model", x))


def test_a_spoiled_file_is_refused_or_predicts(tmp_path: Path) -> None:
    folder = save(booster(rounds=3), tmp_path / "model")
    file = folder / "model.lgb"
    whole, chance = file.read_bytes(), random.Random(3)
    for number in range(300):
        text = bytearray(whole)
        begin = chance.randrange(len(text) // 3)
        if number % 4:
            text[begin : begin + 3] = chance.randbytes(chance.randrange(4))
        else:
            del text[begin:]
        file.write_bytes(text)
        try:
            load(folder)
        except ModelRefusedError:
            continue
