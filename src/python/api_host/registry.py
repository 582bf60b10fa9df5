"""MLflow's registry and artifact store over its REST API: which models there are; their files."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from api_host.errors import ModelRefusedError, NotRegisteredError, RegistryAwayError

PAGE_SIZE = 1000
API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


class RegisteredModel(msgspec.Struct, frozen=True):
    """A name in the registry.

    `created`: when, in milliseconds; another value means another model of the same name.
    `aliases`: the version that each alias points to.
    """

    name: str
    created: int
    aliases: dict[str, str]


class ModelVersion(msgspec.Struct, frozen=True):
    """A version in the registry, which never changes.

    `created`: when, in milliseconds.
    `run_id`: the run that logged it; empty if none did.
    `metrics`: what was measured when it was trained.
    `tags`: what was noted when it was registered.
    """

    name: str
    version: str
    created: int
    run_id: str
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}

    @property
    def key(self) -> str:
        """What tells it from every other version of that name, also of a name used again."""
        return f"{self.version}-{self.created}"


class Registry:
    """A client of one MLflow server.

    `client`: whose base URL is the tracking URI.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def models(self) -> dict[str, RegisteredModel]:
        """Every registered model, by name."""
        models = {}
        page: dict[str, str] = {}
        while True:
            answer = await self._get("registered-models/search", max_results=str(PAGE_SIZE), **page)
            for model in answer.get("registered_models", ()):
                aliases = {item["alias"]: item["version"] for item in model.get("aliases", ())}
                models[model["name"]] = RegisteredModel(
                    model["name"], int(model["creation_timestamp"]), aliases
                )
            if not answer.get("next_page_token"):
                return models
            page = {"page_token": answer["next_page_token"]}

    async def version(self, name: str, version: str) -> ModelVersion:
        """What the registry knows of one version, with the metrics of its training."""
        answer = await self._get("model-versions/get", name=name, version=version)
        found = answer["model_version"]
        run_id = found.get("run_id", "")
        return ModelVersion(
            name,
            str(found["version"]),
            int(found["creation_timestamp"]),
            run_id,
            await self._metrics(run_id) if run_id else {},
            {tag["key"]: tag["value"] for tag in found.get("tags", ())},
        )

    async def files(self, version: ModelVersion) -> "RemoteFiles":
        """The files of a version, to be downloaded by name."""
        answer = await self._get(
            "model-versions/get-download-uri", name=version.name, version=version.version
        )
        uri = urlsplit(answer["artifact_uri"])
        if uri.scheme != "mlflow-artifacts" or uri.netloc:
            raise ModelRefusedError(
                f"the files of {version.name} version {version.version} are at"
                f" {answer['artifact_uri']}: only files that MLflow itself serves are loaded;"
                " start MLflow with --serve-artifacts"
            )
        return RemoteFiles(self._client, uri.path.strip("/"))

    async def _metrics(self, run_id: str) -> dict[str, float]:
        try:
            answer = await self._get("runs/get", run_id=run_id)
        except NotRegisteredError:  # Runs may be deleted while their models serve on.
            return {}
        metrics = answer["run"]["data"].get("metrics", ())
        return {metric["key"]: float(metric["value"]) for metric in metrics}

    async def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        async with _translated(self._client, parameters):
            response = await self._client.get(f"{API}/{path}", params=parameters)
            response.raise_for_status()
            answer = response.json()
        if not isinstance(answer, dict):
            raise RegistryAwayError(f"{response.url} answered something that is not MLflow's")
        return answer


class RemoteFiles:
    """The artifact folder of one model version."""

    def __init__(self, client: httpx.AsyncClient, root: str) -> None:
        self._client = client
        self._root = root

    async def download(self, name: str, destination: Path) -> None:
        """Copies one file. What is at `destination` is whole only if this returns."""
        url = f"{ARTIFACTS}/{quote(f'{self._root}/{name}')}"
        async with (
            _translated(self._client, {"file": name}),
            self._client.stream("GET", url) as response,
        ):
            response.raise_for_status()
            with destination.open("wb") as file:
                async for chunk in response.aiter_bytes():
                    file.write(chunk)


@asynccontextmanager
async def _translated(client: httpx.AsyncClient, what: Mapping[str, str]) -> AsyncIterator[None]:
    """Turns what the network and MLflow do into one of our errors."""
    words = " ".join(f"{key}={value}" for key, value in what.items() if key != "max_results")
    try:
        yield
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status == httpx.codes.NOT_FOUND:
            raise NotRegisteredError(f"{client.base_url} has nothing for {words}") from None
        raise RegistryAwayError(
            f"{error.request.url.copy_with(query=None)} answered {status}"
        ) from None
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise RegistryAwayError(f"{client.base_url} cannot be reached: {reason}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryAwayError(f"{client.base_url} does not answer as MLflow: {error!r}") from None
