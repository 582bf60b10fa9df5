"""The documents that this host answers with: their types are what the API's document says."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from api_host.limits import Limits

Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]


class Live(msgspec.Struct, frozen=True):
    """The process is up."""

    status: Literal["live"] = "live"


class Ready(msgspec.Struct, frozen=True):
    """Predictions can be made.

    `models`: the version of each model that is served.
    """

    models: dict[str, str]
    status: Literal["ready"] = "ready"


class ReadyOnly(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Predictions can be made, for those whom this host does not know."""

    status: Literal["ready"] = "ready"


class ModelState(msgspec.Struct, frozen=True):
    """How a model is.

    `version`: that is served; null if none is.
    `problem`: why it is not the one that the registry wants served; null if it is.
    """

    name: str
    version: str | None
    problem: str | None


class LinkState(msgspec.Struct, frozen=True):
    """How another server is, seen from this host.

    `detail`: what it said, or what went wrong.
    `checked`: when; null if it was not checked yet.
    """

    url: str
    healthy: bool
    detail: str
    checked: Moment | None


class HostState(msgspec.Struct, frozen=True):
    """How this host is.

    `status`: `waiting` as long as there is no model, `degraded` if it predicts and all is not well.
    `detail`: why no predictions can be made; null if they can.
    `version`: of this program.
    `links`: the servers that this host calls, by name.
    `auth`: whether callers must show a key or a token.
    `auth_problems`: what keeps callers out who should be let in, a sentence each.
    """

    status: Literal["ok", "degraded", "waiting"]
    detail: str | None
    host: str
    version: str
    models: list[ModelState]
    links: dict[str, LinkState]
    auth: bool
    auth_problems: list[str]


class HostHealth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How this host is, for those who may not look after it.

    `status`: `waiting` as long as there is no model, `degraded` if it predicts and all is not well.
    """

    status: Literal["ok", "degraded", "waiting"]
    host: str


class RegistryState(msgspec.Struct, frozen=True):
    """Whether what is said of the models is what the registry says now.

    `detail`: why it does not answer; null if it does.
    `seen`: when it answered last; null if it has not since the start.
    """

    answers: bool
    detail: str | None
    seen: Moment | None


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What is served under a name.

    `version`: that is served; null if none is.
    `alias`: in the registry whose version is served.
    `run_id`: the run that logged it.
    `since`: when it was loaded.
    `wanted`: the version that the registry wants served.
    `problem`: why that is not the one which is.
    """

    name: str
    version: str | None
    alias: str
    ready: bool
    run_id: str | None
    since: Moment | None
    wanted: str | None
    problem: str | None


class Models(msgspec.Struct, frozen=True):
    """What is served, and how the registry was last seen."""

    models: list[ModelSummary]
    registry: RegistryState


class ModelSignature(msgspec.Struct, frozen=True):
    """What a model takes and gives, as MLflow writes it; null where it was logged without."""

    inputs: list[dict[str, Any]] | None
    outputs: list[dict[str, Any]] | None


class EngineRange(msgspec.Struct, frozen=True):
    """Numbers of rows that one engine answers for.

    `first`, `last`: from how many to how many; null for any number.
    """

    first: int = field(name="from")
    last: int | None = field(name="to")
    engine: str


class EngineMeasurement(msgspec.Struct, frozen=True):
    """What one call took when the model was loaded.

    `factor`: how many times faster the engine was.
    """

    rows: int
    original_microseconds: float
    engine_microseconds: float
    factor: float


class ModelEngine(msgspec.Struct, frozen=True):
    """What predicts: the model itself, or an equivalent that was proven equal.

    `why`: why the equivalent is trusted, or why there is none.
    """

    why: str
    rows: list[EngineRange]
    measured: list[EngineMeasurement]


