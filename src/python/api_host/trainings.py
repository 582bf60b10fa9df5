"""`/v1/trainings`: starts the training DAG in Airflow and follows it; one key starts one."""

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api_host.airflow_client import AirflowClient
from api_host.answers import Training
from api_host.auth.caller import Access, Caller, caller_of
from api_host.auth.layer import note_change
from api_host.auth.refusals import no_model
from api_host.bodies import read_body
from api_host.documents import decode_json, json_response, mistake
from api_host.errors import AirflowAwayError
from api_host.host import host_of
from api_host.problems import (
    FORBIDDEN,
    INVALID_HEADER,
    INVALID_TRAINING,
    KEY_REUSED,
    UNKNOWN_TRAINING,
    Mistake,
    Problem,
    pointer,
)
from api_host.questions import TrainingOrder
from api_host.rates.layer import visit_of
from api_host.structs import worked_out

DAG = "train_model"
STATES = {"queued": "queued", "running": "running", "success": "succeeded", "failed": "failed"}
LONGEST_TEXT = 2000
LONGEST_KEY = 255

_GOOD_ID = re.compile(r"[A-Za-z0-9_.~:+-]{1,250}")


async def start_training(request: Request) -> Response:
    """`POST /v1/trainings`."""
    host = host_of(request)
    body = await read_body(request, host.settings)
    wanted = check(decode_json(body, host.limits.bounds) if body.strip() else {})
    check_model(caller_of(request), wanted)
    key = request.headers.get("Idempotency-Key")
    training_id = run_id(key)
    request_id = request.state.request_id
    trainings = Trainings(host.airflow)
    async with visit_of(request).training() as start:
        if start.refusal is None:
            run = await trainings.start(training_id, wanted, request_id)
            start.started = run is not None
        else:
            run = await trainings.find_repeated(training_id, start.refusal)
        if run is None:  # It is there already: by this key, or by our own first attempt.
            run = await trainings.find(training_id)
        if start.started:
            note_change(request, "training.start", f"training:{training_id}")
        else:
            _refuse_another(run, wanted)
    return json_response(
        _as_document(run), 202, {"Location": f"/v1/trainings/{quote(training_id)}"}
    )


async def get_training(request: Request) -> Response:
    """`GET /v1/trainings/{id}`."""
    training_id = request.path_params["id"]
    if not _GOOD_ID.fullmatch(training_id):
        raise Problem(UNKNOWN_TRAINING, f"{training_id[:100]!r} is not the id of a training")
    trainings = Trainings(host_of(request).airflow)
    run = await trainings.find(training_id)
    check_model(caller_of(request), run.get("conf") or {})
    result, problem = None, None
    if run["state"] == "success":
        result = await trainings.result(training_id)
    elif run["state"] == "failed":
        problem = await trainings.problem(training_id)
    return json_response(_as_document(run, result, problem))


def run_id(key: str | None) -> str:
    """The id of the DAG run that an idempotency key stands for; a new one without a key."""
    if key is None:
        return f"api-{uuid.uuid4().hex}"
    if not key.strip() or len(key) > LONGEST_KEY:
        raise Problem(
            INVALID_HEADER, f"the Idempotency-Key must have 1 to {LONGEST_KEY} characters"
        )
    return f"api-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def check(document: Any) -> dict[str, Any]:
    """The parameters of a training. Raises `Problem`, which names every mistake."""
    if not isinstance(document, dict):
        raise Problem(
            INVALID_TRAINING,
            "the body must be an object",
            mistakes=[Mistake("", "must be an object")],
        )
    mistakes = list(_mistakes(document))
    if mistakes:
        first = mistakes[0]
        raise Problem(INVALID_TRAINING, f"{first.pointer} {first.detail}", mistakes=mistakes)
    return document


def check_model(caller: Caller, wanted: Mapping[str, Any]) -> None:
    """Returns if a caller may have to do with a training of that. Raises `Problem`."""
    model = wanted.get("model_name")
    if caller.models is not None and model is None:
        raise Problem(
            FORBIDDEN,
            f"this caller may train only {', '.join(sorted(caller.models))}: name one of them as"
            " model_name",
        )
    if model is not None and not caller.may_ask(str(model)):
        raise no_model(str(model), Access.TRAIN)


def _mistakes(document: Mapping[str, Any]) -> Iterable[Mistake]:
    # One by one: msgspec itself names the first mistake only.
    types = {field.name: field.type for field in msgspec.structs.fields(TrainingOrder)}
    for name, value in document.items():
        if name not in types:
            yield Mistake(pointer(name), f"is not one of {', '.join(types)}")
            continue
        try:
            msgspec.convert(value, types[name])
        except msgspec.ValidationError as error:
            yield mistake(error, name)


