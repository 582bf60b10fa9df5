import numpy as np
import pytest
import skops.io

from airflow_host.training import candidates
from airflow_host.training.plan import CANDIDATES
from tests.airflow_host.training.tables import mixed, rent, samples, weather

TABLES = {
    "numbers": samples(weather()),
    "mixed": samples(mixed()),
    "whole numbers": samples(
        weather().assign(weather=lambda frame: frame["weather"].map({"dry": 1, "wet": 0}))
    ),
    "flags": samples(weather().assign(weather=lambda frame: frame["weather"] == "dry")),
    "regression": samples(rent(), "rent"),
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("candidate", CANDIDATES)
def test_a_candidate_is_the_same_after_skops(candidate: str, table: str) -> None:
    learned = TABLES[table]
    pipeline = candidates.fit(candidate, learned)

    loaded = skops.io.loads(skops.io.dumps(pipeline), trusted=list(candidates.TRUSTED_TYPES))

    predictions = pipeline.predict(learned.features)
    assert predictions.dtype == loaded.predict(learned.features).dtype
    np.testing.assert_array_equal(predictions, loaded.predict(learned.features))


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_a_candidate_made_twice_is_the_same(candidate: str) -> None:
    one, other = (candidates.fit(candidate, TABLES["mixed"]) for _ in range(2))

    np.testing.assert_array_equal(
        one.predict_proba(TABLES["mixed"].features), other.predict_proba(TABLES["mixed"].features)
    )


@pytest.mark.parametrize(
    ("candidate", "table", "steps"),
    [
        ("linear", "numbers", ["scale", "linear"]),
        ("forest", "numbers", ["forest"]),
        ("boosting", "regression", ["boosting"]),
        ("linear", "mixed", ["prepare", "linear"]),
        ("forest", "mixed", ["prepare", "forest"]),
    ],
)
def test_a_pipeline_has_no_step_that_the_columns_do_not_need(
    candidate: str, table: str, steps: list[str]
) -> None:
    assert list(candidates.fit(candidate, TABLES[table]).named_steps) == steps


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_values_that_were_never_seen_are_predicted_from(candidate: str) -> None:
    pipeline = candidates.fit(candidate, TABLES["mixed"])
    row = TABLES["mixed"].features.head(1)

    for strange in ({"sky": "pink"}, {"sky": None}, {"wind": float("nan")}):
        assert pipeline.predict(row.assign(**strange))[0] in ("dry", "wet")


def test_a_text_column_with_many_values_takes_few_columns() -> None:
    frame = weather(400).assign(city=[f"city {number % 100}" for number in range(400)])
    pipeline = candidates.fit("linear", samples(frame))

    assert pipeline[-1].n_features_in_ == 2 + candidates.MOST_CATEGORIES


def test_a_long_table_does_not_make_trees_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "MOST_LEAVES", 10)

    forest = candidates.fit("forest", TABLES["regression"])[-1]

    assert max(tree.get_n_leaves() for tree in forest.estimators_) <= 10


def test_parameters_name_the_estimator() -> None:
    parameters = candidates.parameters(candidates.fit("forest", TABLES["numbers"]))

    assert parameters["estimator"] == "RandomForestClassifier"
    assert parameters["n_estimators"] == 100
