"""The way of a model through the three hosts, as their users go it."""

from collections import defaultdict
from pathlib import Path

import httpx
import pytest

from dev_hosts.errors import JourneyError
from dev_hosts.hosts import Hosts
from dev_hosts.journey import Journey, Version, predict, train, wait_until_served
from dev_hosts.progress import Progress
from tests.integration.load import predicting
from tests.integration.tables import EXAMPLE, write_learnable, write_random


def train_weather(
    hosts: Hosts, api: httpx.Client, progress: Progress, name: str, table: str, margin: float = 0.0
) -> Version:
    """Trains a model of that name, and returns the champion when the API serves it."""
    _, outcome = train(
        hosts, api, progress, model_name=name, data_uri=table, target="weather", margin=margin
    )
    champion = Version(name=name, version=outcome.champion.version)
    wait_until_served(hosts, api, champion, progress)
    return champion


def test_the_shipped_example_is_trained_promoted_served_and_predicts(
    journey: Journey,
) -> None:
    assert journey.outcome.promoted
    assert journey.model.name == "iris"
    assert journey.model.alias == "champion"
    assert journey.model.metrics["accuracy"] > 0.85
    assert set(journey.prediction.predictions) <= {"setosa", "versicolor", "virginica"}
    assert journey.prediction.model.version == journey.model.version


def test_the_api_says_where_the_version_comes_from(
    journey: Journey, hosts: Hosts, api: httpx.Client
) -> None:
    lineage = api.get(f"/v1/models/{journey.model.name}").json()["lineage"]
    assert lineage["dag_id"] == "train_model"
    assert lineage["dag_run_id"]
    assert lineage["run_url"].startswith(hosts.urls["mlflow"])
    assert lineage["data"]["name"] == "iris.csv"
    assert lineage["data"]["rows"] == 150
    assert len(lineage["data"]["fingerprint"]) == 64


def test_a_better_model_is_served_under_load_without_one_failed_or_mixed_answer(
    hosts: Hosts, api: httpx.Client, progress: Progress, tables: Path
) -> None:
    first = train_weather(hosts, api, progress, "better", write_random(tables / "random.csv"))
    rows = [{"warmth": float(warmth), "clouds": 15.0} for warmth in range(30)]
    with predicting(f"{hosts.urls['api']}/v1/models/better/predict", rows) as load:
        table = write_learnable(tables / "learnable.csv")
        _, outcome = train(
            hosts, api, progress, model_name="better", data_uri=table, target="weather"
        )
        champion = Version(name="better", version=outcome.champion.version)
        wait_until_served(hosts, api, champion, progress)
    assert outcome.promoted
    assert load.errors == []
    assert {status for status, _, _ in load.answers} == {200}
    assert load.versions() == {first.version, champion.version}
    answers_of = defaultdict(set)
    for _, version, predictions in load.answers:
        answers_of[version].add(predictions)
    assert [len(answers) for answers in answers_of.values()] == [1, 1]


def test_a_model_that_is_not_better_is_refused_and_says_why(
    hosts: Hosts, api: httpx.Client, mlflow: httpx.Client, progress: Progress, tables: Path
) -> None:
    champion = train_weather(hosts, api, progress, "kept", write_learnable(tables / "l.csv"))
    table = write_random(tables / "random.csv")
    _, outcome = train(
        hosts, api, progress, model_name="kept", data_uri=table, target="weather", margin=0.4
    )
    assert not outcome.promoted
    assert outcome.champion.version == champion.version
    assert outcome.model.version != champion.version
    version = mlflow.get(
        "/api/2.0/mlflow/model-versions/get",
        params={"name": "kept", "version": outcome.model.version},
    ).json()["model_version"]
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert tags["promotion"] == "kept"
    assert tags["promotion_reason"] == outcome.reason
    model = wait_until_served(hosts, api, champion, progress)
    assert predict(api, model).model.version == champion.version


