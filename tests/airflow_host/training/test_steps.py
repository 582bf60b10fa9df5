import multiprocessing
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from sklearn.dummy import DummyClassifier
from sklearn.neighbors import KNeighborsClassifier

from airflow_host.training import signing, steps
from airflow_host.training.approval import approve
from airflow_host.training.candidates import TRUSTED_TYPES
from airflow_host.training.errors import BadData
from airflow_host.training.plan import CANDIDATES, Challenger, Job
from airflow_host.training.settings import TrainingSettings
from airflow_host.training.signature import signature
from hostkit.errors import HostError
from hostkit.signing import bundle, statement
from hostkit.signing.errors import BadSignatureError
from hostkit.signing.keys import make_key, read_private_key
from tests.airflow_host.training import tables
from tests.airflow_host.training.server import Server

pytestmark = [
    # MLflow compares columns in a way that Pandas has deprecated.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]

KILLED = 9


@dataclass
class Training:
    """What a user of the DAG has: a table, the settings, and MLflow to look into."""

    settings: TrainingSettings
    name: str
    folder: Path
    client: MlflowClient
    server: Server
    runs: int = 0

    @property
    def dag_run(self) -> dict[str, str]:
        return {"dag_id": "train_model", "dag_run_id": f"{self.name}-{self.runs}"}

    def read(self, table: pd.DataFrame, target: str = "weather", **given: Any) -> Job:
        self.runs += 1
        path = self.folder / f"table-{self.runs}.csv"
        path.write_bytes(tables.csv(table))
        given = {"model_name": self.name, **self.dag_run, **given}
        return steps.read_table(self.settings, data_uri=str(path), target=target, **given)

    def register(self, job: Job, candidates: tuple[str, ...] = CANDIDATES) -> Challenger:
        trained = [steps.train(self.settings, job, candidate) for candidate in candidates]
        return steps.register(self.settings, job, trained)

    def train(self, table: pd.DataFrame, target: str = "weather", **given: Any) -> dict[str, Any]:
        """All steps. One candidate is enough, except where it is about which is the best."""
        job = self.read(table, target, **given)
        return steps.promote(self.settings, job, self.register(job, ("linear",)))

    @property
    def champion(self) -> ModelVersion:
        return self.client.get_model_version_by_alias(self.name, "champion")

    @property
    def versions(self) -> list[ModelVersion]:
        return list(self.client.search_model_versions(f"name = '{self.name}'"))

    def found_runs(self) -> list[Any]:
        experiment = self.client.get_experiment_by_name(self.name)
        return list(self.client.search_runs([experiment.experiment_id])) if experiment else []

    def found_models(self) -> list[Any]:
        experiment = self.client.get_experiment_by_name(self.name)
        return (
            list(self.client.search_logged_models([experiment.experiment_id])) if experiment else []
        )


@pytest.fixture
def training(
    server: Server, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Training:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")
    mlflow.set_tracking_uri(server.url)
    (tmp_path / "MODEL_SIGNING_KEY").write_text(make_key())
    settings = TrainingSettings.model_validate(
        {
            "AIRFLOW_HOME": tmp_path / "airflow",
            "MLFLOW_TRACKING_URI": server.url,
            "TRAINING_DATA_FOLDERS": str(tmp_path),
            "MODEL_SIGNING_KEY_FILE": str(tmp_path / "MODEL_SIGNING_KEY"),
        }
    )
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_"))
    return Training(settings, name, tmp_path, MlflowClient(), server)


def killed_at(monkeypatch: pytest.MonkeyPatch, place: str, step: Callable[[], object]) -> None:
    """Runs a step in a process that is gone as soon as it comes to `place`."""
    with monkeypatch.context() as context:
        context.setattr(place, lambda *_arguments, **_named: os._exit(KILLED))
        process = multiprocessing.get_context("fork").Process(target=step)
        process.start()
        process.join()
    assert process.exitcode == KILLED


def test_iris_is_learned_from_where_nobody_names_a_table(training: Training) -> None:
    job = steps.read_table(
        training.settings, dag_id="train_model", dag_run_id="first", model_name=training.name
    )
    result = steps.promote(training.settings, job, training.register(job))

    assert result == {
        "model": {"name": training.name, "version": "1"},
        "promoted": True,
        "reason": f"{training.name} had no champion",
        "metric": "accuracy",
        "metrics": result["metrics"],
        "champion": {"version": "1"},
    }
    assert result["metrics"]["accuracy"] > 0.9
    assert str(training.champion.version) == "1"
    assert len(training.found_runs()) == len(CANDIDATES)


def test_the_settings_serve_where_the_request_says_nothing(training: Training) -> None:
    path = training.folder / "default.csv"
    path.write_bytes(tables.csv(tables.weather()))
    settings = training.settings.model_copy(
        update={
            "training_data_uri": str(path),
            "training_target": "weather",
            "training_model_name": "default",
            "training_margin": 0.25,
        }
    )

    job = steps.read_table(settings, dag_id="train_model", dag_run_id="run")

    assert (job.data_uri, job.target, job.model_name) == (str(path), "weather", "default")
    assert job.margin == 0.25
    assert (
        steps.read_table(settings, dag_id="train_model", dag_run_id="run", margin=0.0).margin == 0
    )


def test_a_run_tells_where_it_comes_from(training: Training) -> None:
    job = training.read(tables.mixed(), request_id="request-1")
    challenger = training.register(job, ("forest",))
    run = training.client.get_run(challenger.trained.run_id)

    assert run.info.run_name == "forest"
    assert run.info.status == "FINISHED"
    assert run.data.metrics == challenger.trained.metrics
    assert run.data.params["estimator"] == "RandomForestClassifier"
    assert run.data.params["kind"] == "classification"
    origin = {
        "dag_id": "train_model",
        "dag_run_id": job.dag_run_id,
        "request_id": "request-1",
        "data_uri": job.data_uri,
        "data_fingerprint": job.fingerprint,
    }
    assert origin.items() <= run.data.tags.items()
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.digest == job.fingerprint[:36]
    files = training.client.list_artifacts(challenger.trained.run_id)
    assert [file.path for file in files] == ["confusion_matrix.png"]


def test_a_version_is_logged_as_it_should_be(training: Training) -> None:
    job = training.read(tables.mixed(), request_id="request-1")
    challenger = training.register(job, ("linear",))
    steps.promote(training.settings, job, challenger)

    version = training.champion
    assert version.run_id == challenger.trained.run_id
    assert version.tags["promotion"] == "promoted"
    assert version.tags["promotion_reason"] == f"{training.name} had no champion"
    assert version.tags["request_id"] == "request-1"
    assert version.tags["data_fingerprint"] == job.fingerprint
    info = mlflow.models.get_model_info(f"models:/{training.name}@champion")
    assert info.flavors["sklearn"]["serialization_format"] == "skops"
    assert info.flavors["sklearn"]["skops_trusted_types"] == list(TRUSTED_TYPES)
    assert info.signature == signature(tables.samples(tables.mixed()))
    assert info.saved_input_example_info is not None
    model = training.client.get_logged_model(challenger.trained.model_id)
    assert {metric.key for metric in model.metrics or []} == set(challenger.trained.metrics)


@pytest.mark.parametrize(
    ("table", "target"), [(tables.mixed(), "weather"), (tables.rent(), "rent")]
)
@pytest.mark.parametrize("candidate", CANDIDATES)
def test_a_reloaded_model_predicts_the_same(
    training: Training, candidate: str, table: pd.DataFrame, target: str
) -> None:
    job = training.read(table, target)
    trained = steps.train(training.settings, job, candidate)
    features = tables.samples(table, target).features

    uri = f"models:/{trained.model_id}"
    plain, general = mlflow.sklearn.load_model(uri), mlflow.pyfunc.load_model(uri)

    np.testing.assert_array_equal(plain.predict(features), general.predict(features))
    accuracy = (plain.predict(features) == table[target]).mean()
    assert accuracy > 0.9 or target == "rent"


def test_a_better_model_takes_the_place_and_a_worse_one_does_not(training: Training) -> None:
    first = training.train(tables.weather(noise=2))
    better = training.train(tables.weather())
    worse = training.train(tables.weather(noise=2).head(40).merge(tables.weather(), how="outer"))

    assert first["promoted"]
    assert better["promoted"]
    assert re.fullmatch(
        r"accuracy [\d.]+ beats the champion's [\d.]+ by more than 0", better["reason"]
    )
    assert not worse["promoted"]
    assert worse["champion"] == {"version": "2"}
    assert str(training.champion.version) == "2"
    assert [version.tags["promotion"] for version in training.versions] == [
        "kept",
        "promoted",
        "promoted",
    ]


def test_an_equal_model_does_not_take_the_place(training: Training) -> None:
    training.train(tables.weather())
    again = training.train(tables.weather())

    assert not again["promoted"]
    assert again["model"]["version"] == "2"
    assert again["champion"] == {"version": "1"}
    assert "does not beat the champion's" in again["reason"]


def test_a_better_model_within_the_margin_does_not_take_the_place(training: Training) -> None:
    training.train(tables.weather(noise=2))
    better = training.train(tables.weather(), margin=1.0)

    assert not better["promoted"]
    assert better["reason"].endswith("by more than 1")


def test_less_error_takes_the_place(training: Training) -> None:
    noisy = tables.rent()
    noisy.loc[noisy.index % 2 == 0, "rent"] *= 3
    training.train(noisy, "rent")
    better = training.train(tables.rent(), "rent")

    assert better["promoted"]
    assert better["metric"] == "rmse"


@pytest.mark.parametrize(
    "place",
    [
        "mlflow.MlflowClient.log_batch",
        "mlflow.MlflowClient.log_inputs",
        "mlflow.MlflowClient.log_figure",
        "mlflow.MlflowClient.create_logged_model",
        "mlflow.sklearn.save_model",
        "airflow_host.training.signing.sign",
        "mlflow.MlflowClient.log_model_artifacts",
        "mlflow.MlflowClient.set_terminated",
        "airflow_host.training.steps.log.info",
    ],
)
def test_a_training_that_was_killed_goes_on(
    training: Training, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    job = training.read(tables.weather())
    killed_at(monkeypatch, place, lambda: steps.train(training.settings, job, "linear"))

    first = steps.train(training.settings, job, "linear")
    second = steps.train(training.settings, job, "linear")

    assert first == second
    (run,) = training.found_runs()
    assert run.info.status == "FINISHED"
    assert run.data.metrics == first.metrics
    (model,) = training.found_models()
    assert model.model_id == first.model_id
    assert mlflow.sklearn.load_model(f"models:/{model.model_id}").predict(
        tables.samples(tables.weather()).features
    ).shape == (80,)


@pytest.mark.parametrize(
    "place",
    [
        "mlflow.MlflowClient.create_registered_model",
        "mlflow.MlflowClient.create_model_version",
        "airflow_host.training.steps.log.info",
    ],
)
def test_a_registration_that_was_killed_makes_no_second_version(
    training: Training, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    job = training.read(tables.weather())
    trained = [steps.train(training.settings, job, "linear")]
    killed_at(monkeypatch, place, lambda: steps.register(training.settings, job, trained))

    first = steps.register(training.settings, job, trained)
    second = steps.register(training.settings, job, trained)

    assert first == second
    assert len(training.versions) == 1


@pytest.mark.parametrize(
    "place",
    [
        "mlflow.MlflowClient.set_model_version_tag",
        "mlflow.MlflowClient.set_registered_model_alias",
        "airflow_host.training.snapshot.forget",
        "airflow_host.training.steps.log.info",
    ],
)
def test_a_promotion_that_was_killed_ends_the_same(
    training: Training, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    training.train(tables.weather(noise=2))
    job = training.read(tables.weather())
    challenger = training.register(job, ("linear",))
    killed_at(monkeypatch, place, lambda: steps.promote(training.settings, job, challenger))

    first = steps.promote(training.settings, job, challenger)
    second = steps.promote(training.settings, job, challenger)

    assert first == second
    assert first["promoted"]
    assert "beats the champion's" in first["reason"]
    assert str(training.champion.version) == "2"
    assert training.champion.tags["promotion_reason"] == first["reason"]


def test_the_table_is_kept_until_the_training_is_over(training: Training) -> None:
    job = training.read(tables.weather())
    (training.folder / "table-1.csv").unlink()
    folder = training.settings.folder / "tables"

    challenger = training.register(job)
    assert [path.name for path in folder.iterdir()] == [job.fingerprint]

    steps.promote(training.settings, job, challenger)
    assert not list(folder.iterdir())


def test_the_best_candidate_is_registered(training: Training) -> None:
    job = training.read(tables.rent(), "rent")
    trained = [steps.train(training.settings, job, candidate) for candidate in CANDIDATES]

    challenger = steps.register(training.settings, job, trained)

    assert challenger.trained.metrics["rmse"] == min(one.metrics["rmse"] for one in trained)


def test_a_champion_with_other_columns_stays(training: Training) -> None:
    training.train(tables.weather())
    other = training.train(tables.mixed())

    assert not other["promoted"]
    assert "it does not know 'wind' (double), 'sky' (string)" in other["reason"]
    assert "move the alias by hand" in other["reason"]


def test_a_champion_with_another_target_stays(training: Training) -> None:
    training.train(tables.weather())
    other = training.train(tables.rent(), "rent")

    assert not other["promoted"]
    assert "it predicts 'weather' (string) rather than 'rent' (double)" in other["reason"]


def test_a_champion_whose_files_are_gone_is_replaced(training: Training, server: Server) -> None:
    training.train(tables.weather())
    model = training.found_models()[0]
    (files,) = server.folder.glob(f"artifacts/*/models/{model.model_id}")
    shutil.rmtree(files)

    after = training.train(tables.weather())

    assert after["promoted"]
    assert "its files are gone" in after["reason"]


@pytest.mark.parametrize("name", ["MLmodel", "model.skops"])
def test_a_champion_whose_files_are_broken_is_replaced(
    training: Training, server: Server, name: str
) -> None:
    training.train(tables.weather())
    model = training.found_models()[0]
    (file,) = server.folder.glob(f"artifacts/*/models/{model.model_id}/artifacts/{name}")
    file.write_bytes(b"\xff\0broken")

    after = training.train(tables.weather())

    assert after["promoted"]
    assert "so it can serve nobody" in after["reason"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"serialization_format": "pickle"}, "it cannot be loaded safely"),
        ({}, "it has no signature"),
        (
            {
                "signature": signature(tables.samples(tables.weather())),
                "skops_trusted_types": [
                    "sklearn.metrics._dist_metrics.EuclideanDistance64",
                    "sklearn.neighbors._kd_tree.KDTree",
                ],
            },
            "it holds types that train_model does not trust",
        ),
    ],
)
def test_a_champion_that_somebody_else_made_stays(
    training: Training, options: dict[str, Any], reason: str
) -> None:
    samples = tables.samples(tables.weather())
    model = (
        KNeighborsClassifier(algorithm="kd_tree")
        if "skops_trusted_types" in options
        else DummyClassifier()
    ).fit(samples.features, samples.target)
    mlflow.set_experiment(training.name)
    mlflow.sklearn.log_model(
        model, name="own", registered_model_name=training.name, pip_requirements=[], **options
    )
    training.client.set_registered_model_alias(training.name, "champion", "1")

    after = training.train(tables.weather())

    assert not after["promoted"]
    assert reason in after["reason"]


def test_bad_data_leaves_no_trace(training: Training) -> None:
    with pytest.raises(BadData, match="has no column 'rain': there are warmth, clouds, weather"):
        training.read(tables.weather(), "rain")

    assert training.found_runs() == []
    assert not (training.settings.folder / "tables").exists()


def test_a_run_with_another_table_is_another_training(training: Training) -> None:
    job = training.read(tables.weather())
    steps.train(training.settings, job, "linear")
    other = replace(training.read(tables.weather(90)), dag_run_id=job.dag_run_id)
    steps.train(training.settings, other, "linear")

    assert len(training.found_runs()) == 2


def signed(training: Training, version: ModelVersion) -> statement.Statement:
    """What the signature says that is beside the model of a version."""
    folder = artifacts(training, version)
    key = read_private_key(training.settings.model_signing_key_file.read_text()).public_key()
    content = (folder / statement.SIGNATURE_FILE).read_bytes()
    return statement.decode(bundle.unseal(content, [key]))


def identity(version: ModelVersion) -> statement.Identity:
    """Which model a version is, by what the registry knows."""
    return statement.Identity.of(version.name, version.run_id, version.source)


def artifacts(training: Training, version: ModelVersion) -> Path:
    """The folder on MLflow's disk that has the files of a version."""
    uri = training.client.get_model_version_download_uri(version.name, version.version)
    return training.server.folder / "artifacts" / uri.removeprefix("mlflow-artifacts:/")


def test_every_file_of_a_version_is_signed(training: Training) -> None:
    training.train(tables.weather())
    version = training.champion

    says = signed(training, version)

    says.check_identity(identity(version))
    says.check_files(statement.digests(artifacts(training, version)))
    assert {"MLmodel", "model.skops", "input_example.json"} <= says.files.keys()
    assert version.tags["signed_by"] == signing.fingerprint_of(
        training.settings.model_signing_key_file
    )
    assert says.identity.model_id


def test_what_is_changed_before_it_is_registered_stays_as_it_was_signed(
    training: Training,
) -> None:
    job = training.read(tables.weather())
    trained = steps.train(training.settings, job, "linear")
    [model] = (training.server.folder / "artifacts").rglob(f"{trained.model_id}/*/model.skops")
    model.write_bytes(model.read_bytes() + b"more")
    steps.promote(training.settings, job, steps.register(training.settings, job, [trained]))

    says = signed(training, training.champion)

    with pytest.raises(BadSignatureError, match=r"model\.skops is not the one that was signed"):
        says.check_files(statement.digests(artifacts(training, training.champion)))


def test_an_operator_signs_a_version_that_is_there(training: Training) -> None:
    training.train(tables.weather())
    version = training.champion
    (artifacts(training, version) / statement.SIGNATURE_FILE).unlink()
    before = training.client.get_registered_model(version.name).last_updated_timestamp
    key_file = training.settings.model_signing_key_file
    key_file.write_text(make_key())

    told = approve(training.settings.mlflow_tracking_uri, key_file, version.name, version.version)

    says = signed(training, version)
    says.check_identity(identity(version))
    says.check_files(statement.digests(artifacts(training, version)))
    assert training.champion.tags["signed_by"] == told
    assert training.client.get_registered_model(version.name).last_updated_timestamp > before


def test_what_is_not_there_cannot_be_signed(training: Training) -> None:
    with pytest.raises(HostError, match="version 9 of nothing cannot be signed"):
        approve(
            training.settings.mlflow_tracking_uri,
            training.settings.model_signing_key_file,
            "nothing",
            "9",
        )


def test_without_a_key_nothing_is_logged(training: Training) -> None:
    job = training.read(tables.weather())
    training.settings.model_signing_key_file.write_text("no key")
    with pytest.raises(HostError, match=r"MODEL_SIGNING_KEY in .* cannot be used"):
        steps.train(training.settings, job, "linear")
    assert [run.info.status for run in training.found_runs()] == ["FAILED"]
