"""MLflow's registry and artifact store over its REST API: which models there are; their files."""

from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from api_host import peers
from api_host.errors import ModelRefusedError, NotRegisteredError, RegistryAwayError
from api_host.models.lineage import DatasetInput, Run, read_run
from api_host.models.room import Room
from api_host.structs import worked_out

PAGE_SIZE = "1000"
MOST_PAGES = 100
LONGEST_QUOTE = 200
MOST_FILES = 10_000
API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"

Answer = TypeVar("Answer")


class RegisteredModel(msgspec.Struct, frozen=True):
    """A name in the registry.

    `created`: when, in milliseconds; another value means another model of the same name.
    `aliases`: the version that each alias points to.
    `updated`: when something was changed last, in milliseconds.
    """

    name: str
    created: int
    aliases: dict[str, str]
    updated: int = 0


class ModelVersion(msgspec.Struct, frozen=True):
    """A version in the registry, which never changes.

    `created`: when, in milliseconds.
    `run_id`: the run that logged it; empty if none did.
    `source`: of what in MLflow it was made.
    `metrics`: what was measured when it was trained.
    `tags`: what was noted when it was registered.
    `run`: what is known of that run.
    """

    name: str
    version: str
    created: int
    run_id: str
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    run: Run = Run()
    source: str = ""

    @property
    def key(self) -> str:
        """What tells it from every other version of that name, also of a name used again."""
        return f"{self.version}-{self.created}"


class _Alias(msgspec.Struct):
    alias: str
    version: str


class _Model(msgspec.Struct):
    name: str
    creation_timestamp: int
    last_updated_timestamp: int = 0
    aliases: list[_Alias] = []


@worked_out
class _Page(msgspec.Struct):
    registered_models: list[_Model] = []
    next_page_token: str = ""


class _Tag(msgspec.Struct):
    key: str
    value: str = ""


class _Version(msgspec.Struct):
    version: str
    creation_timestamp: int
    run_id: str = ""
    source: str = ""
    tags: list[_Tag] = []


@worked_out
class _VersionAnswer(msgspec.Struct):
    model_version: _Version


class _Metric(msgspec.Struct):
    key: str
    value: float


class _RunInfo(msgspec.Struct):
    experiment_id: str | None = None


class _RunData(msgspec.Struct):
    metrics: list[_Metric] = []
    tags: list[_Tag] = []


class _RunInputs(msgspec.Struct):
    dataset_inputs: list[DatasetInput] = []


class _Run(msgspec.Struct):
    info: _RunInfo = msgspec.field(default_factory=_RunInfo)
    data: _RunData = msgspec.field(default_factory=_RunData)
    inputs: _RunInputs = msgspec.field(default_factory=_RunInputs)


@worked_out
class _RunAnswer(msgspec.Struct):
    run: _Run


class _File(msgspec.Struct):
    path: str
    is_dir: bool = False


@worked_out
class _FilesAnswer(msgspec.Struct):
    files: list[_File] = []


@worked_out
class _UriAnswer(msgspec.Struct):
    artifact_uri: str


class Registry:
    """A client of one MLflow server.

    `client`: whose base URL is the tracking URI.
    `most_bytes`: how many bytes the files of a version may have together; None: any.
    """

    def __init__(self, client: httpx.AsyncClient, *, most_bytes: int | None = None) -> None:
        self._client = client
        self._most_bytes = most_bytes

    async def models(self) -> dict[str, RegisteredModel]:
        """Every registered model, by name."""
        models = {}
        token: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            page = await self._get(
                "registered-models/search", _Page, max_results=PAGE_SIZE, **token
            )
            for model in page.registered_models:
                aliases = {item.alias: item.version for item in model.aliases}
                models[model.name] = RegisteredModel(
                    model.name, model.creation_timestamp, aliases, model.last_updated_timestamp
                )
            if not page.next_page_token:
                return models
            token = {"page_token": page.next_page_token}
        raise RegistryAwayError(f"{self._client.base_url} names models without end")

    async def version(self, name: str, version: str) -> ModelVersion:
        """What the registry knows of one version and of its training."""
        answer = await self._get("model-versions/get", _VersionAnswer, name=name, version=version)
        found = answer.model_version
        run = await self._run(found.run_id) if found.run_id else _Run()
        return ModelVersion(
            name,
            found.version,
            found.creation_timestamp,
            found.run_id,
            {metric.key: metric.value for metric in run.data.metrics},
            {tag.key: tag.value for tag in found.tags},
            read_run(
                run.info.experiment_id,
                {tag.key: tag.value for tag in run.data.tags},
                run.inputs.dataset_inputs,
            ),
            found.source,
        )

    async def files(self, version: ModelVersion) -> "RemoteFiles":
        """The files of a version, to be downloaded by name."""
        answer = await self._get(
            "model-versions/get-download-uri",
            _UriAnswer,
            name=version.name,
            version=version.version,
        )
        uri = urlsplit(answer.artifact_uri)
        if uri.scheme != "mlflow-artifacts" or uri.netloc:
            raise ModelRefusedError(
                f"its files are at {answer.artifact_uri}, and only files that the registry itself"
                " serves are loaded: start MLflow with --serve-artifacts and register it again"
            )
        return RemoteFiles(self, self._client, uri.path.strip("/"), Room(self._most_bytes))

    async def names_in(self, folder: str) -> tuple[list[str], list[str]]:
        """The names of the files in an artifact folder, and those of its folders."""
        answer = await self._get(ARTIFACTS, _FilesAnswer, path=folder)
        names = {True: list[str](), False: list[str]()}
        for file in answer.files:
            names[file.is_dir].append(file.path)
        return names[False], names[True]

    async def _run(self, run_id: str) -> _Run:
        try:
            return (await self._get("runs/get", _RunAnswer, run_id=run_id)).run
        except NotRegisteredError:  # Runs may be deleted while their models serve on.
            return _Run()

    async def _get(self, path: str, answer: type[Answer], /, **parameters: str) -> Answer:
        async with _translated(self._client):
            url = path if path.startswith("/") else f"{API}/{path}"
            request = self._client.build_request("GET", url, params=parameters)
            response = await peers.ask(self._client, request)
            _check(response)
            # MLflow writes 64-bit numbers as strings in some places.
            return msgspec.json.decode(response.content, type=answer, strict=False)


