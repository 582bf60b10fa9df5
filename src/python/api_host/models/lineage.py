"""Where a model version comes from, by what was noted of it and of its run in MLflow."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from api_host.answers import Lineage, LineageData
from hostkit.network import public_url

DAG_ID, DAG_RUN_ID = "dag_id", "dag_run_id"
DATA_URI, DATA_FINGERPRINT = "data_uri", "data_fingerprint"
GIT_REVISION = "git_revision"
"""The tags of the DAG `train_model`."""

MLFLOWS_REVISION = "mlflow.source.git.commit"
"""The tag that MLflow itself makes where a run begins in a git repository."""

TAGS = (DAG_ID, DAG_RUN_ID, DATA_URI, DATA_FINGERPRINT, GIT_REVISION, MLFLOWS_REVISION)

_CONTEXT = "mlflow.data.context"
_TRAINING = ("training", "train")
_PLACES = ("uri", "url", "path")


class Dataset(msgspec.Struct, frozen=True):
    """What a run learned from.

    `source`: where it was; None if MLflow did not note a place.
    `rows`: None if they were not counted.
    """

    name: str
    digest: str
    source: str | None = None
    rows: int | None = None


class Run(msgspec.Struct, frozen=True):
    """The run that logged a version.

    `tags`: those that say where it comes from.
    """

    experiment_id: str | None = None
    tags: dict[str, str] = {}
    dataset: Dataset | None = None


class _Tag(msgspec.Struct):
    key: str
    value: str = ""


class _Dataset(msgspec.Struct):
    name: str = ""
    digest: str = ""
    source: str = ""
    profile: str = ""


class DatasetInput(msgspec.Struct):
    """One of a run's inputs, as MLflow answers."""

    dataset: _Dataset
    tags: list[_Tag] = []


def read_run(
    experiment_id: str | None, tags: Mapping[str, str], inputs: Sequence[DatasetInput]
) -> Run:
    """What is kept of a run."""
    known = {name: tags[name] for name in TAGS if tags.get(name)}
    training = [each for each in inputs if _context(each) in _TRAINING]
    found = next(iter(training or inputs), None)
    return Run(experiment_id, known, None if found is None else _dataset(found.dataset))


def lineage_of(run_id: str, tags: Mapping[str, str], run: Run, mlflow_url: str) -> Lineage:
    """What is answered of a version. Its own tags count for more than those of its run.

    `mlflow_url`: of the server whose registry has it.
    """
    known = {**run.tags, **{name: tags[name] for name in TAGS if tags.get(name)}}
    dataset = run.dataset or Dataset("", "")
    is_linked = run_id and run.experiment_id
    return Lineage(
        run_id=run_id or None,
        run_url=_url(mlflow_url, str(run.experiment_id), run_id) if is_linked else None,
        experiment_id=run.experiment_id,
        data=LineageData(
            name=dataset.name or None,
            source=known.get(DATA_URI) or dataset.source,
            # MLflow's digest is cut off after 36 characters.
            fingerprint=known.get(DATA_FINGERPRINT) or dataset.digest or None,
            rows=dataset.rows,
        ),
        git_revision=known.get(GIT_REVISION) or known.get(MLFLOWS_REVISION),
        dag_id=known.get(DAG_ID),
        dag_run_id=known.get(DAG_RUN_ID),
    )


def _url(mlflow_url: str, experiment_id: str, run_id: str) -> str:
    return f"{mlflow_url}/#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}"


def _context(found: DatasetInput) -> str | None:
    return next((tag.value for tag in found.tags if tag.key == _CONTEXT), None)


def _dataset(found: _Dataset) -> Dataset:
    source, profile = _object(found.source), _object(found.profile)
    places = (source.get(name) for name in _PLACES)
    place = next((public_url(place) for place in places if isinstance(place, str)), None)
    rows = profile.get("num_rows")
    return Dataset(found.name, found.digest, place, rows if isinstance(rows, int) else None)


def _object(text: str) -> Mapping[str, Any]:
    """What a JSON object holds; nothing of what is none, as each kind of dataset has its own."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
