import numpy as np
import pytest

from airflow_host.training import candidates
from airflow_host.training.evaluation import evaluate, primary
from airflow_host.training.plan import CANDIDATES
from airflow_host.training.promotion import CRITERIA
from airflow_host.training.split import split
from tests.airflow_host.training.tables import PLACE, rent, samples, weather


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_classes_have_the_usual_metrics(candidate: str) -> None:
    halves = split(samples(weather(200)), place=PLACE)

    metrics = evaluate(candidates.fit(candidate, halves.learned), halves.held_out)

    assert set(metrics) == {"accuracy", "f1_macro", "log_loss", "roc_auc"}
    assert metrics["accuracy"] > 0.8
    assert metrics["roc_auc"] > 0.9


def test_more_than_two_classes_have_them_too() -> None:
    frame = weather(200)
    frame.loc[frame["clouds"] > 20, "weather"] = "storm"
    halves = split(samples(frame), place=PLACE)

    metrics = evaluate(candidates.fit("forest", halves.learned), halves.held_out)

    assert all(np.isfinite(list(metrics.values())))


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_numbers_have_the_usual_metrics(candidate: str) -> None:
    halves = split(samples(rent(200), "rent"), place=PLACE)

    metrics = evaluate(candidates.fit(candidate, halves.learned), halves.held_out)

    assert set(metrics) == {"rmse", "mae", "r2"}
    assert metrics["r2"] > 0.9


@pytest.mark.parametrize("table", [samples(weather(200)), samples(rent(200), "rent")])
def test_the_primary_metric_is_one_of_them(table: object) -> None:
    halves = split(table, place=PLACE)  # type: ignore[arg-type]
    pipeline = candidates.fit("linear", halves.learned)
    criterion = CRITERIA[halves.held_out.kind]

    predictions = pipeline.predict(halves.held_out.features)

    metrics = evaluate(pipeline, halves.held_out)
    assert primary(halves.held_out, predictions) == metrics[criterion.metric]
    assert criterion.tie in metrics
