"""One MLflow server for all tests of the steps."""

import importlib
import warnings
from collections.abc import Iterator

import pytest

from tests.airflow_host.training.server import Server, mlflow_server

with warnings.catch_warnings():
    # Libraries that warn of themselves as they are imported: once, and not as an error.
    warnings.simplefilter("ignore")
    importlib.import_module("fastparquet")
    importlib.import_module("mlflow.pyfunc")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as running:
        yield running
