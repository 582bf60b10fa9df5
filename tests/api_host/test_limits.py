"""What a model may be asked, whoever asks and by which protocol."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_host.definition import DEFINITION
from api_host.limits import Limits
from api_host.settings import ApiSettings
from hostkit.errors import SettingsError
from hostkit.settings import load
from tests.api_host.arrow_streams import ARROW, column, written
from tests.api_host.conftest import IRIS, Start, until_served
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_app import ROW, assert_problem
from tests.api_host.test_links import doctor, env_file

pytestmark = pytest.mark.anyio

FOUR_ROWS = {"rows": [ROW] * 4}
TENSOR = {"name": "any", "shape": [4, 4], "datatype": "FP64", "data": [[5.1, 3.5, 1.4, 0.2]] * 4}


def read(**environment: str) -> ApiSettings:
    return load(ApiSettings, environment=environment).settings


def test_what_a_model_has_no_limit_for_is_as_for_all() -> None:
    text = " forest waiting=64  timeout_seconds=0.5, my model max_rows=7,"
    limits = read(MODEL_LIMITS=text, API_BATCH_ROWS="9").limits
    assert limits.of("forest") == Limits(64, 9, 100_000, 0.5)
    assert limits.of("my model") == Limits(256, 9, 7, 30.0)
    assert limits.of("other") == Limits(256, 9, 100_000, 30.0)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("forest", "'forest' names no limit: it must have one or more of waiting=N, batch_rows=N"),
        ("waiting=64", "'waiting=64' does not begin with the name of a model"),
        ("a waiting=1, b wating=64", "'b wating=64': 'wating=64' is no limit: it must be one of"),
        ("a waiting=1 b max_rows=2", "'a waiting=1 b max_rows=2': 'b' is no limit"),
        ("a waiting=0", "'a waiting=0': waiting is '0': it must be a whole number, 1 or more"),
        ("a max_rows=1_000", "max_rows is '1_000': it must be a whole number, 1 or more"),
        ("a max_rows=", "max_rows is '': it must be a whole number, 1 or more"),
        ("a timeout_seconds=nan", "timeout_seconds is 'nan': it must be a number of seconds"),
        ("a timeout_seconds=5s", "timeout_seconds is '5s': it must be a number of seconds"),
        ("a waiting=1 waiting=2", "'a waiting=1 waiting=2': waiting is there twice"),
        ("a waiting=1, a max_rows=1", "'a' is there twice: write all its limits in one part"),
    ],
)
def test_what_is_wrong_is_named_with_its_part_and_what_would_be_right(text: str, what: str) -> None:
    with pytest.raises(SettingsError) as error:
        read(MODEL_LIMITS=text)
    assert what in str(error.value)
    assert "for example MODEL_LIMITS=forest waiting=64" in str(error.value)


def test_a_proxy_waits_for_the_model_that_takes_longest() -> None:
    entrance = DEFINITION.entrance(
        load(ApiSettings, environment={"MODEL_LIMITS": "slow timeout_seconds=300"})
    )
    assert entrance.timeout_seconds > 300


@pytest.fixture
async def api(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """Serves `iris`, which takes three rows, and `other`, which takes more."""
    registry.promote("iris", models / "linear")
    registry.promote("other", models / "linear")
    given = read(MODEL_LIMITS="iris max_rows=3 timeout_seconds=20").model_limits
    limited = {"model_limits": given, "model_name": "iris"}
    async with start(settings.model_copy(update=limited)) as client:
        await until_served(client, "1")
        await until_served(client, "1", "other")
        yield client


async def test_a_model_says_which_limits_it_has(api: httpx.AsyncClient) -> None:
    limits = (await api.get("/v1/models/iris")).json()["limits"]
    assert limits == {"waiting": 256, "batch_rows": 1000, "max_rows": 3, "timeout_seconds": 20.0}
    limits = (await api.get("/v1/models/other")).json()["limits"]
    assert (limits["max_rows"], limits["timeout_seconds"]) == (100_000, 30.0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/iris/predict", FOUR_ROWS),
        ("/v1/models/iris@champion/predict", FOUR_ROWS),
        ("/v1/models/iris/versions/1/predict", FOUR_ROWS),
        ("/v1/models/iris/predict_proba", FOUR_ROWS),
        ("/invocations", {"dataframe_records": [ROW] * 4}),
        ("/v2/models/iris/infer", {"inputs": [TENSOR]}),
    ],
)
async def test_its_own_limit_of_rows_holds_over_http(
    api: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    document = assert_problem(await api.post(path, json=body), 413, "too-many-rows")
    assert document["detail"].endswith("may have 3")
    if "iris" in path:
        answer = await api.post(path.replace("iris", "other"), json=body)
        assert answer.status_code == 200


async def test_its_own_limit_of_rows_holds_for_a_message_of_a_stream(
    api: httpx.AsyncClient,
) -> None:
    message = written({name: column([1.0] * 4) for name in IRIS})
    headers = {"Content-Type": ARROW}
    path = "/v1/models/iris/predict"
    assert_problem(await api.post(path, content=message, headers=headers), 413, "too-many-rows")
    lines = b"".join(json.dumps(ROW).encode() + b"\n" for _ in range(10))
    answer = await api.post(path, content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert len(answer.text.splitlines()) == 10


async def test_its_own_limit_of_time_holds(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    for name in ("hasty", "iris"):
        registry.promote(name, models / "mixed")
    given = read(MODEL_LIMITS="hasty timeout_seconds=1e-6").model_limits
    async with start(settings.model_copy(update={"model_limits": given})) as api:
        for name in ("hasty", "iris"):
            await until_served(api, "1", name)
        rows = (await api.get("/v1/models/iris")).json()["example"]
        answers = await asyncio.gather(
            *(
                api.post(f"/v1/models/{name}/predict", json={"rows": rows})
                for name in ("hasty", "iris")
            )
        )
    assert_problem(answers[0], 503, "prediction-timeout")
    assert answers[1].status_code == 200


async def test_its_own_limit_of_waiting_requests_holds(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    for name in ("narrow", "iris"):
        registry.promote(name, models / "mixed")
    given = read(MODEL_LIMITS="narrow waiting=1 batch_rows=1").model_limits
    slow = {"model_limits": given, "model_compile": "no"}
    async with start(settings.model_copy(update=slow)) as api:
        codes = {}
        for name in ("narrow", "iris"):
            await until_served(api, "1", name)
            rows = (await api.get(f"/v1/models/{name}")).json()["example"]
            calls = [api.post(f"/v1/models/{name}/predict", json={"rows": rows}) for _ in range(20)]
            codes[name] = {answer.status_code for answer in await asyncio.gather(*calls)}
    assert codes == {"narrow": {200, 503}, "iris": {200}}


def test_the_doctor_says_which_limits_are_for_no_model(tmp_path: Path) -> None:
    path = env_file(tmp_path, MODEL_LIMITS="forst waiting=1, iris waiting=1")
    step = doctor("models", path)["limits"]
    assert step["seen"] == "forst (no such model yet), iris (no such model yet)"
    path = env_file(tmp_path, MODEL_NAMES="iris", MODEL_LIMITS="forst waiting=1, iris waiting=1")
    step = doctor("models", path)["limits"]
    assert step["seen"] == "forst: has limits, and is not in MODEL_NAMES"
    assert f"MODEL_LIMITS in {path} line 2" in step["remedy"]
