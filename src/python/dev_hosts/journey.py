"""The way of a model: trained by Airflow, registered in MLflow, served by the API."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import httpx
from pydantic import BaseModel

from dev_hosts.errors import JourneyError
from dev_hosts.progress import Progress

TRAIN_SECONDS = 300.0
"""How long a training may take, from the request to the DAG's end."""

SERVE_SECONDS = 60.0
"""How long the API may take to serve a champion that was promoted."""

POLL_SECONDS = 0.2

Answer = TypeVar("Answer", bound=BaseModel)
Document = TypeVar("Document", bound=BaseModel)
Scalar = bool | int | float | str | None


class Place(Protocol):
    """All three hosts, wherever they run."""

    @property
    def logs(self) -> object:
        """Where a person reads what went wrong."""

    def check_running(self) -> None:
        """Raises `HostError` where one has died."""

    def connect(self, name: str) -> httpx.Client:
        """A client of one of the hosts."""


class Version(BaseModel):
    """A version of a registered model."""

    name: str
    version: str


class Champion(BaseModel):
    """The version that the alias points to after a training."""

    version: str


class Outcome(BaseModel):
    """What a training came to: the version that it registered, and whether it is champion now."""

    model: Version
    promoted: bool
    reason: str
    metrics: dict[str, float]
    champion: Champion


class Training(BaseModel):
    """The API's document of a training."""

    id: str
    state: str
    result: Outcome | None = None
    problem: str | None = None


class ModelState(BaseModel):
    """What the API's document of a model says before it is served, and after."""

    version: str | None
    problem: str | None


class ServedModel(Version):
    """The API's document of a model that it serves."""

    alias: str
    metrics: dict[str, float]
    example: list[dict[str, Scalar]]


class Prediction(BaseModel):
    """The API's answer to rows."""

    model: Version
    predictions: list[Scalar]


@dataclass(frozen=True)
class Journey:
    """What happened on the way.

    `training`: the id of the training.
    `outcome`: what it came to.
    `model`: what is served now.
    `prediction`: the answer to the model's own example rows.
    `seconds`: how long "train" and "serve" took.
    """

    training: str
    outcome: Outcome
    model: ServedModel
    prediction: Prediction
    seconds: dict[str, float]


def travel(hosts: Place, progress: Progress) -> Journey:
    """Trains, waits until the champion is served, and predicts. Raises `JourneyError`."""
    with hosts.connect("api") as api:
        start = time.monotonic()
        training, outcome = train(hosts, api, progress)
        trained = time.monotonic()
        progress.done(f"training {training}: {outcome.reason}", trained - start)
        champion = Version(name=outcome.model.name, version=outcome.champion.version)
        model = wait_until_served(hosts, api, champion, progress)
        served = time.monotonic()
        progress.done(f"{model.name} version {model.version} is served", served - trained)
        prediction = predict(api, model)
    seconds = {"train": trained - start, "serve": served - trained}
    return Journey(training, outcome, model, prediction, seconds)


def train(
    hosts: Place, api: httpx.Client, progress: Progress, **parameters: Scalar
) -> tuple[str, Outcome]:
    """Starts a training through the API and follows it to its end. Raises `JourneyError`.

    `parameters`: of the DAG `train_model`, for instance `data_uri`.
    Returns the training's id and what it came to.
    """

    def begin() -> Training | str:
        return _parse_unless_away(Training, api.post("/v1/trainings", json=parameters))

    def end() -> Training | str:
        seen = _parse_unless_away(Training, api.get(f"/v1/trainings/{training.id}"))
        if isinstance(seen, str) or seen.state in ("succeeded", "failed"):
            return seen
        return f"training {seen.id} ({seen.state})"

    training = _wait(hosts, begin, TRAIN_SECONDS, progress)
    ended = _wait(hosts, end, TRAIN_SECONDS, progress)
    if ended.result is None:
        raise JourneyError(f"training {ended.id} {ended.state}: {ended.problem}")
    return ended.id, ended.result


def wait_until_served(
    hosts: Place, api: httpx.Client, champion: Version, progress: Progress
) -> ServedModel:
    """Waits until the API serves a version, and returns its document of the model."""

    def served() -> ServedModel | str:
        waiting = f"waiting for {champion.name} version {champion.version} to be served"
        response = api.get(f"/v1/models/{champion.name}")
        if response.status_code == httpx.codes.NOT_FOUND:
            return waiting
        state = _parse(ModelState, response)
        if state.version == champion.version:
            return _parse(ServedModel, response)
        return f"{waiting} ({state.problem})" if state.problem else waiting

    return _wait(hosts, served, SERVE_SECONDS, progress)


def predict(api: httpx.Client, model: ServedModel) -> Prediction:
    """Predicts the rows that were logged with the model as its example."""
    response = api.post(f"/v1/models/{model.name}/predict", json={"rows": model.example})
    return _parse(Prediction, response)


def _wait(
    hosts: Place, look: Callable[[], Answer | str], seconds: float, progress: Progress
) -> Answer:
    """What `look` answers at last; until then it says what is being waited for."""
    seen: Answer | str = ""
    for _ in _until(time.monotonic() + seconds):
        hosts.check_running()
        try:
            seen = look()
        except httpx.TransportError as error:
            raise JourneyError(f"the API does not answer ({error}) after {seen!r}") from None
        if not isinstance(seen, str):
            return seen
        progress.waiting(seen)
    raise JourneyError(f"{seen} took longer than {seconds:.0f} s; see {hosts.logs}")


def _until(deadline: float) -> Iterator[None]:
    while time.monotonic() < deadline:
        yield
        time.sleep(POLL_SECONDS)


def _parse(document: type[Document], response: httpx.Response) -> Document:
    if not response.is_success:
        raise JourneyError(
            f"{response.request.url} answered {response.status_code}: {response.text}"
        )
    return document.model_validate_json(response.content)


def _parse_unless_away(document: type[Document], response: httpx.Response) -> Document | str:
    """The document, or why there is none for now: Airflow may not have read the DAG yet."""
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return f"waiting for Airflow: {response.json()['detail']}"
    return _parse(document, response)
