"""Everything that can be asked of this host: what the API's document says of each route."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from api_host import problems
from api_host.answers import (
    HostHealth,
    HostState,
    Inference,
    Invocation,
    Live,
    ModelDescription,
    ModelMetadata,
    ModelReady,
    Models,
    Predictions,
    Probabilities,
    Ready,
    ReadyOnly,
    RepositoryEntry,
    ServerLive,
    ServerMetadata,
    ServerReady,
    Training,
)
from api_host.auth.caller import Access
from api_host.auth.needs import NEEDS, Open
from api_host.questions import (
    Columns,
    DataframeRecords,
    DataframeSplit,
    IndexRequest,
    InferenceRequest,
    Inputs,
    Instances,
    LoadRequest,
    Rows,
    TrainingOrder,
)
from api_host.rates.layer import HEALTH
from api_host.reference.examples import Example
from api_host.reference.operations import JSON, Content, Group, Operation, Parameter, json

CSV = "text/csv"
NDJSON = Content("application/x-ndjson")
ARROW = Content("application/vnd.apache.arrow.stream")
BINARY = Content("application/octet-stream")
PAGE = Content("text/html")

MODEL = ("Tripod-Model",)
"""The header of every answer that a model gave."""

LIMITS = ("RateLimit", "RateLimit-Policy")
"""The headers of every answer where what one caller may ask is limited."""

READ = (
    problems.SLOW_BODY,
    problems.BODY_TOO_LARGE,
    problems.STRING_TOO_LONG,
    problems.UNSUPPORTED_MEDIA_TYPE,
    problems.INVALID_BODY,
    problems.INVALID_INPUT,
)
FIND = (problems.NOT_FOUND, problems.UNKNOWN_MODEL, problems.NO_MODEL)
FIND_ANY = (*FIND, problems.MODEL_REFUSED, problems.REGISTRY_AWAY)
PREDICT = (
    *READ,
    problems.TOO_MANY_ROWS,
    problems.TOO_MANY_COLUMNS,
    problems.PREDICTION_FAILED,
    problems.PREDICTION_TIMEOUT,
    problems.OVERLOADED,
)
STREAM = (problems.INVALID_QUERY,)

KEY = Parameter(
    "Idempotency-Key",
    "header",
    "The same request with the same key starts no second training.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"},
    "nightly",
)
TRAINING_ID = Parameter(
    "id",
    "path",
    "Of the training, from the answer that started it.",
    {"type": "string", "pattern": "^[A-Za-z0-9_.~:+-]{1,250}$"},
)
FIRST_ROW = Parameter(
    "from_row",
    "query",
    "Of a stream: the number of its first row.",
    {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999},
)
DUPLEX = Parameter(
    "Tripod-Duplex",
    "header",
    "Of a stream: `half` says that nobody reads the answer before all rows are sent.",
    {"type": "string"},
)
JSON_LENGTH = Parameter(
    "Inference-Header-Content-Length",
    "header",
    "How many bytes of the body are JSON; all that follows is binary data.",
    {"type": "integer", "minimum": 0},
)


def reference(example: Example) -> tuple[Group, ...]:
    """All operations, with examples that work where this model is served."""
    groups = (
        Group("Models", "What is served, and predictions from rows.", _models(example)),
        Group("Trainings", "New versions of a model, which Airflow makes.", _trainings(example)),
        Group("MLflow", "The protocol of `mlflow models serve`.", _scoring(example)),
        Group(
            "Open Inference Protocol",
            "Version 2, which clients of KServe, Triton and MLServer speak.",
            (*_inference(example), *_repository(example)),
        ),
        Group("Host", "How this host is.", _host()),
    )
    return tuple(
        replace(group, operations=tuple(_limited(_with_refusals(o)) for o in group.operations))
        for group in groups
    )


def _with_refusals(operation: Operation) -> Operation:
    """An operation with what it answers to those who are not known, or who may not."""
    need = NEEDS[operation.path]
    if need is Open.TO_ALL:
        return operation
    kinds = [problems.UNAUTHENTICATED]
    if isinstance(need, Access):
        kinds.append(problems.FORBIDDEN)
    return replace(operation, problems=(*kinds, *operation.problems))


def _limited(operation: Operation) -> Operation:
    """An operation with what it answers to those who ask too much."""
    if operation.path in HEALTH:
        return operation
    return replace(
        operation,
        headers=(*operation.headers, *LIMITS),
        problems=(*operation.problems, problems.TOO_MANY_REQUESTS),
    )


def _name(example: Example) -> Parameter:
    return _string("name", "Of a registered model.", "^[^/@]+$", example.name)


def _alias(example: Example) -> Parameter:
    return _string("alias", "Of a version in the registry.", "^[^/]+$", example.alias)


def _version(example: Example) -> Parameter:
    return _string("version", "In the registry.", "^[1-9][0-9]{0,9}$", example.version)


def _string(name: str, about: str, pattern: str, example: str) -> Parameter:
    schema: Mapping[str, Any] = {"type": "string", "pattern": pattern}
    return Parameter(name, "path", about, schema, example)


def _models(example: Example) -> tuple[Operation, ...]:
    name, stream = _name(example), (FIRST_ROW, DUPLEX)
    predict = Operation(
        "POST",
        "/v1/models/{name}/predict",
        "predict",
        "Predictions of the version that is served",
        "The input is checked against the signature of the model: every unknown, missing or wrong"
        " column is named at once. NDJSON and Arrow are streams of any length, answered while they"
        " are sent.",
        parameters=(name, *stream),
        takes=(
            json(Rows, Columns, example=example.rows),
            Content(CSV, example=example.csv),
            NDJSON,
            ARROW,
        ),
        gives=(json(Predictions), NDJSON, ARROW),
        headers=MODEL,
        problems=(*FIND, *STREAM, *PREDICT),
    )
    probabilities = replace(
        predict,
        path="/v1/models/{name}/predict_proba",
        id="predict_proba",
        summary="Probabilities of the classes, where the model has them",
        about="As `predict` is asked; the answer has the classes too, in the order of the"
        " probabilities.",
        takes=predict.takes if example.has_probabilities else _without_examples(predict.takes),
        gives=(json(Probabilities), NDJSON, ARROW),
        problems=(*predict.problems, problems.NO_PROBABILITIES),
    )
    return (
        Operation(
            "GET",
            "/v1/models",
            "list_models",
            "What is served, and how the registry was last seen",
            gives=(json(Models),),
        ),
        Operation(
            "GET",
            "/v1/models/{name}",
            "get_model",
            "Version, alias, signature, metrics, lineage, limits, tags and an example",
            parameters=(name,),
            gives=(json(ModelDescription),),
            problems=(problems.NOT_FOUND, problems.UNKNOWN_MODEL),
        ),
        *_of_each(predict, example),
        *_of_each(probabilities, example),
    )


def _without_examples(contents: tuple[Content, ...]) -> tuple[Content, ...]:
    return tuple(replace(content, example=None) for content in contents)


def _of_each(operation: Operation, example: Example) -> tuple[Operation, ...]:
    """An operation on the version that is served, by alias, and by version."""
    name, *others = operation.parameters
    any_version = (*operation.problems, problems.MODEL_REFUSED, problems.REGISTRY_AWAY)
    return (
        operation,
        replace(
            operation,
            path=operation.path.replace("{name}", "{name}@{alias}"),
            id=f"{operation.id}_by_alias",
            summary=f"{operation.summary}, by alias",
            parameters=(name, _alias(example), *others),
            problems=any_version,
        ),
        replace(
            operation,
            path=operation.path.replace("{name}", "{name}/versions/{version}"),
            id=f"{operation.id}_by_version",
            summary=f"{operation.summary}, by version",
            parameters=(name, _version(example), *others),
            problems=any_version,
        ),
    )


def _trainings(example: Example) -> tuple[Operation, ...]:
    return (
        Operation(
            "POST",
            "/v1/trainings",
            "start_training",
            "Starts a training",
            "Every member of the body may be left out, and so may the body.",
            parameters=(KEY,),
            takes=(json(TrainingOrder, example=example.training),),
            needs_body=False,
            gives=(json(Training),),
            status=202,
            headers=("Location",),
            problems=(
                problems.SLOW_BODY,
                problems.BODY_TOO_LARGE,
                problems.INVALID_BODY,
                problems.INVALID_HEADER,
                problems.INVALID_TRAINING,
                problems.KEY_REUSED,
                problems.AIRFLOW_AWAY,
            ),
        ),
        Operation(
            "GET",
            "/v1/trainings/{id}",
            "get_training",
            "How a training is getting on",
            parameters=(TRAINING_ID,),
            gives=(json(Training),),
            problems=(problems.NOT_FOUND, problems.UNKNOWN_TRAINING, problems.AIRFLOW_AWAY),
        ),
    )


def _scoring(example: Example) -> tuple[Operation, ...]:
    # MLflow calls these three answers JSON, and two of them are none: they have no schema.
    ping = Operation(
        "GET",
        "/ping",
        "ping",
        "Whether predictions can be made",
        gives=(json(),),
        problems=(problems.NO_MODEL,),
    )
    return (
        Operation(
            "POST",
            "/invocations",
            "invoke",
            "Predictions, as MLflow's scoring server answers",
            "Where several models are served, `MODEL_NAME` says which one it asks. Not a number is"
            " `NaN` in the answer, as MLflow has it.",
            takes=(
                json(
                    DataframeRecords, DataframeSplit, Instances, Inputs, example=example.invocation
                ),
                Content(CSV, example=example.csv),
            ),
            gives=(json(Invocation),),
            headers=MODEL,
            problems=(
                problems.SLOW_BODY,
                problems.BODY_TOO_LARGE,
                problems.INVALID_INVOCATION,
                problems.TOO_MANY_ROWS,
                problems.TOO_MANY_COLUMNS,
                problems.STRING_TOO_LONG,
                problems.UNSUPPORTED_MEDIA_TYPE,
                problems.AMBIGUOUS_MODEL,
                problems.NO_MODEL,
                problems.PREDICTION_TIMEOUT,
                problems.OVERLOADED,
            ),
        ),
        ping,
        replace(ping, path="/health", id="health"),
        Operation(
            "GET",
            "/version",
            "version",
            "The release of MLflow whose protocol this host speaks",
            gives=(Content(JSON),),
        ),
    )


def _inference(example: Example) -> tuple[Operation, ...]:
    name = _name(example)
    metadata = Operation(
        "GET",
        "/v2/models/{name}",
        "get_model_metadata",
        "A model's tensors",
        parameters=(name,),
        gives=(json(ModelMetadata),),
        headers=MODEL,
        problems=FIND,
    )
    ready = Operation(
        "GET",
        "/v2/models/{name}/ready",
        "is_model_ready",
        "Whether it predicts",
        parameters=(name,),
        gives=(json(ModelReady),),
        headers=MODEL,
        problems=FIND,
    )
    infer = Operation(
        "POST",
        "/v2/models/{name}/infer",
        "infer",
        "Predictions from tensors",
        "The inputs are one tensor a column, each `[rows]` or `[rows, 1]`, by the names of the"
        " model's metadata; or one tensor `[rows, columns]` of any name, with all columns in the"
        " order of the signature. Binary data follow the JSON.",
        parameters=(name, JSON_LENGTH),
        takes=(json(InferenceRequest, example=example.inference), BINARY),
        gives=(json(Inference), BINARY),
        headers=MODEL,
        problems=(*FIND, *PREDICT, problems.INVALID_HEADER),
    )
    operations = (metadata, ready, infer)
    return (
        Operation("GET", "/v2", "get_server", "The host", gives=(json(ServerMetadata),)),
        Operation(
            "GET",
            "/v2/health/live",
            "is_server_live",
            "The process is up",
            gives=(json(ServerLive),),
        ),
        Operation(
            "GET",
            "/v2/health/ready",
            "is_server_ready",
            "Whether any model is served",
            gives=(json(ServerReady),),
            problems=(problems.NO_MODEL,),
        ),
        *operations,
        *(_of_a_version(operation, _version(example)) for operation in operations),
    )


def _of_a_version(operation: Operation, version: Parameter) -> Operation:
    name, *others = operation.parameters
    return replace(
        operation,
        path=operation.path.replace("{name}", "{name}/versions/{version}"),
        id=f"{operation.id}_by_version",
        summary=f"{operation.summary}, by version",
        parameters=(name, version, *others),
        problems=(*operation.problems, problems.MODEL_REFUSED, problems.REGISTRY_AWAY),
    )


def _repository(example: Example) -> tuple[Operation, ...]:
    return (
        Operation(
            "POST",
            "/v2/repository/index",
            "list_repository",
            "What is served, what should be, and why it is not",
            takes=(json(IndexRequest, example=IndexRequest(ready=True)),),
            needs_body=False,
            gives=(json(list[RepositoryEntry]),),
            problems=READ,
        ),
        Operation(
            "POST",
            "/v2/repository/models/{name}/load",
            "load_model",
            "Asks the registry now, and waits until what it wants is served",
            parameters=(_name(example),),
            takes=(json(LoadRequest),),
            needs_body=False,
            problems=(*FIND_ANY, *READ),
        ),
        Operation(
            "POST",
            "/v2/repository/models/{name}/unload",
            "unload_model",
            "Is refused, as the registry decides what is served",
            parameters=(_name(example),),
            problems=(problems.NOT_FOUND, problems.UNKNOWN_MODEL, problems.REGISTRY_DECIDES),
        ),
    )


def _host() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET",
            "/",
            "get_host",
            "How this host is, its models and its links",
            gives=(json(HostState, HostHealth), PAGE),
        ),
        Operation("GET", "/livez", "is_live", "The process is up", gives=(json(Live),)),
        Operation(
            "GET",
            "/readyz",
            "is_ready",
            "Whether predictions can be made",
            gives=(json(Ready, ReadyOnly),),
            problems=(problems.NO_MODEL,),
        ),
        Operation(
            "GET", "/metrics", "get_metrics", "For Prometheus", gives=(Content("text/plain"),)
        ),
        Operation(
            "GET", "/openapi.json", "get_openapi", "This document", gives=(json(dict[str, Any]),)
        ),
        Operation("GET", "/docs", "get_docs", "This document, as a page", gives=(PAGE,)),
    )
