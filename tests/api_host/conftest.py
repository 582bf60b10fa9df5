"""Real models, as `mlflow.sklearn` writes them, and an API that serves them."""

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import httpx
import numpy as np
import pandas as pd
import pytest
import structlog
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from api_host.app import create_app
from api_host.models import follower
from api_host.serve import grpc_socket
from api_host.settings import ApiSettings
from tests.api_host.registry_server import RegistryServer, running

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints as it is imported.
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature

IRIS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
TREES = ["sklearn.tree._tree.Tree"]

T = TypeVar("T")
Start: TypeAlias = Callable[[ApiSettings], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def iris() -> tuple[pd.DataFrame, "np.ndarray[Any, Any]"]:
    """The measurements and the names of the species."""
    data = load_iris(as_frame=True)
    return data.data.set_axis(IRIS, axis=1), data.target_names[data.target]


def save(estimator: Any, folder: Path, example: Any, **options: Any) -> Path:
    """Writes a model as a training would, with the signature of `example`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow is not yet friends with this pandas.
        options.setdefault("signature", infer_signature(example, estimator.predict(example)))
        options.setdefault("input_example", example[:3])
        mlflow.sklearn.save_model(estimator, folder, pip_requirements=["scikit-learn"], **options)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models: `linear`, `forest`, `mixed`, `array`."""
    folder = tmp_path_factory.mktemp("models")
    x, y = iris()
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    save(linear, folder / "linear", x)
    forest = RandomForestClassifier(20, random_state=0).fit(x, y)
    save(forest, folder / "forest", x, skops_trusted_types=TREES)
    array = LogisticRegression(max_iter=1000).fit(x.to_numpy(), y)
    save(array, folder / "array", x.to_numpy())
    _save_mixed(folder / "mixed")
    return folder


def _save_mixed(folder: Path) -> None:
    table = pd.DataFrame(
        {
            "city": ["Bern", "Basel", "Chur", "Genf"] * 25,
            "rooms": np.arange(100, dtype=np.int64) % 7,
            "floor": np.arange(100, dtype=np.int32) % 5,
            "new": np.arange(100) % 3 == 0,
            "area": np.linspace(20, 200, 100, dtype=np.float32),
            "tax": [None if row % 10 == 0 else row / 100 for row in range(100)],
        }
    )
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough"
    )
    model = make_pipeline(encoder, HistGradientBoostingRegressor(max_iter=10))
    model.fit(table, np.linspace(0, 1, 100))
    save(
        model,
        folder,
        table,
        skops_trusted_types=["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"],
    )


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    """A registry without models."""
    with running() as server:
        yield server


@pytest.fixture
def settings(registry: RegistryServer, tmp_path: Path) -> ApiSettings:
    """Settings of an API that follows `registry`; there is no Airflow."""
    return ApiSettings(
        mlflow_tracking_uri=registry.url,
        airflow_base_url="http://127.0.0.1:9",
        state_directory=tmp_path / "state",
        api_rate_requests=100_000,  # All clients of a test are one caller.
    )


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts an API; `async with start(settings) as api` gives a client of it."""
    monkeypatch.setattr(follower, "POLL_SECONDS", 0.05)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    @asynccontextmanager
    async def start(settings: ApiSettings) -> AsyncIterator[httpx.AsyncClient]:
        with grpc_socket(settings) or nullcontext() as listener:
            app = create_app(settings, listener)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(app), base_url="http://api"
                ) as client,
            ):
                yield client

    return start


async def until(condition: Callable[[], Awaitable[T | None]], *, seconds: float = 60.0) -> T:
    """What `condition` gives as soon as it gives something."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):  # noqa: ASYNC110 - it may be another program's
            await asyncio.sleep(0.02)
    return found


async def until_served(api: httpx.AsyncClient, version: str, name: str = "iris") -> None:
    """Waits until a version of a model serves."""

    async def is_served() -> bool:
        models = (await api.get("/v1/models")).json()["models"]
        return (name, version) in {(model["name"], model["version"]) for model in models}

    await until(is_served)