class RemoteFiles:
    """The artifact folder of one model version.

    `room`: that all its files take up together.
    """

    def __init__(
        self, registry: Registry, client: httpx.AsyncClient, root: str, room: Room
    ) -> None:
        self._registry = registry
        self._client = client
        self._root = root
        self._room = room

    async def names(self) -> list[str]:
        """The paths of all files."""
        found: list[str] = []
        folders, asked = [""], 0
        while folders:
            folder = folders.pop()
            files, below = await self._registry.names_in(f"{self._root}/{folder}".rstrip("/"))
            found += [f"{folder}{name}" for name in files]
            folders += [f"{folder}{name}/" for name in below]
            asked += 1
            if len(found) + len(folders) + asked > MOST_FILES:
                raise ModelRefusedError(f"it has more than {MOST_FILES} files")
        return found

    async def download(self, name: str, destination: Path, *, most: int | None = None) -> None:
        """Copies one file. What is at `destination` is whole only if this returns.

        `most`: how many bytes it may have.
        """
        url = f"{ARTIFACTS}/{quote(f'{self._root}/{name}')}"
        async with _translated(self._client), self._client.stream("GET", url) as response:
            _check(response)
            self._room.check(destination.parent, _announced(response))
            with destination.open("wb") as file:
                async for chunk in response.aiter_bytes():
                    self._room.take(destination.parent, len(chunk))
                    file.write(chunk)
                    if most is not None and file.tell() > most:
                        raise ModelRefusedError(f"its file {name} has more than {most} bytes")


def _announced(response: httpx.Response) -> int:
    """How many bytes a server says that it will send; it need not be true."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    where = response.url.copy_with(query=None)
    if response.status_code == httpx.codes.NOT_FOUND:
        raise NotRegisteredError(f"{where} has no {response.url.query.decode() or 'such file'}")
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise RegistryAwayError(_refused(response))
    said = response.text[:LONGEST_QUOTE].strip() if response.is_stream_consumed else ""
    raise RegistryAwayError(f"{where} answered {response.status_code}: {said}")


def _refused(response: httpx.Response) -> str:
    """What an operator does about an account that MLflow does not take."""
    given = response.request.headers.get("Authorization")
    if given is None:
        return (
            "MLflow wants an account, and MLFLOW_TRACKING_PASSWORD is not set: 'mlflow_host.pex"
            " users add-service api' on MLflow's server makes one"
        )
    name = b64decode(given.partition(" ")[2]).decode().partition(":")[0]
    if response.status_code == httpx.codes.UNAUTHORIZED:
        return (
            f"MLflow refuses the account {name}: MLFLOW_TRACKING_PASSWORD is not its password, or"
            " there is no such account"
        )
    return (
        f"MLflow refuses the account {name}: it may not read {response.url.path}; 'mlflow_host.pex"
        " users add-service api' on MLflow's server makes one that may"
    )


@asynccontextmanager
async def _translated(client: httpx.AsyncClient) -> AsyncIterator[None]:
    """Turns what the network and a server do into one of our errors."""
    try:
        yield
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise RegistryAwayError(f"{client.base_url} cannot be reached: {reason}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryAwayError(f"{client.base_url} does not answer as MLflow: {error}") from None
