"""A candidate's run in MLflow: one for each, however often its task is tried."""

import importlib.metadata
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import mlflow.pyfunc
import mlflow.sklearn
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
)
from mlflow.models import Model
from sklearn.pipeline import Pipeline

from airflow_host.training import candidates, signing, source
from airflow_host.training.evaluation import evaluate
from airflow_host.training.pictures import picture
from airflow_host.training.plan import Job, Trained
from airflow_host.training.signature import signature
from airflow_host.training.split import Split
from hostkit import release
from hostkit.signing.statement import Identity

EXAMPLE_ROWS = 5
MOST_CHARACTERS = 1000
"""Of a parameter: MLflow takes more, but nobody reads it."""

_REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "skops")
"""What it takes to load such a model."""


def tags(job: Job) -> dict[str, str]:
    """What tells, in MLflow, where a run or a version comes from."""
    found = {
        "dag_id": job.dag_id,
        "dag_run_id": job.dag_run_id,
        "request_id": job.request_id,
        "data_uri": source.public(job.data_uri),
        "data_fingerprint": job.fingerprint,
        "git_revision": release.describe(()).revision,
    }
    return {name: value for name, value in found.items() if value}


def find(client: MlflowClient, job: Job, candidate: str) -> Trained | Run | None:
    """What an earlier try of the task left: all of it, a run to go on with, or nothing."""
    experiment = mlflow.set_experiment(job.model_name)
    found = client.search_runs(
        [experiment.experiment_id],
        f"tags.dag_run_id = '{job.dag_run_id}' and tags.candidate = '{candidate}'"
        f" and tags.data_fingerprint = '{job.fingerprint}'",
        max_results=1,
    )
    if not found:
        return None
    run = found[0]
    model = _model(client, run)
    if model is None or run.info.status != "FINISHED":
        return run
    return Trained(candidate, run.info.run_id, model.model_id, dict(run.data.metrics))


def log(
    client: MlflowClient,
    key_file: Path,
    job: Job,
    candidate: str,
    pipeline: Pipeline,
    *,
    split: Split,
    run: Run | None,
) -> Trained:
    """Records a candidate: parameters, table, picture, model and metrics. Gives what was recorded.

    `key_file`: the key that signs the model.
    `run`: where an earlier try began to.
    """
    metrics = evaluate(pipeline, split.held_out)
    with _open(client, job, candidate, run) as run_id:
        client.log_batch(run_id, params=_parameters(job, pipeline, split))
        client.log_inputs(run_id, _inputs(job, split))
        name, figure = picture(
            split.held_out,
            pipeline.predict(split.held_out.features),
            title=f"{job.model_name}: {candidate}, {len(split.held_out.target)} rows held out",
        )
        client.log_figure(run_id, figure, name)
        model = _model(client, run) if run else None
        model_id = (
            model.model_id
            if model
            else _log_model(
                client, key_file, job, candidate, run_id=run_id, pipeline=pipeline, split=split
            )
        )
        now = time.time_ns() // 1_000_000
        client.log_batch(
            run_id,
            [Metric(name, value, now, 0, model_id=model_id) for name, value in metrics.items()],
        )
    return Trained(candidate, run_id, model_id, metrics)


@contextmanager
def _open(client: MlflowClient, job: Job, candidate: str, run: Run | None) -> Iterator[str]:
    """A run that is finished when what is done with it is, or failed."""
    if run is None:
        experiment = mlflow.set_experiment(job.model_name)
        run = client.create_run(
            experiment.experiment_id, run_name=candidate, tags=_run_tags(job, candidate)
        )
    run_id: str = run.info.run_id
    try:
        yield run_id
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def _run_tags(job: Job, candidate: str) -> dict[str, str]:
    shown = {"mlflow.source.name": "train_model", "mlflow.source.type": "JOB"}
    revision = tags(job).get("git_revision")
    if revision:
        shown["mlflow.source.git.commit"] = revision
    return {**tags(job), "candidate": candidate, **shown}


def _parameters(job: Job, pipeline: Pipeline, split: Split) -> list[Param]:
    ignored = "; ".join(f"{name} {why}" for name, why in split.learned.ignored.items())
    values = {
        **candidates.parameters(pipeline),
        "kind": job.kind,
        "target": job.target,
        "rows_learned": len(split.learned.target),
        "rows_held_out": len(split.held_out.target),
        **({"ignored_columns": ignored[:MOST_CHARACTERS]} if ignored else {}),
    }
    return [Param(name, str(value)) for name, value in values.items()]


def _inputs(job: Job, split: Split) -> list[DatasetInput]:
    place = source.public(job.data_uri)
    features = split.learned.features
    schema = signature(split.learned).inputs.to_dict()
    dataset = Dataset(
        name=place.rpartition("/")[2][:500] or job.model_name,
        digest=job.fingerprint[:36],  # As long as MLflow lets it be; the tag has all of it.
        source_type=urlsplit(place).scheme or "local",
        source=json.dumps({"uri": place}),
        schema=json.dumps({"mlflow_colspec": schema}),
        profile=json.dumps(
            {"num_rows": len(split.learned.target) + len(split.held_out.target)}
            | {"num_features": len(features.columns)}
        ),
    )
    return [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]


def _model(client: MlflowClient, run: Run) -> LoggedModel | None:
    """The whole model of a run. A part of one, whose upload was cut off, is removed."""
    models = client.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
    )
    whole = [model for model in models if model.status == LoggedModelStatus.READY]
    for model in models:
        if model not in whole:
            client.delete_logged_model(model.model_id)
    return whole[0] if whole else None


def _log_model(
    client: MlflowClient,
    key_file: Path,
    job: Job,
    candidate: str,
    *,
    run_id: str,
    pipeline: Pipeline,
    split: Split,
) -> str:
    """Writes a model, signs what was written, and only then gives it away."""
    run = client.get_run(run_id)
    logged = client.create_logged_model(
        run.info.experiment_id,
        name=candidate,
        source_run_id=run_id,
        tags=tags(job),
        params=dict(run.data.params),
    )
    model_id: str = logged.model_id
    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        mlflow.sklearn.save_model(
            pipeline,
            folder,
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                model_uuid=model_id,
                run_id=run_id,
                model_id=model_id,
            ),
            signature=signature(split.learned),
            input_example=split.learned.features.head(EXAMPLE_ROWS),
            # Named here, since MLflow would otherwise start a process to find them out.
            pip_requirements=_requirements(),
            skops_trusted_types=list(candidates.TRUSTED_TYPES),
        )
        signing.sign(folder, Identity(job.model_name, run_id, model_id), key_file)
        client.log_model_artifacts(model_id, str(folder))
    client.finalize_logged_model(model_id, LoggedModelStatus.READY)
    return model_id


def _requirements() -> list[str]:
    versions = {name: _version(name) for name in _REQUIREMENTS}
    return [f"{name}=={version}" for name, version in versions.items()]


def _version(distribution: str) -> str:
    # The small edition of MLflow, which is installed here, has the numbers of the whole one.
    installed = "mlflow-skinny" if distribution == "mlflow" else distribution
    return importlib.metadata.version(installed)
