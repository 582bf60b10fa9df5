"""The four steps of a training, each safe to run again: read, train, register, promote."""

from typing import Any

import mlflow
import structlog
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from airflow_host.training import (
    candidates,
    dataset,
    evaluation,
    promotion,
    registry,
    runs,
    snapshot,
    source,
    table,
)
from airflow_host.training.plan import Challenger, Job, Trained
from airflow_host.training.promotion import CRITERIA, Decision
from airflow_host.training.samples import Samples, sample
from airflow_host.training.settings import TrainingSettings
from airflow_host.training.split import split

log = structlog.get_logger(__name__)


def read_table(
    settings: TrainingSettings,
    *,
    dag_id: str,
    dag_run_id: str,
    request_id: str | None = None,
    model_name: str | None = None,
    data_uri: str | None = None,
    target: str | None = None,
    margin: float | None = None,
) -> Job:
    """Fetches the table, checks that it can be learned from, and keeps it for the other steps."""
    uri = data_uri or settings.training_data_uri or _iris(settings)
    target = target or settings.training_target
    content = source.read(uri, settings)
    place = source.public(uri)
    samples = sample(table.parse(content, settings, place=place), target, place=place)
    halves = split(samples, place=place)
    job = Job(
        dag_id=dag_id,
        dag_run_id=dag_run_id,
        request_id=request_id,
        model_name=model_name or settings.training_model_name,
        data_uri=uri,
        target=target,
        margin=settings.training_margin if margin is None else margin,
        fingerprint=snapshot.keep(settings.folder / "tables", content),
        kind=samples.kind,
    )
    log.info(
        "read a table",
        data_uri=place,
        data_fingerprint=job.fingerprint,
        kind=job.kind,
        features=list(samples.features),
        ignored=samples.ignored,
        rows_learned=len(halves.learned.target),
        rows_held_out=len(halves.held_out.target),
        request_id=request_id,
    )
    return job


def train(settings: TrainingSettings, job: Job, candidate: str) -> Trained:
    """Trains one candidate and logs it to MLflow."""
    client = _client(settings)
    found = runs.find(client, job, candidate)
    if isinstance(found, Trained):
        return found
    halves = split(_samples(settings, job), place=source.public(job.data_uri))
    pipeline = candidates.fit(candidate, halves.learned)
    trained = runs.log(
        client,
        settings.model_signing_key_file,
        job,
        candidate,
        pipeline,
        split=halves,
        run=found,
    )
    log.info("trained", candidate=candidate, **trained.metrics, request_id=job.request_id)
    return trained


def register(settings: TrainingSettings, job: Job, trained: list[Trained]) -> Challenger:
    """Makes the best candidate a version of the registered model."""
    best = promotion.best(trained, CRITERIA[job.kind])
    version = registry.register(_client(settings), settings, job, best)
    log.info(
        "registered",
        model=job.model_name,
        version=version,
        candidate=best.candidate,
        request_id=job.request_id,
    )
    return Challenger(version, best)


def promote(settings: TrainingSettings, job: Job, challenger: Challenger) -> dict[str, Any]:
    """Makes the new version the champion if it is better. Gives the result of the training."""
    client = _client(settings)
    champion = registry.champion(client, job.model_name)
    if champion is not None and str(champion.version) == challenger.version:
        decided = registry.decision(champion)  # An earlier try of this task came this far.
    else:
        decided = _decide(settings, job, challenger, champion)
        registry.write(client, job.model_name, challenger.version, decided)
    snapshot.forget(settings.folder / "tables", job.fingerprint)
    log.info(
        "promoted" if decided.promoted else "kept the champion",
        model=job.model_name,
        version=challenger.version,
        reason=decided.reason,
        request_id=job.request_id,
    )
    version = challenger.version if decided.promoted or champion is None else champion.version
    return {
        "model": {"name": job.model_name, "version": challenger.version},
        "promoted": decided.promoted,
        "reason": decided.reason,
        "metric": CRITERIA[job.kind].metric,
        "metrics": challenger.trained.metrics,
        "champion": {"version": str(version)},
    }


def _decide(
    settings: TrainingSettings,
    job: Job,
    challenger: Challenger,
    champion: ModelVersion | None,
) -> Decision:
    if champion is None:
        return Decision(True, f"{job.model_name} had no champion")
    place = source.public(job.data_uri)
    held_out = split(_samples(settings, job), place=place).held_out
    criterion = CRITERIA[job.kind]
    try:
        predictions = registry.predict(champion, held_out)
    except registry.NotComparableError as error:
        what = f"version {champion.version}, the champion, cannot be compared: {error}"
        if error.replace:
            return Decision(True, f"{what}, so it can serve nobody")
        return Decision(
            False,
            f"{what}; move the alias by hand if applications are ready for this version, or train"
            " under another model name",
        )
    return promotion.decide(
        challenger.trained.metrics[criterion.metric],
        evaluation.primary(held_out, predictions),
        criterion=criterion,
        margin=job.margin,
    )


def _client(settings: TrainingSettings) -> MlflowClient:
    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    return MlflowClient()


def _iris(settings: TrainingSettings) -> str:
    dataset.export_iris(settings.iris)
    return str(settings.iris)


def _samples(settings: TrainingSettings, job: Job) -> Samples:
    place = source.public(job.data_uri)
    content = snapshot.recall(
        settings.folder / "tables", job.fingerprint, uri=job.data_uri, settings=settings
    )
    return sample(table.parse(content, settings, place=place), job.target, place=place)
