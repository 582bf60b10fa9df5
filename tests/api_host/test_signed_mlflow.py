"""With a real MLflow, whose artifacts somebody changes on its disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus

from api_host.settings import ApiSettings
from hostkit.signing.statement import Identity
from tests.airflow_host.training.server import Server, mlflow_server
from tests.api_host.conftest import Start, until, until_served
from tests.api_host.signed_models import Signer

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with mlflow_server(tmp_path) as running:
        mlflow.set_tracking_uri(running.url)
        yield running
        mlflow.set_tracking_uri("")


def register(signer: Signer, model: Path, folder: Path) -> str:
    """Makes a signed copy of a model iris's champion. Its id in MLflow."""
    client = MlflowClient()
    experiment = mlflow.set_experiment("iris").experiment_id
    run_id = client.create_run(experiment).info.run_id
    model_id: str = client.create_logged_model(experiment, source_run_id=run_id).model_id
    files = folder / model_id
    shutil.copytree(model, files)
    signer.sign(files, Identity("iris", run_id, model_id))
    client.log_model_artifacts(model_id, str(files))
    client.finalize_logged_model(model_id, LoggedModelStatus.READY)
    if not client.search_registered_models():
        client.create_registered_model("iris")
    version = client.create_model_version(
        "iris", f"models:/{model_id}", run_id, model_id=model_id
    ).version
    client.set_registered_model_alias("iris", "champion", version)
    return model_id


async def test_a_byte_that_changed_in_the_artifacts_is_refused_and_the_last_good_version_serves_on(
    server: Server, settings: ApiSettings, start: Start, models: Path, tmp_path: Path
) -> None:
    signer = Signer(tmp_path)
    signed = settings.model_copy(
        update={"mlflow_tracking_uri": server.url, "model_public_keys": (signer.public,)}
    )
    first = register(signer, models / "linear", tmp_path)
    async with start(signed) as api:
        await until_served(api, "1")
        [file] = server.folder.glob(f"artifacts/**/{first}/artifacts/model.skops")
        content = bytearray(file.read_bytes())
        content[100] ^= 1
        file.write_bytes(content)  # Whoever has it already needs it no more.
        second = register(signer, models / "forest", tmp_path)
        await until_served(api, "2")

    [file] = server.folder.glob(f"artifacts/**/{second}/artifacts/model.skops")
    whole = file.read_bytes()
    file.write_bytes(whole + b"more")
    client = MlflowClient()
    async with start(signed) as api:
        await until_served(api, "2")  # From its own disk.
        client.set_registered_model_alias("iris", "champion", "1")
        for copy in signed.state_directory.glob("models/iris/1-*"):
            shutil.rmtree(copy)

        async def problem() -> str | None:
            [model] = (await api.get("/v1/models")).json()["models"]
            found: str | None = model["problem"]
            return found

        said = await until(problem)
        assert "version 1 is not served: its file model.skops is not the one" in said
        await until_served(api, "2")
