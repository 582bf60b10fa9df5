"""Where a model version comes from, as MLflow notes it and callers see it."""

import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from google.protobuf.json_format import MessageToDict
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunTag,
)

from api_host.models.store import Store
from api_host.settings import ApiSettings
from tests.api_host.conftest import Start, until_served
from tests.api_host.registry_server import RegistryServer

pytestmark = pytest.mark.anyio

TRAINED = {
    "dag_id": "train_model",
    "dag_run_id": "manual__2026-01-31",
    "data_uri": "s3://tables/iris.csv",
    "data_fingerprint": "ab" * 32,
    "git_revision": "c" * 40,
}
NOTHING = {
    "run_id": None,
    "run_url": None,
    "experiment_id": None,
    "data": {"name": None, "source": None, "fingerprint": None, "rows": None},
    "git_revision": None,
    "dag_id": None,
    "dag_run_id": None,
}


def run(tags: dict[str, str], *inputs: DatasetInput) -> dict[str, Any]:
    """A run as MLflow writes it."""
    info = RunInfo("run-1", "7", "me", "FINISHED", 0, 1, "active")
    data = RunData([], [], [RunTag(*tag) for tag in tags.items()])
    found = Run(info, data, RunInputs(list(inputs))).to_proto()
    document: dict[str, Any] = MessageToDict(found, preserving_proto_field_name=True)
    return document


def dataset(name: str, context: str, source: Any, profile: Any) -> DatasetInput:
    texts = [each if isinstance(each, str) else json.dumps(each) for each in (source, profile)]
    found = Dataset(name, f"digest of {name}", "local", texts[0], "{}", texts[1])
    return DatasetInput(found, [InputTag("mlflow.data.context", context)])


async def lineage(start: Start, settings: ApiSettings) -> Any:
    async with start(settings) as api:
        await until_served(api, "1")
        return (await api.get("/v1/models/iris")).json()["lineage"]


async def test_a_version_of_train_model_says_all_that_there_is(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    registry.models["iris"].tags = TRAINED
    inputs = dataset("iris.csv", "training", {"uri": "s3://tables/iris.csv"}, {"num_rows": 150})
    registry.runs["run-1"] = run({**TRAINED, "mlflow.source.git.commit": "d" * 40}, inputs)
    assert await lineage(start, settings) == {
        "run_id": "run-1",
        "run_url": f"{registry.url}/#/experiments/7/runs/run-1",
        "experiment_id": "7",
        "data": {
            "name": "iris.csv",
            "source": "s3://tables/iris.csv",
            "fingerprint": "ab" * 32,
            "rows": 150,
        },
        "git_revision": "c" * 40,
        "dag_id": "train_model",
        "dag_run_id": "manual__2026-01-31",
    }


async def test_a_version_of_somebody_elses_says_what_mlflow_noted_and_no_secret(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    registry.models["iris"].tags = {}
    registry.runs["run-1"] = run(
        {"mlflow.source.git.commit": "d" * 40, "mlflow.user": "me"},
        dataset("held out", "evaluation", {"uri": "/held_out.csv"}, {"num_rows": 10}),
        dataset("web", "training", {"url": "https://me:pw@data/web.csv?signature=x"}, "no object"),
    )
    found = await lineage(start, settings)
    assert found["data"] == {
        "name": "web",
        "source": "https://data/web.csv",
        "fingerprint": "digest of web",
        "rows": None,
    }
    assert found["git_revision"] == "d" * 40
    assert (found["dag_id"], found["dag_run_id"]) == (None, None)


@pytest.mark.parametrize(
    "source", ['{"tags": {}}', "", "[1]", '{"uri": 1}', '{"uri": "http://[x"}']
)
async def test_an_odd_source_of_data_is_no_reason_not_to_serve(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path, source: str
) -> None:
    registry.promote("iris", models / "linear")
    registry.models["iris"].tags = {}
    registry.runs["run-1"] = run({}, dataset("odd", "training", source, {"num_rows": "many"}))
    found = await lineage(start, settings)
    assert (found["data"]["name"], found["data"]["rows"]) == ("odd", None)


async def test_what_is_not_known_is_null(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    assert await lineage(start, settings) == {**NOTHING, "run_id": "run-1"}


async def test_it_is_known_while_mlflow_is_away_also_of_a_copy_of_an_older_release(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    registry.models["iris"].tags = TRAINED
    registry.runs["run-1"] = run(TRAINED)
    before = await lineage(start, settings)
    registry.stop()
    assert await lineage(start, settings) == before
    (copy,) = Store.of(settings).last_good("champion")
    manifest = copy.folder / "copy.json"  # type: ignore[union-attr]
    document = msgspec.json.decode(manifest.read_bytes())
    del document["version"]["run"]
    manifest.write_bytes(msgspec.json.encode(document))
    found = await lineage(start, settings)
    assert found == {**before, "run_url": None, "experiment_id": None}


async def test_requests_do_not_ask_the_registry_for_it(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    registry.runs["run-1"] = run(TRAINED)
    async with start(settings) as api:
        await until_served(api, "1")
        registry.runs.clear()
        registry.status = 500
        answer: httpx.Response = await api.get("/v1/models/iris")
    assert answer.json()["lineage"]["dag_id"] == "train_model"
