"""New versions of a registered model, served while others ask for predictions of it."""

import time
from dataclasses import dataclass
from typing import Any, Self

import httpx

from dev_hosts.ports import LOOPBACK

ALIAS = "champion"
API = "/api/2.0/mlflow"
LOGGED = "models:/"
LOAD_SECONDS = 60.0


@dataclass(frozen=True)
class Swap:
    """From the request for another version until it serves, by `time.perf_counter`."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


class Promoter:
    """Makes the files of a model's first version a further version, and has that served.

    It has the same answers, so that every one can be checked whichever version gave it, and is
    downloaded, loaded and compiled as any other. A context manager.

    `mlflow_url`: the registry. `port`: where the API listens.
    """

    def __init__(self, mlflow_url: str, port: int, name: str) -> None:
        self._name = name
        self._mlflow = httpx.Client(base_url=mlflow_url, timeout=LOAD_SECONDS, trust_env=False)
        self._api = httpx.Client(
            base_url=f"http://{LOOPBACK}:{port}", timeout=LOAD_SECONDS, trust_env=False
        )
        self._first: dict[str, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._mlflow.close()
        self._api.close()

    def promote(self) -> Swap:
        """Returns as soon as the new version serves."""
        version = self._register()
        start = time.perf_counter()
        alias = {"name": self._name, "alias": ALIAS, "version": version}
        self._mlflow.post(f"{API}/registered-models/alias", json=alias).raise_for_status()
        # The API would notice by itself within a second; so it is known when it begins.
        loading = self._api.post(f"/v2/repository/models/{self._name}/load")
        end = time.perf_counter()
        loading.raise_for_status()
        return Swap(start, end)

    def _register(self) -> str:
        if self._first is None:
            found = self._version("get", self._mlflow.get, params={"version": "1"})
            source = found["source"]
            self._first = {"source": source, "model_id": source.removeprefix(LOGGED)}
        made = self._version("create", self._mlflow.post, json=self._first)
        return str(made["version"])

    def _version(self, what: str, ask: Any, **sent: dict[str, str]) -> dict[str, Any]:
        ((how, values),) = sent.items()
        answer = ask(f"{API}/model-versions/{what}", **{how: {"name": self._name, **values}})
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()["model_version"]
        return found