def test_names_in_a_table_are_no_more_than_names(
    hosts: Hosts, api: httpx.Client, progress: Progress, tables: Path
) -> None:
    names = ("=1+1", "{{ 7 * 7 }}", "$(touch x)")
    classes = {"dry": "$\\foo$", "wet": "{{ ti.run_id }}"}
    table = write_learnable(tables / "hostile.csv", names=names, classes=classes)
    _, outcome = train(
        hosts, api, progress, model_name="names", data_uri=table, target="$(touch x)"
    )
    champion = Version(name="names", version=outcome.champion.version)
    model = wait_until_served(hosts, api, champion, progress)
    assert set(model.example[0]) == {"{{ 7 * 7 }}", "=1+1"}
    assert set(predict(api, model).predictions) <= set(classes.values())


def test_a_table_elsewhere_is_refused_with_the_setting_that_allows_it(
    hosts: Hosts, api: httpx.Client, progress: Progress, tmp_path: Path
) -> None:
    table = write_learnable(tmp_path / "table.csv")
    with pytest.raises(JourneyError, match=f"{table} is not below .*TRAINING_DATA_FOLDERS"):
        train(hosts, api, progress, model_name="refused", data_uri=table, target="weather")
    url = f"{hosts.urls['api']}/v1/models"
    with pytest.raises(JourneyError, match=r"this machine itself.*TRAINING_DATA_HOSTS"):
        train(hosts, api, progress, model_name="refused", data_uri=url, target="weather")


def test_bad_data_fails_at_once_with_a_sentence_in_the_apis_answer(
    hosts: Hosts, api: httpx.Client, progress: Progress, tables: Path
) -> None:
    table = write_learnable(tables / "table.csv")
    with pytest.raises(JourneyError, match=r"'sunshine'.*warmth"):
        train(hosts, api, progress, model_name="bad", data_uri=table, target="sunshine")


def test_the_same_idempotency_key_starts_one_training(hosts: Hosts, api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "a nightly job"}
    answers = [api.post("/v1/trainings", json={}, headers=headers) for _ in range(2)]
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_a_request_id_goes_from_the_api_through_airflow_to_mlflow(
    hosts: Hosts,
    api: httpx.Client,
    airflow: httpx.Client,
    mlflow: httpx.Client,
    progress: Progress,
    tables: Path,
) -> None:
    api.headers["X-Request-ID"] = "follow-me-42"
    table = write_learnable(tables / "table.csv")
    training, outcome = train(
        hosts, api, progress, model_name="traced", data_uri=table, target="weather"
    )
    run = airflow.get(f"/api/v2/dags/train_model/dagRuns/{training}").json()
    assert run["conf"]["request_id"] == "follow-me-42"
    version = mlflow.get(
        "/api/2.0/mlflow/model-versions/get",
        params={"name": "traced", "version": outcome.model.version},
    ).json()["model_version"]
    assert {"key": "request_id", "value": "follow-me-42"} in version["tags"]
    assert "follow-me-42" in hosts.log("api").read_text()


def test_predictions_go_on_while_mlflow_and_airflow_are_away_even_after_a_restart(
    hosts: Hosts, api: httpx.Client, progress: Progress, tables: Path
) -> None:
    champion = train_weather(hosts, api, progress, "steady", write_learnable(tables / "t.csv"))
    others = [name for name in hosts.names if name != "api"]
    predictions = api.post("/v1/models/steady/predict", json={"rows": [EXAMPLE]})
    hosts.stop(others)
    try:
        assert (
            api.post("/v1/models/steady/predict", json={"rows": [EXAMPLE]}).json()
            == predictions.json()
        )
        refused = api.post("/v1/trainings", json={})
        assert refused.status_code == 503
        assert "Retry-After" in refused.headers
        assert refused.headers["Content-Type"] == "application/problem+json"
        hosts.stop(["api"])
        hosts.start(progress, ["api"])
        wait_until_served(hosts, api, champion, progress)
        again = api.post("/v1/models/steady/predict", json={"rows": [EXAMPLE]}).json()
        assert again["predictions"] == predictions.json()["predictions"] == ["dry"]
        assert "mlflow" in api.get("/", headers={"Accept": "application/json"}).text
    finally:
        hosts.start(progress, others)
