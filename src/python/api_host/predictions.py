"""Predictions and what is served: `/v1/models` and MLflow's `/invocations`."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api_host import metrics
from api_host.access import note_served
from api_host.answers import (
    Lineage,
    ModelDescription,
    ModelProbabilities,
    Models,
    ModelSignature,
    ModelSummary,
    RegistryState,
)
from api_host.auth.caller import Access, caller_of
from api_host.bodies import read_body
from api_host.documents import JSON, json_response
from api_host.errors import (
    ModelRefusedError,
    NoRoomError,
    NotRegisteredError,
    RegistryAwayError,
)
from api_host.host import Host, catalog_of, host_of
from api_host.lanes import Lane
from api_host.models.catalog import Catalog, Served
from api_host.models.lineage import lineage_of
from api_host.models.probabilities import PREDICT, PREDICT_PROBA
from api_host.models.registry import ModelVersion
from api_host.problems import (
    AMBIGUOUS_MODEL,
    MODEL_REFUSED,
    NO_MODEL,
    PREDICTION_TIMEOUT,
    REGISTRY_AWAY,
    UNKNOWN_MODEL,
    Problem,
)
from api_host.rates.layer import visit_of
from api_host.rates.limiter import Visit

if TYPE_CHECKING:  # Pandas takes a second to import: not before this host answers.
    from api_host.scoring import Question

Function: TypeAlias = Literal["score", "weigh", "invoke", "infer"]

T = TypeVar("T")

KIBIBYTES = 1024
SMALL_BODY = 32 * KIBIBYTES
"""Up to here a body is read at once; a longer one in a thread, while others are answered."""

FEW_VALUES = 1500
"""Up to here an answer is written at once: it takes less than the way to a thread."""

VALUES_A_ROW = 3
"""Of predictions that are no array."""

VERSION = re.compile("[1-9][0-9]{0,9}", re.ASCII)
RETRY_SECONDS = 5
"""When a caller may ask again for what is not here yet: by then the registry was polled again."""


async def list_models(request: Request) -> Response:
    """`GET /v1/models`."""
    host = host_of(request)
    models = [_summary(host, name) for name in catalog_of(request).names()]
    return json_response(Models(models, registry_state(host.catalog)))


async def get_model(request: Request) -> Response:
    """`GET /v1/models/{name}`."""
    host = host_of(request)
    name = request.path_params["name"]
    if name not in host.catalog.names():
        raise Problem(UNKNOWN_MODEL, f"{name} is not served")
    summary = _summary(host, name)
    served = host.catalog.served.get(name)
    if served is None:
        return json_response(summary)
    description = ModelDescription(
        **msgspec.structs.asdict(summary),
        signature=ModelSignature(served.model.inputs, served.model.outputs),
        metrics=dict(served.version.metrics),
        tags=served.version.tags,
        example=served.model.example,
        flavor=served.model.flavor,
        functions=_functions(served),
        engine=served.model.engines.document(),
        probabilities=_probabilities(host, served),
        lineage=_lineage(host, served.version),
        limits=host.limits.of(name),
    )
    return json_response(description)


async def predict(request: Request) -> Response:
    """`POST /v1/models/{name}/predict`, also by alias and by version."""
    host = host_of(request)
    served = await find(host, **request.path_params)
    note_served(request, served.version)
    if request.scope["query_string"] or request.headers.get("Content-Type") != JSON:
        # Imported here, where a model is loaded already: pandas and numpy are of no use before.
        from api_host.streams import bulk  # noqa: PLC0415

        bulk.first_row(request)
        if bulk.is_stream(request.headers):
            return bulk.StreamOfPredictions(request, served)
    return await answer(request, host, served, "score")


async def predict_proba(request: Request) -> Response:
    """`POST /v1/models/{name}/predict_proba`, also by alias and by version."""
    host = host_of(request)
    served = await find(host, **request.path_params)
    from api_host.streams import bulk  # noqa: PLC0415 - see predict

    note_served(request, served.version)
    if request.scope["query_string"]:
        bulk.first_row(request)
    served = host.probabilities.of(served)
    if bulk.is_stream(request.headers):
        return bulk.StreamOfPredictions(request, served, served.model.classes)
    return await answer(request, host, served, "weigh")


async def invoke(request: Request) -> Response:
    """`POST /invocations`: MLflow's scoring protocol, which knows of one model only."""
    host = host_of(request)
    name = host.settings.model_name or _only_model(catalog_of(request))
    host.guard.allow(caller_of(request), Access.PREDICT, name)
    served = await find(host, name)
    return await answer(request, host, served, "invoke")


