"""Streams of rows as their callers see them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_host.settings import ApiSettings
from api_host.streams.form import CHUNK_ROWS
from tests.api_host.arrow_streams import ARROW, column, read, written
from tests.api_host.conftest import IRIS, Start, iris, until_served
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_app import PREDICT, ROW, assert_problem

pytestmark = pytest.mark.anyio

NDJSON = {"Content-Type": "application/x-ndjson"}
AS_ARROW = {"Content-Type": ARROW}


@pytest.fixture
async def api(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> AsyncIterator[httpx.AsyncClient]:
    registry.promote("array", models / "array")
    registry.promote("iris", models / "forest", alias="challenger")
    registry.promote("iris", models / "linear")
    small = settings.model_copy(
        update={"api_max_body_bytes": 20_000, "api_max_rows": CHUNK_ROWS + 1}
    )
    async with start(small) as client:
        await until_served(client, "1", "array")
        await until_served(client, "2")
        yield client


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def records(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert answer.text == "" or answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


async def pausing(*pieces: bytes, last_seconds: float = 0.0) -> AsyncIterator[bytes]:
    """A body in pieces, which ends so long after the last of them."""
    for piece in pieces:
        yield piece
    await asyncio.sleep(last_seconds)


async def test_a_stream_is_longer_than_a_body_may_be_and_answered_alike(
    api: httpx.AsyncClient,
) -> None:
    x, _ = iris()
    rows = x.to_dict("records") * 20
    plain = await api.post(PREDICT, json={"rows": rows[:150]})
    body = lines(*rows)
    assert len(body) > 10 * 20_000
    answer = await api.post(PREDICT, content=body, headers=NDJSON)
    labels = plain.json()["predictions"] * 20
    assert records(answer) == [
        {"row": row, "prediction": label} for row, label in enumerate(labels)
    ]
    assert answer.headers["Tripod-Model"] == "iris/2"
    batch = {name: column(x[name].tolist()) for name in reversed(IRIS)}
    answer = await api.post(PREDICT, content=written(*[batch] * 20), headers=AS_ARROW)
    assert answer.headers["Content-Type"] == ARROW
    assert read(answer.content) == [
        {"row": row, "prediction": label, "problem": None} for row, label in enumerate(labels)
    ]


async def test_the_answer_may_have_another_form(api: httpx.AsyncClient) -> None:
    batch = {name: column([value] * 2) for name, value in ROW.items()}
    answer = await api.post(
        PREDICT, content=written(batch), headers={**AS_ARROW, "Accept": "application/x-ndjson"}
    )
    assert [record["prediction"] for record in records(answer)] == ["setosa"] * 2
    answer = await api.post(
        PREDICT, content=lines(ROW, ROW), headers={**NDJSON, "Accept": f"text/html, {ARROW};q=0.5"}
    )
    assert [record["prediction"] for record in read(answer.content)] == ["setosa"] * 2


@pytest.mark.parametrize(
    "path", ["iris@challenger/predict", "iris/versions/1/predict", "array/predict"]
)
async def test_aliases_versions_and_columns_without_names(
    api: httpx.AsyncClient, path: str
) -> None:
    row = [*ROW.values()] if path.startswith("array") else ROW
    answer = await api.post(f"/v1/models/{path}", content=lines(row), headers=NDJSON)
    assert records(answer) == [{"row": 0, "prediction": "setosa"}]
    assert answer.headers["Tripod-Model"].endswith("/1")


async def test_a_stream_goes_on_from_any_row_and_with_the_same_version(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.post(f"{PREDICT}?from_row=41", content=lines(ROW, [], ROW), headers=NDJSON)
    assert [record["row"] for record in records(answer)] == [41, 42, 43]
    batch = {name: column([value]) for name, value in ROW.items()}
    answer = await api.post(
        "/v1/models/iris/versions/1/predict?from_row=41", content=written(batch), headers=AS_ARROW
    )
    assert [record["row"] for record in read(answer.content)] == [41]
    assert answer.headers["Tripod-Model"] == "iris/1"


@pytest.mark.parametrize("number", ["-1", "1.5", "x", "", "9" * 30])
async def test_a_row_number_that_is_none(api: httpx.AsyncClient, number: str) -> None:
    answer = await api.post(f"{PREDICT}?from_row={number}", content=lines(ROW), headers=NDJSON)
    assert_problem(answer, 400, "invalid-query")


async def test_a_bad_row_fails_only_itself(api: httpx.AsyncClient) -> None:
    body = b"".join(
        [
            lines(ROW, {**ROW, "petal_width": "wide"}, ROW),
            b"{\n",
            lines(ROW, {}, [1, 2], {**ROW, "petal_width": None}),  # The model takes no NaN.
            b"[" * 5_000 + b"\n" + b'"\xff"\n',
            lines(ROW),
        ]
    )
    found = records(await api.post(PREDICT, content=body, headers=NDJSON))
    assert [record["row"] for record in found] == list(range(11))
    problems = {
        record["row"]: record["problem"]["type"].rpartition(":")[2]
        for record in found
        if "problem" in record
    }
    assert problems == {
        1: "invalid-input",
        3: "invalid-body",
        5: "invalid-input",
        6: "invalid-input",
        7: "prediction-failed",
        8: "invalid-body",
        9: "invalid-body",
    }
    assert [error["pointer"] for error in found[1]["problem"]["errors"]] == ["/petal_width"]
    assert {error["pointer"] for error in found[5]["problem"]["errors"]} == {
        f"/{name}" for name in IRIS
    }
    good = [record["prediction"] for record in found if record["row"] not in problems]
    assert good == ["setosa"] * 4


async def test_a_bad_row_of_arrow_fails_only_itself(api: httpx.AsyncClient) -> None:
    batch = {name: column([value] * 5) for name, value in ROW.items()}
    batch["petal_width"] = column([0.2, 0.2, None, 0.2, 0.2])
    rows = read((await api.post(PREDICT, content=written(batch), headers=AS_ARROW)).content)
    assert [row["prediction"] for row in rows] == ["setosa", "setosa", None, "setosa", "setosa"]
    assert json.loads(rows[2]["problem"])["type"] == "urn:tripod:problem:prediction-failed"


async def test_empty_lines_and_streams(api: httpx.AsyncClient) -> None:
    body = b"\n\r\n" + lines(ROW) + b"  \n" + lines(ROW).rstrip(b"\n")
    answer = await api.post(PREDICT, content=body, headers=NDJSON)
    assert [record["row"] for record in records(answer)] == [0, 1]
    for nothing in (b"", b"\n \n"):
        assert records(await api.post(PREDICT, content=nothing, headers=NDJSON)) == []


async def test_a_mistake_at_the_start_is_an_answer_of_its_own(api: httpx.AsyncClient) -> None:
    answer = await api.post(PREDICT, content=b" " * 20_001, headers=NDJSON)
    assert_problem(answer, 413, "body-too-large")
    answer = await api.post(PREDICT, content=b"rows", headers=AS_ARROW)
    assert_problem(answer, 400, "invalid-body")
    wrong = written({name: column([value]) for name, value in ROW.items() if name != IRIS[0]})
    answer = await api.post(PREDICT, content=wrong, headers=AS_ARROW)
    document = assert_problem(answer, 422, "invalid-input")
    assert [error["pointer"] for error in document["errors"]] == [f"/{IRIS[0]}"]
    compressed = {**NDJSON, "Content-Encoding": "gzip"}
    answer = await api.post(PREDICT, content=b"", headers=compressed)
    assert_problem(answer, 415, "unsupported-media-type")
    answer = await api.post("/v1/models/none/predict", content=lines(ROW), headers=NDJSON)
    assert_problem(answer, 404, "unknown-model")


async def test_a_mistake_in_the_middle_is_the_last_record(api: httpx.AsyncClient) -> None:
    body = lines(ROW, ROW) + b"[" + b" " * 20_000 + b"]\n" + lines(ROW)
    *answered, last = records(await api.post(PREDICT, content=body, headers=NDJSON))
    assert [record["row"] for record in answered] == [0, 1]
    assert last.keys() == {"problem"}
    assert last["problem"]["type"] == "urn:tripod:problem:body-too-large"
    assert last["problem"]["next_row"] == 2
    batch = {name: column([value] * 2) for name, value in ROW.items()}
    broken = written(batch, batch)[:-30]
    *rows, last = read((await api.post(PREDICT, content=broken, headers=AS_ARROW)).content)
    assert [row["row"] for row in rows] == [0, 1]
    assert (last["row"], last["prediction"]) == (None, None)
    problem = json.loads(last["problem"])
    assert (problem["status"], problem["next_row"]) == (400, 2)


async def test_a_client_that_stops_to_send_is_told_so(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    hasty = settings.model_copy(update={"api_read_timeout_seconds": 0.5})
    async with start(hasty) as api:
        await until_served(api, "1")
        answer = await api.post(PREDICT, content=pausing(b"{", last_seconds=2), headers=NDJSON)
        assert_problem(answer, 408, "slow-body")
        body = pausing(lines(ROW), lines(ROW) + b"{", last_seconds=2)
        *answered, last = records(await api.post(PREDICT, content=body, headers=NDJSON))
        assert [record["row"] for record in answered] == [0, 1]
        assert last["problem"]["type"] == "urn:tripod:problem:slow-body"


async def test_a_prediction_that_takes_too_long_ends_the_stream(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    hasty = settings.model_copy(update={"api_predict_timeout_seconds": 1e-6})
    async with start(hasty) as api:
        await until_served(api, "1")
        answer = await api.post(PREDICT, content=lines(ROW), headers=NDJSON)
        assert_problem(answer, 503, "prediction-timeout")


async def test_streams_wait_for_an_overloaded_model(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "forest")
    narrow = settings.model_copy(update={"api_max_waiting": 1, "model_compile": "no"})
    async with start(narrow) as api:
        await until_served(api, "1")
        body = lines(*[ROW] * 3 * CHUNK_ROWS)
        answers: list[httpx.Response] = []

        async def stream() -> None:
            answers.append(await api.post(PREDICT, content=body, headers=NDJSON))

        await asyncio.gather(*(stream() for _ in range(5)))
        for answer in answers:
            assert records(answer)[-1] == {"row": 3 * CHUNK_ROWS - 1, "prediction": "setosa"}
        refused = 'tripod_api_refused_predictions_total{model="iris"}'
        assert refused in (await api.get("/metrics")).text