class _Task(msgspec.Struct):
    task_id: str
    state: str | None = None
    map_index: int = -1


@worked_out
class _Tasks(msgspec.Struct):
    task_instances: list[_Task] = []


class Trainings:
    """The runs of the training DAG."""

    def __init__(self, airflow: AirflowClient) -> None:
        self._airflow = airflow

    async def start(
        self, training_id: str, wanted: Mapping[str, Any], request_id: str
    ) -> dict[str, Any] | None:
        """The run that was started; None if there is one of this id already."""
        response = await self._airflow.request(
            "POST",
            f"dags/{DAG}/dagRuns",
            json={
                "dag_run_id": training_id,
                "logical_date": None,
                "conf": {**wanted, "request_id": request_id},
                "note": f"request_id {request_id}",
            },
        )
        match response.status_code:
            case httpx.codes.CONFLICT:
                return None
            case httpx.codes.NOT_FOUND:
                raise AirflowAwayError(f"Airflow has no DAG {DAG} yet: see its dag-processor's log")
            case httpx.codes.BAD_REQUEST | httpx.codes.UNPROCESSABLE_ENTITY:
                raise Problem(INVALID_TRAINING, f"Airflow refuses: {_detail(response)}")
        return _run(response)

    async def find(self, training_id: str) -> dict[str, Any]:
        """The run of this id. Raises `Problem` if there is none."""
        response = await self._airflow.request("GET", f"dags/{DAG}/dagRuns/{quote(training_id)}")
        if response.status_code == httpx.codes.NOT_FOUND:
            raise Problem(UNKNOWN_TRAINING, f"Airflow has no run {training_id} of {DAG}")
        return _run(response)

    async def find_repeated(self, training_id: str, refusal: Problem) -> dict[str, Any]:
        """The run of this id. Raises the refusal if there is none, as none may be started."""
        try:
            return await self.find(training_id)
        except Problem:
            raise refusal from None

    async def result(self, training_id: str) -> Any:
        """What the DAG says of a run that went well."""
        return await self._xcom(training_id, "promote", "return_value")

    async def problem(self, training_id: str) -> str:
        """Why a run failed, in a sentence."""
        response = await self._airflow.request(
            "GET", f"dags/{DAG}/dagRuns/{quote(training_id)}/taskInstances?limit=100"
        )
        try:
            tasks = msgspec.convert(_json(response), _Tasks).task_instances
        except msgspec.ValidationError as error:
            raise AirflowAwayError(f"{response.url} does not answer as Airflow: {error}") from None
        failed = [task for task in tasks if task.state == "failed"]
        for task in failed:
            sentence = await self._xcom(training_id, task.task_id, "problem", task.map_index)
            if sentence:
                return str(sentence)
        names = ", ".join(sorted({task.task_id for task in failed})) or "no task"
        return f"failed: {names}; Airflow's log of the run {training_id} says more"

    async def _xcom(self, training_id: str, task: str, key: str, map_index: int = -1) -> Any:
        response = await self._airflow.request(
            "GET",
            f"dags/{DAG}/dagRuns/{quote(training_id)}/taskInstances/{quote(task)}"
            f"/xcomEntries/{key}?map_index={map_index}",
        )
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        return _json(response).get("value")


def _as_document(
    run: Mapping[str, Any], result: Any = None, problem: str | None = None
) -> Training:
    return Training(
        id=run["dag_run_id"],
        state=STATES.get(run["state"], run["state"]),
        request_id=(run.get("conf") or {}).get("request_id"),
        started=run.get("start_date"),
        ended=run.get("end_date"),
        result=result,
        problem=problem,
    )


def _refuse_another(run: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    before = {name: v for name, v in (run.get("conf") or {}).items() if name != "request_id"}
    if before != wanted:
        raise Problem(
            KEY_REUSED,
            f"the key has started {run['dag_run_id']} with {msgspec.json.encode(before).decode()}:"
            " use a new key for another training",
        )


def _run(response: httpx.Response) -> dict[str, Any]:
    run = _json(response)
    is_run = isinstance(run.get("dag_run_id"), str) and isinstance(run.get("state"), str)
    if not is_run or not isinstance(run.get("conf"), dict | None):
        raise AirflowAwayError(f"{response.url} answered something that is no DAG run")
    return run


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        response.raise_for_status()
        document = response.json()
    except (httpx.HTTPStatusError, ValueError, RecursionError) as error:
        raise AirflowAwayError(f"{response.url} does not answer as Airflow: {error}") from None
    if not isinstance(document, dict):
        raise AirflowAwayError(f"{response.url} does not answer as Airflow")
    return document


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])[:LONGEST_TEXT]
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
