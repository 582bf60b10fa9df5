"""Trees as ONNX models, against scikit-learn."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from threadpoolctl import threadpool_limits

from api_host.compiled import trees
from api_host.compiled.engines import NoEngineError
from api_host.compiled.onnx_trees import FEWEST_TREES, MANY_ROWS, write_onnx
from api_host.compiled.protobuf import packed
from api_host.compiled.trees import Ensemble, Tree, before_rounding
from tests.api_host.twins import Twins, cancer, iris, rows_near, with_gaps

X, SPECIES = iris()
WIDE, SICK = cancer()
GAPS = with_gaps(X)
LENGTH = X[:, 0] * 2 + X[:, 3]
FEW = {"random_state": 0, "n_estimators": 10}
SOME: dict[str, Any] = {"random_state": 0, "max_iter": 10, "min_samples_leaf": 5}

CLASSIFIERS: dict[str, Any] = {
    "tree": DecisionTreeClassifier(random_state=0, min_samples_leaf=2),
    "forest": RandomForestClassifier(**FEW),
    "forest of large leaves": RandomForestClassifier(min_samples_leaf=5, **FEW),
    "extra trees": ExtraTreesClassifier(**FEW),
    "boosting": GradientBoostingClassifier(**FEW),
    "boosting from zero": GradientBoostingClassifier(init="zero", **FEW),
    "histograms": HistGradientBoostingClassifier(**SOME),
    "scaled forest": make_pipeline(StandardScaler(), RandomForestClassifier(**FEW)),
}
REGRESSORS: dict[str, Any] = {
    "tree": DecisionTreeRegressor(random_state=0),
    "forest": RandomForestRegressor(**FEW),
    "extra trees": ExtraTreesRegressor(**FEW),
    "boosting": GradientBoostingRegressor(**FEW),
    "boosting of absolute errors": GradientBoostingRegressor(loss="absolute_error", **FEW),
    "histograms": HistGradientBoostingRegressor(**SOME),
    "histograms of counts": HistGradientBoostingRegressor(loss="poisson", **SOME),
    "filled forest": make_pipeline(SimpleImputer(), RandomForestRegressor(**FEW)),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with threadpool_limits(1):  # The originals would wait for cores that other tests use.
        yield


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("classes", [2, 3])
def test_classifiers_give_the_labels_and_probabilities_of_the_original(
    name: str, classes: int
) -> None:
    rows, labels = (WIDE, SICK > 0) if classes == 2 else (X, SPECIES)
    model = CLASSIFIERS[name].fit(rows, labels)
    for function in ("predict", "predict_proba", "predict_log_proba"):
        if hasattr(model, function):
            twins = Twins.of(model, function)
            assert twins.assert_equal(rows)
            assert twins.assert_equal(rows[:1])


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors_give_the_numbers_of_the_original(name: str) -> None:
    twins = Twins.of(REGRESSORS[name].fit(X, LENGTH))
    assert twins.assert_equal(X)
    assert twins.assert_equal(X[:1])


def test_the_sums_are_those_of_the_original_to_the_bit() -> None:
    for name in ("forest", "boosting", "histograms"):
        twins = Twins.of(REGRESSORS[name].fit(X, LENGTH))
        answers = twins.engine.predict(X)
        assert answers is not None
        assert answers.tolist() == twins.ask(X).tolist()


TWINS = {
    "tree with gaps": Twins.of(DecisionTreeClassifier(random_state=0).fit(GAPS, SPECIES)),
    "forest": Twins.of(RandomForestClassifier(**FEW).fit(X, SPECIES), "predict_proba"),
    "forest of two": Twins.of(RandomForestClassifier(**FEW).fit(X, SPECIES == "virginica")),
    "forest with gaps": Twins.of(RandomForestRegressor(**FEW).fit(GAPS, LENGTH)),
    "boosting": Twins.of(GradientBoostingClassifier(**FEW).fit(X, SPECIES), "predict_proba"),
    "histograms": Twins.of(HistGradientBoostingRegressor(**SOME).fit(X, LENGTH)),
    "histograms with gaps": Twins.of(
        HistGradientBoostingClassifier(**SOME).fit(GAPS, SPECIES), "predict_proba"
    ),
}


@given(data=st.data(), name=st.sampled_from(sorted(TWINS)))
def test_no_row_takes_another_way_through_the_trees(data: Any, name: str) -> None:
    twins = TWINS[name]
    twins.assert_equal(data.draw(rows_near(twins, X)))


@pytest.mark.parametrize("name", ["tree with gaps", "forest with gaps", "histograms with gaps"])
def test_missing_values_go_the_way_that_was_learned(name: str) -> None:
    assert TWINS[name].assert_equal(GAPS)
    assert TWINS[name].assert_equal(np.full((1, 4), np.nan))


def test_missing_values_that_the_original_refuses_are_left_to_it() -> None:
    assert TWINS["boosting"].engine.predict(GAPS) is None
    with pytest.raises(ValueError, match="NaN"):
        TWINS["boosting"].ask(GAPS)


@pytest.mark.parametrize("count", [MANY_ROWS - 1, MANY_ROWS, 1000])
@pytest.mark.parametrize("name", ["regressor", "classifier"])
def test_many_rows_are_answered_in_the_order_in_which_they_are_asked(name: str, count: int) -> None:
    many = {"random_state": 0, "n_estimators": FEWEST_TREES}
    rows = np.random.default_rng(0).permutation(np.resize(GAPS, (1000, GAPS.shape[1])))[:count]
    twins = (
        Twins.of(RandomForestRegressor(**many).fit(GAPS, LENGTH))
        if name == "regressor"
        else Twins.of(RandomForestClassifier(**many).fit(GAPS, SPECIES), "predict_proba")
    )
    assert twins.assert_equal(rows)
    together = twins.engine.predict(rows)
    few = [twins.engine.predict(rows[start : start + 10]) for start in range(0, count, 10)]
    assert together is not None
    assert together.tolist() == [
        answer for each in few if each is not None for answer in each.tolist()
    ]


def test_ten_classes() -> None:
    rows, digits = load_digits(return_X_y=True)
    twins = Twins.of(RandomForestClassifier(**FEW).fit(rows, digits))
    assert twins.assert_equal(rows)


def test_columns_of_float32_that_are_scaled() -> None:
    rows = WIDE.astype(np.float32)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(**FEW)).fit(rows, SICK)
    assert Twins.of(model, "predict_proba", np.float32).assert_equal(rows.astype(float))


def test_a_model_whose_trees_never_split() -> None:
    model = HistGradientBoostingRegressor(min_samples_leaf=100).fit(X, LENGTH)
    assert Twins.of(model).assert_equal(X)


def test_of_two_classes_that_are_as_likely_the_original_chooses() -> None:
    # Leaves of a third and two thirds: sums that come near one half in more than one way.
    rows = np.repeat(np.arange(2.0), 3).reshape(-1, 1)
    model = RandomForestClassifier(2, bootstrap=False, random_state=0)
    model.fit(rows, [0, 0, 1, 0, 1, 1])
    model.estimators_[1].tree_.value[:] = model.estimators_[1].tree_.value[:, :, ::-1]
    twins = Twins.of(model)
    assert twins.engine.predict(rows[:1]) is None
    assert Twins.of(model, "predict_proba").assert_equal(rows)


def test_the_runtime_leaves_nothing_behind_and_reports_to_nobody(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    model = tmp_path / "model.onnx"
    model.write_bytes(write_onnx(Ensemble([(Tree.constant(3.5), 0)], 1, takes_gaps=True), 2))
    program = (
        "import numpy, pathlib, sys; from api_host.compiled.onnx_session import open_session;"
        "model = open_session(pathlib.Path(sys.argv[1]).read_bytes());"
        "print(model(numpy.zeros((1, 2)))[0, 0])"
    )
    environment = {"HOME": str(tmp_path / "home"), "PYTHONPATH": ":".join(sys.path)}
    run = [sys.executable, "-c", program, str(model)]
    said = subprocess.run(run, env=environment, check=True, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("3.5\n", "")
    assert list((tmp_path / "home").iterdir()) == []


SINGLES = st.floats(-1e6, 1e6, width=32)


@given(threshold=SINGLES | st.floats(-1e6, 1e6), near=SINGLES, steps=st.integers(-2, 2))
def test_a_moved_threshold_parts_numbers_as_rounding_does(
    threshold: float, near: float, steps: int
) -> None:
    single = np.float32(threshold)
    middle = (float(single) + float(np.nextafter(single, np.float32(np.inf)))) / 2
    moved = before_rounding(np.array([threshold]))[0]
    for start in (threshold, float(single), middle, float(moved), near):
        number = start + steps * np.spacing(start)
        assert (number <= moved) == (float(np.float32(number)) <= threshold)


@given(values=st.lists(st.integers(0, 2**40), max_size=20))
def test_packed_numbers_are_read_as_what_they_were(values: list[int]) -> None:
    read, number, shift = [], 0, 0
    for byte in packed(np.array(values, dtype=np.int64)):
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            read.append(number)
            number, shift = 0, 0
    assert read == values


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (GradientBoostingRegressor(init=Ridge(), **FEW).fit(X, LENGTH), "with an init has no"),
        (RandomForestRegressor(**FEW).fit(X, X), "of several answers a row has no"),
        (
            HistGradientBoostingRegressor(categorical_features=[0], max_iter=2).fit(
                np.c_[np.arange(150) % 3, X], LENGTH
            ),
            "with categories has no",
        ),
    ],
    ids=["init", "several", "categories"],
)
def test_what_is_not_known_well_is_not_compiled(model: Any, reason: str) -> None:
    with pytest.raises(NoEngineError, match=reason):
        Twins.of(model)


def test_trees_that_would_take_too_much_memory_are_not_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trees, "MOST_NODES", 100)
    with pytest.raises(NoEngineError, match="nodes; up to 100 are compiled"):
        Twins.of(RandomForestRegressor(**FEW).fit(X, LENGTH))
