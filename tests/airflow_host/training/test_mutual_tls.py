"""A training records to an MLflow that lets in only clients with a certificate.

A real MLflow behind a real nginx, with the environment that Airflow gives to a task.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from airflow_host.environment import airflow_environment
from airflow_host.settings import AirflowSettings
from airflow_host.training import steps
from airflow_host.training.settings import TrainingSettings
from hostkit.outside.proxy import Proxy
from hostkit.settings import load
from hostkit.signing.keys import make_key
from hostkit.tls import bundles
from hostkit.tls.authority import Authority
from hostkit.tls.client import ClientTls
from tests.airflow_host.training import tables
from tests.airflow_host.training.server import Server
from tests.hostkit.outside.servers import Front, fronting

pytestmark = [
    # MLflow compares columns in a way that Pandas has deprecated.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]

NOW = datetime.now(UTC)
DAYS = timedelta(days=90)
OF_A_TASK = ("MLFLOW_TRACKING_CLIENT_CERT_PATH", "MLFLOW_TRACKING_SERVER_CERT_PATH")


@dataclass(frozen=True)
class Estate:
    """The proxy, and the files of the Airflow host.

    `folder`: holds `ca` and `next`, two CAs.
    `shown`: what `TLS_CERTIFICATE_FILE` names.
    `believed`: the CA whose clients the proxy lets in.
    """

    front: Front
    folder: Path

    @property
    def shown(self) -> Path:
        return self.folder / "tls.pem"

    @property
    def believed(self) -> Path:
        return self.folder / "clients.pem"

    def issue(self, ca: str) -> None:
        """Puts a new certificate of a CA in the place of the one that is shown."""
        bundle, _ = bundles.issue(self.folder / ca, ["airflow.example.com"], DAYS, NOW)
        new = self.shown.with_suffix(".new")
        shutil.copy(bundle.file, new)
        new.replace(self.shown)

    def lets_in(self, certificate: Path) -> bool:
        context = ClientTls(self.folder / "ca" / "ca.pem", certificate).context
        with httpx.Client(verify=context, trust_env=False, timeout=60) as client:
            return client.get(f"{self.front.url}/health").is_success


@contextmanager
def estate_of(folder: Path, server: Server) -> Iterator[Estate]:
    for ca in ("ca", "next"):
        Authority.make(folder / ca, (), NOW)
    own, _ = bundles.issue(folder / "ca", ["localhost"], DAYS, NOW)
    believed = folder / "clients.pem"
    shutil.copy(folder / "ca" / "ca.pem", believed)
    port = httpx.URL(server.url).port or 0
    with fronting(Proxy.NGINX, folder, port, own.file, believed) as front:
        yield Estate(front, folder)


@pytest.fixture
def estate(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Estate]:
    with estate_of(tmp_path, server) as made:
        made.issue("ca")
        given = {
            "AIRFLOW_PUBLIC_URL": "http://airflow:8080",
            "AIRFLOW_PASSWORD": "correct horse battery",
            "API_SERVER_URL": "http://api:8000",
            "MLFLOW_TRACKING_URI": made.front.url,
            "SSL_CERT_FILE": str(tmp_path / "ca" / "ca.pem"),
            "TLS_CERTIFICATE_FILE": str(made.shown),
        }
        loaded = load(AirflowSettings, environment=given)
        environment = airflow_environment(loaded.settings, given, {}, json_logs=True)
        for name in (*OF_A_TASK, "MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY"):
            monkeypatch.setenv(name, environment[name])
        monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")
        mlflow.set_tracking_uri(made.front.url)
        yield made


def train(estate: Estate, name: str, table: pd.DataFrame) -> dict[str, Any]:
    """All steps of a run."""
    folder = estate.folder
    if not (folder / "MODEL_SIGNING_KEY").exists():
        (folder / "MODEL_SIGNING_KEY").write_text(make_key())
    settings = TrainingSettings.model_validate(
        {
            "AIRFLOW_HOME": folder / "airflow",
            "MLFLOW_TRACKING_URI": estate.front.url,
            "TRAINING_DATA_FOLDERS": str(folder),
            "MODEL_SIGNING_KEY_FILE": str(folder / "MODEL_SIGNING_KEY"),
        }
    )
    path = folder / f"{name}.csv"
    path.write_bytes(tables.csv(table))
    job = steps.read_table(
        settings,
        dag_id="train_model",
        dag_run_id=name,
        model_name="weather",
        data_uri=str(path),
        target="weather",
    )
    trained = [steps.train(settings, job, "linear")]
    return steps.promote(settings, job, steps.register(settings, job, trained))


def test_a_training_shows_the_certificate_also_one_that_was_renewed_meanwhile(
    estate: Estate,
) -> None:
    assert train(estate, "first", tables.weather())["promoted"]

    # Another CA, so that nothing that was read before is let in any more.
    former = estate.folder / "former.pem"
    shutil.copy(estate.shown, former)
    shutil.copy(estate.folder / "next" / "ca.pem", estate.believed)
    estate.front.reload()
    assert not estate.lets_in(former)
    estate.issue("next")
    assert estate.lets_in(estate.shown)

    # It downloads the first model to compare itself with it.
    second = train(estate, "second", tables.weather())
    assert "champion" in second["reason"]
    client = MlflowClient()
    versions = client.search_model_versions("name = 'weather'")
    assert {str(version.version) for version in versions} == {"1", "2"}
    files = mlflow.artifacts.download_artifacts("models:/weather/2", dst_path=str(estate.folder))
    assert (Path(files) / "MLmodel").is_file()


def test_without_a_certificate_a_training_says_what_is_missing(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_CLIENT_CERT_PATH")
    with pytest.raises(MlflowException, match="No required SSL certificate was sent"):
        train(estate, "bare", tables.weather())