def _only_model(catalog: Catalog) -> str:
    names = catalog.names()
    if not names:
        raise Problem(NO_MODEL, "no model is served yet", retry_after=RETRY_SECONDS)
    if len(names) > 1:
        raise Problem(
            AMBIGUOUS_MODEL,
            f"{', '.join(names)} are served: set MODEL_NAME to the one that /invocations is to"
            " ask, or POST /v1/models/NAME/predict",
        )
    return names[0]


async def find(
    host: Host, name: str, alias: str | None = None, version: str | None = None
) -> Served:
    """The model that a path names. Raises `Problem`."""
    served = host.catalog.served.get(name)
    if alias is not None and (served is None or alias != served.alias):
        version = host.catalog.aliases.get(name, {}).get(alias)
        if version is None and host.catalog.seen is None:
            why = host.catalog.away or "MLflow has not been asked yet"
            raise Problem(REGISTRY_AWAY, why, retry_after=RETRY_SECONDS)
        if version is None:
            raise Problem(UNKNOWN_MODEL, f"{name} has no version with the alias {alias}")
    if version is not None and (served is None or version != served.version.version):
        if not VERSION.fullmatch(version):
            raise Problem(UNKNOWN_MODEL, f"{version[:40]!r} is not the number of a version")
        return await _extra(host, name, version)
    if served is not None:
        return served
    catalog = host.catalog
    if name in catalog.names() or not catalog.recovered or catalog.seen is None:
        why = catalog.problems.get(name) or catalog.away or "it is being loaded"
        raise Problem(NO_MODEL, f"{name} is not served yet: {why}", retry_after=RETRY_SECONDS)
    # Before the first training, nobody knows yet which names are wrong.
    if not catalog.names() or name == host.settings.model_name:
        why = f"the registry has no version of it with the alias {host.settings.model_alias}"
        raise Problem(NO_MODEL, f"{name} is not served yet: {why}", retry_after=RETRY_SECONDS)
    raise Problem(UNKNOWN_MODEL, f"the registry has no {name} with the alias that is served")


async def _extra(host: Host, name: str, version: str) -> Served:
    try:
        return await host.extras.get(name, version)
    except NotRegisteredError:
        raise Problem(UNKNOWN_MODEL, f"the registry has no version {version} of {name}") from None
    except ModelRefusedError as error:
        raise Problem(MODEL_REFUSED, f"{name} version {version} is not served: {error}") from None
    except NoRoomError as error:
        detail = f"{name} version {version} is not here yet: {error}"
        raise Problem(NO_MODEL, detail, retry_after=RETRY_SECONDS) from None
    except RegistryAwayError as error:
        raise Problem(REGISTRY_AWAY, str(error), retry_after=RETRY_SECONDS) from None


async def answer(request: Request, host: Host, served: Served, function: Function) -> Response:
    """Predicts with `served` and nothing else.

    `function`: of `scoring`, for the protocol that the caller speaks.
    """
    note_served(request, served.version)
    body = await read_body(request, host.settings)
    limits = host.limits.of(served.version.name)
    bounds = host.limits.bounds_of(served.version.name)
    ask = _readers()[function]
    return await respond(
        host,
        served,
        partial(ask, served, body, request.headers, bounds=bounds),
        size=len(body),
        seconds=limits.timeout_seconds,
        visit=visit_of(request),
        wait=partial(_while_wanted, request),
    )


@cache
def _readers() -> "Mapping[Function, Callable[..., Question[Response]]]":
    # Imported here, where a model is loaded already: pandas and numpy are of no use before.
    from api_host import scoring  # noqa: PLC0415

    return {
        "score": scoring.score,
        "weigh": scoring.weigh,
        "invoke": scoring.invoke,
        "infer": scoring.infer,
    }