class LineageData(msgspec.Struct, frozen=True):
    """What a version learned from; null where it is not known.

    `source`: where the data was, without passwords.
    `fingerprint`: by which it is told from any other: of `train_model`, the SHA-256 of the file.
    """

    name: str | None
    source: str | None
    fingerprint: str | None
    rows: int | None


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version comes from; null where it is not known.

    `run_id`: the run in MLflow that logged it.
    `run_url`: where a browser shows that run.
    `experiment_id`: of that run.
    `git_revision`: of the program that trained it.
    `dag_id`, `dag_run_id`: the run of Airflow's that trained it.
    """

    run_id: str | None
    run_url: str | None
    experiment_id: str | None
    data: LineageData
    git_revision: str | None
    dag_id: str | None
    dag_run_id: str | None


class ModelProbabilities(msgspec.Struct, frozen=True):
    """The probabilities that a model gives.

    `classes`: what they are of, in their order, if the model says so; lists of these where it
        predicts several things.
    `engine`: what answers for how many rows; null until they are asked for.
    """

    classes: list[Any]
    engine: ModelEngine | None


class ModelDescription(ModelSummary, frozen=True, kw_only=True):
    """What there is to know of a model; the last members only while it is served.

    `metrics`: what was measured when it was trained.
    `tags`: what was noted when it was registered.
    `example`: rows that were logged with it, which it can predict from.
    `flavor`: its format, as MLflow names it.
    `functions`: what it may be asked for: `predict`, and `predict_proba` if it has that.
    `engine`: what answers for how many rows.
    `probabilities`: of `predict_proba`; null if it has none.
    `lineage`: where it comes from.
    `limits`: those that are in force for it.
    """

    signature: ModelSignature | UnsetType = UNSET
    metrics: dict[str, float | None] | UnsetType = UNSET
    tags: dict[str, str] | UnsetType = UNSET
    example: list[dict[str, Any] | list[Any]] | UnsetType = UNSET
    flavor: str | UnsetType = UNSET
    functions: list[str] | UnsetType = UNSET
    engine: ModelEngine | UnsetType = UNSET
    probabilities: ModelProbabilities | UnsetType | None = UNSET
    lineage: Lineage | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET


class ModelName(msgspec.Struct, frozen=True):
    """Which version of which model has answered."""

    name: str
    version: str


class Predictions(msgspec.Struct, frozen=True):
    """The predictions of one version.

    `predictions`: one a row.
    """

    model: ModelName
    predictions: Any


class Probabilities(msgspec.Struct, frozen=True):
    """The probabilities that one version gives.

    `classes`: what they are of, in their order, if the model says so; lists of these where it
        predicts several things.
    `probabilities`: one of each class, a row.
    """

    model: ModelName
    classes: list[Any]
    probabilities: Any


class Invocation(msgspec.Struct, frozen=True):
    """Predictions, as MLflow's scoring server answers."""

    predictions: Any


class Training(msgspec.Struct, frozen=True):
    """A training.

    `request_id`: the `X-Request-ID` of the request that started it.
    `result`: which version was registered, and whether and why it was promoted, if it succeeded.
    `problem`: why it failed, in a sentence, if it did.
    """

    id: str
    state: Annotated[str, Meta(examples=["queued", "running", "succeeded", "failed"])]
    request_id: str | None
    started: str | None
    ended: str | None
    result: Any = None
    problem: str | None = None


class ServerMetadata(msgspec.Struct, frozen=True):
    """The host, as the Open Inference Protocol names it.

    `version`: of this program.
    `extensions`: of the protocol, that it has.
    """

    name: str
    version: str
    extensions: list[str]


class ServerLive(msgspec.Struct, frozen=True):
    """The process is up."""

    live: bool = True


class ServerReady(msgspec.Struct, frozen=True):
    """Predictions can be made."""

    ready: bool = True


class ModelReady(msgspec.Struct, frozen=True):
    """A model predicts."""

    name: str
    ready: bool = True


class TensorMetadata(msgspec.Struct, frozen=True):
    """A tensor that a model takes or gives.

    `shape`: -1 stands for any number.
    """

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, frozen=True):
    """A model's tensors.

    `versions`: the one that answers, and those that an alias points to.
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class OutputParameters(msgspec.Struct, frozen=True):
    """How many bytes of binary data are this tensor's."""

    binary_data_size: int


class OutputTensor(msgspec.Struct, frozen=True):
    """A tensor of predictions.

    `data`: its elements, row by row, unless they are binary data.
    """

    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: OutputParameters | UnsetType = UNSET
    data: list[Any] | UnsetType = UNSET


class Inference(msgspec.Struct, frozen=True):
    """The outputs of one version.

    `id`: of the request, if it had one.
    """

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | UnsetType = UNSET


class RepositoryEntry(msgspec.Struct, frozen=True):
    """A model that is served or should be.

    `version`: empty if the registry has none with the alias.
    `reason`: why it is not as the registry wants it; empty if it is.
    """

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str