async def respond(
    host: Host,
    served: Served,
    read: "Callable[[], Question[T]]",
    *,
    size: int,
    seconds: float,
    visit: Visit,
    wait: Callable[[asyncio.Future[Any]], Awaitable[Any]],
) -> T:
    """The answer of `served` to a question. Raises `Problem`, and what `wait` raises.

    `read`: reads the question, which has `size` bytes.
    `seconds`: how long all of it may take.
    `visit`: of the caller, whose rows are counted.
    `wait`: awaits predictions as long as the caller wants them.
    """
    if seconds <= 0:
        raise _late(served, seconds)
    question = read() if size <= SMALL_BODY else None
    predictions: Any = None
    if question is not None:
        await visit.use_rows(len(question.table))
    if question is not None and not question.functions:
        predictions = host.lanes.of(served).predict_now(question.table)
        rows = len(question.table)
        if predictions is not None and _are_few(predictions, rows):
            # Nothing is waited for, so that there is nothing to time.
            metrics.note_rows(served.version, rows)
            return question.answer(predictions)
    try:
        async with asyncio.timeout(seconds):
            if question is None:
                question = await _in_thread(host, read)
                await visit.use_rows(len(question.table))
            if predictions is None:
                ask = partial(_ask, seconds=seconds, caller=visit.caller, wait=wait)
                predictions = await _predictions(host, served, question, ask)
            rows = len(question.table)
            metrics.note_rows(served.version, rows)
            if _are_few(predictions, rows):
                return question.answer(predictions)
            return await _in_thread(host, partial(question.answer, predictions))
    except TimeoutError:
        raise _late(served, seconds) from None


def _are_few(predictions: Any, rows: int) -> bool:
    size = getattr(predictions, "size", None)
    return (size if isinstance(size, int) else VALUES_A_ROW * rows) <= FEW_VALUES


def _late(served: Served, seconds: float) -> Problem:
    return Problem(
        PREDICTION_TIMEOUT,
        f"{served.version.name} did not answer within {seconds:g} s",
        retry_after=RETRY_SECONDS,
    )


async def _in_thread(host: Host, function: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(host.threads, function)


async def _predictions(
    host: Host,
    served: Served,
    question: "Question[Any]",
    ask: Callable[[Lane, "Question[Any]"], Awaitable[Any]],
) -> Any:
    if not question.functions:
        return await ask(host.lanes.of(served), question)
    return {
        function: await ask(_lane(host, served, function), question)
        for function in question.functions
    }


def _lane(host: Host, served: Served, function: str) -> Lane:
    return host.lanes.of(host.probabilities.of(served) if function == PREDICT_PROBA else served)


async def _ask(
    lane: Lane,
    question: "Question[Any]",
    *,
    seconds: float,
    caller: str,
    wait: Callable[[asyncio.Future[Any]], Awaitable[Any]],
) -> Any:
    try:
        predictions = lane.predict_now(question.table)
        if predictions is not None:
            return predictions
        return await wait(lane.predict(question.table, seconds, caller=caller))
    except (Problem, ClientDisconnect):
        raise
    except Exception as error:
        raise question.refuse(error) from error


async def _while_wanted(request: Request, predictions: asyncio.Future[Any]) -> Any:
    """What is awaited, unless the client goes away before it is here."""
    departure = asyncio.create_task(_departure(request))
    try:
        await asyncio.wait((predictions, departure), return_when=asyncio.FIRST_COMPLETED)
        if not predictions.done():
            raise ClientDisconnect
        return predictions.result()
    finally:
        predictions.cancel()
        departure.cancel()


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _functions(served: Served) -> list[str]:
    return [PREDICT] if served.model.classes is None else [PREDICT, PREDICT_PROBA]


def _probabilities(host: Host, served: Served) -> ModelProbabilities | None:
    if served.model.classes is None:
        return None
    known = host.probabilities.known(served)
    engine = known.model.engines.document() if known else None
    return ModelProbabilities(served.model.classes, engine)


def _lineage(host: Host, version: ModelVersion) -> Lineage:
    url = host.settings.mlflow_tracking_uri
    return lineage_of(version.run_id, version.tags, version.run, url)


def registry_state(catalog: Catalog) -> RegistryState:
    """Whether what is said of the models is what the registry says now."""
    return RegistryState(catalog.away is None, catalog.away, catalog.seen)


def _summary(host: Host, name: str) -> ModelSummary:
    served = host.catalog.served.get(name)
    return ModelSummary(
        name=name,
        version=served.version.version if served else None,
        alias=host.settings.model_alias,
        ready=served is not None,
        run_id=served.version.run_id if served else None,
        since=served.since if served else None,
        wanted=host.catalog.wanted.get(name),
        problem=host.catalog.problems.get(name),
    )
